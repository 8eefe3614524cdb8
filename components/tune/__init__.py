"""The step tune: the hyperparameter search."""
