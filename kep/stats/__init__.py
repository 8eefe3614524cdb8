"""Metrics, pooling and drift."""
