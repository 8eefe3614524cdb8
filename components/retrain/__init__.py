"""The step retrain: the final training of a member."""
