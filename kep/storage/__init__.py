"""Locations and champions."""
