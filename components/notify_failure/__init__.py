"""The exit handler notify_failure: a message when a run in the cloud has failed."""
