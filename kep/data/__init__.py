"""Records: schema, columns and shards."""
