"""Labels of what is made on Google Cloud."""

NAME = "kep_run"
"""Label of every run that was made here; its value is the name in the run file."""
