"""The configurations of each family that a search over a table tries first.

`python -m benchmarks.portfolio` chose them on the tables of benchmarks/tables.py: from ten random configurations a
family, its defaults among them, and some that people begin with. An ensemble gains most from those that come first.
They were trained as trials are by default, for at most 30 epochs. The tables have 178 to 6,000 rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

PORTFOLIO: dict[str, list[dict[str, Any]]] = {
    "mlp": [
        {"dropout": 0.1, "units": 64, "layers": 3, "learning_rate": 0.00224},
        {"dropout": 0.2, "units": 256, "layers": 2, "learning_rate": 0.000331},
        {"dropout": 0.0, "units": 64, "layers": 1, "learning_rate": 0.000367},
        {"dropout": 0.0, "units": 32, "layers": 2, "learning_rate": 0.00177},
    ],
    "tabular": [
        {"units": 512, "dropout": 0.0, "layers": 2, "learning_rate": 0.00272, "weight_decay": 0.0528, "epochs": 8},
        {"units": 512, "dropout": 0.0, "layers": 3, "learning_rate": 0.00799, "weight_decay": 0.0023, "epochs": 16},
        {"units": 512, "dropout": 0.1, "layers": 3, "learning_rate": 0.00214, "weight_decay": 0.00203, "epochs": 16},
        {"units": 256, "dropout": 0.0, "layers": 1, "learning_rate": 0.00335, "weight_decay": 0.0778, "epochs": 16},
    ],
    "realmlp": [
        {
            "sigma": 0.0653,
            "units": 64,
            "dropout": 0.15,
            "layers": 3,
            "learning_rate": 0.0257,
            "epochs": 16,
            "weight_decay": 0.0,
            "label_smoothing": 0.0,
        },
        {
            "sigma": 0.295,
            "units": 64,
            "dropout": 0.15,
            "layers": 2,
            "learning_rate": 0.172,
            "epochs": 16,
            "weight_decay": 0.02,
            "label_smoothing": 0.1,
        },
        {
            "sigma": 0.0823,
            "units": 128,
            "dropout": 0.3,
            "layers": 3,
            "learning_rate": 0.259,
            "epochs": 64,
            "weight_decay": 0.02,
            "label_smoothing": 0.1,
        },
        {
            "sigma": 0.07,
            "units": 128,
            "dropout": 0.15,
            "layers": 3,
            "learning_rate": 0.0238,
            "epochs": 32,
            "weight_decay": 0.02,
            "label_smoothing": 0.1,
        },
    ],
    "boosted_trees": [
        {},
        {"learning_rate": 0.03, "num_leaves": 64, "min_data_in_leaf": 4, "extra_trees": False},
        {
            "learning_rate": 0.0449,
            "num_leaves": 4,
            "min_data_in_leaf": 2,
            "feature_fraction": 0.9,
            "bagging_fraction": 0.5,
            "lambda_l2": 0.212,
            "extra_trees": False,
        },
        {
            "learning_rate": 0.19,
            "num_leaves": 4,
            "min_data_in_leaf": 64,
            "feature_fraction": 0.8,
            "bagging_fraction": 0.7,
            "lambda_l2": 9.03,
            "extra_trees": True,
        },
    ],
}
"""Configurations by family, in order; what one does not name has its default."""


def portfolio(specs: Sequence[Mapping[str, Any]], images: bool) -> dict[str, list[dict[str, Any]]]:
    """Return the configurations by family; nothing for images, and for families of a user's own.

    Args:
        specs: Families of a search.
        images: Whether the features are images.
    """
    if images:
        return {}
    return {
        spec["name"]: PORTFOLIO[spec["name"]] for spec in specs if set(spec) == {"name"} and spec["name"] in PORTFOLIO
    }
