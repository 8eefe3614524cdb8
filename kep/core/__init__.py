"""Errors, files and seeds."""
