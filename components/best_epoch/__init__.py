"""The step best_epoch: how long a candidate should train."""
