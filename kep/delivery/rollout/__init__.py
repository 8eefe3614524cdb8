"""Moving an endpoint, or a folder of versions, to a new champion and back."""
