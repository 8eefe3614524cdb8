"""Stored predictions of the prediction pipeline."""

SHARDS = "predictions"
"""Folder of the Parquet files in what `join` writes."""
TOLD, OBSERVED = "predictions.json", "observed.json"
"""Files beside it: what the predictions are, and counts of the rows that were predicted."""
