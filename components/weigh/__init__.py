"""The step weigh: the members and their weights."""
