"""The configurations of each family that a search over a table tries first.

`python -m benchmarks.portfolio` chose them on the tables of benchmarks/tables.py: from ten random configurations a
family, its defaults among them, and some that people begin with. An ensemble gains most from those that come first.
They were trained as trials are by default: for at most 30 epochs in batches of 128 rows. The tables have 178 to 6,000
rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

PORTFOLIO: dict[str, list[dict[str, Any]]] = {
    "mlp": [
        {"dropout": 0.1, "units": 64, "layers": 3, "learning_rate": 0.00224},
        {"dropout": 0.4, "units": 32, "layers": 3, "learning_rate": 0.00371},
        {"dropout": 0.2, "units": 256, "layers": 2, "learning_rate": 0.000331},
        {"dropout": 0.0, "units": 64, "layers": 1, "learning_rate": 0.000367},
    ],
    "tabular": [
        {"units": 512, "dropout": 0.0, "layers": 3, "learning_rate": 0.0115, "weight_decay": 0.0162, "epochs": 32},
        {"units": 512, "dropout": 0.0, "layers": 2, "learning_rate": 0.00272, "weight_decay": 0.0528, "epochs": 8},
        {"units": 512, "dropout": 0.0, "layers": 3, "learning_rate": 0.00799, "weight_decay": 0.0023, "epochs": 16},
        {"units": 128, "dropout": 0.2, "layers": 1, "learning_rate": 0.00117, "weight_decay": 0.00133, "epochs": 32},
    ],
    "realmlp": [
        {
            "sigma": 0.34,
            "units": 64,
            "dropout": 0.3,
            "layers": 4,
            "learning_rate": 0.0751,
            "epochs": 64,
            "weight_decay": 0.02,
            "label_smoothing": 0.0,
        },
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
        {},
        {
            "sigma": 0.434,
            "units": 64,
            "dropout": 0.0,
            "layers": 3,
            "learning_rate": 0.215,
            "epochs": 16,
            "weight_decay": 0.02,
            "label_smoothing": 0.1,
        },
    ],
    "boosted_trees": [
        {},
        {"min_data_in_leaf": 4, "num_leaves": 8},
        {
            "learning_rate": 0.115,
            "num_leaves": 16,
            "min_data_in_leaf": 2,
            "feature_fraction": 0.6,
            "bagging_fraction": 0.8,
            "lambda_l2": 0.774,
            "extra_trees": False,
        },
        {
            "learning_rate": 0.161,
            "num_leaves": 8,
            "min_data_in_leaf": 16,
            "feature_fraction": 0.4,
            "bagging_fraction": 0.8,
            "lambda_l2": 0.018,
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
