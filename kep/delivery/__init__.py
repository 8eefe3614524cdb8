"""Uses of an ensemble: predict, batch, drift, export, serve, roll out."""
