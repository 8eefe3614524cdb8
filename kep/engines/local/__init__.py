"""Runs on this machine, through kfp.local."""
