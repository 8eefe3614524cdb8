"""Configurations of networks by which ways of training are compared: they stay as they are, so that figures repeat."""

NETWORKS: dict[str, list[dict[str, object]]] = {
    "mlp": [
        {"dropout": 0.1, "units": 64, "layers": 3, "learning_rate": 0.00224},
        {"dropout": 0.4, "units": 32, "layers": 3, "learning_rate": 0.00371},
    ],
    "tabular": [
        {"units": 512, "dropout": 0.0, "layers": 3, "learning_rate": 0.0115, "weight_decay": 0.0162, "epochs": 32},
        {"units": 512, "dropout": 0.0, "layers": 2, "learning_rate": 0.00272, "weight_decay": 0.0528, "epochs": 8},
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
}
"""Configurations by family; what one does not name has its default."""
