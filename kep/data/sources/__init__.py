"""Readers of the sources that ingest takes."""
