"""The step drift: new rows compared with the train rows."""
