"""The step ingest: a source becomes records of three roles."""
