"""The pipelines, and their compilation for each engine."""
