"""The step predict: predictions of a source, shard by shard."""
