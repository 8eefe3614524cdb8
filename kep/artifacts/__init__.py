"""Typed models of everything that passes between steps."""
