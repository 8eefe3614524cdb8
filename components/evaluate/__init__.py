"""The step evaluate: the one look at the test rows."""
