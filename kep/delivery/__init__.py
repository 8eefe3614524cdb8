"""What is done with an ensemble: predict, batch, drift, export, serve, roll out."""
