"""Families: a search space and how it is fitted; ensembles of their members."""
