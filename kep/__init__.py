"""Pipelines that turn a run file and a data set into an evaluated ensemble of Keras models."""
