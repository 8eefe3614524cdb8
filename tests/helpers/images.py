"""Images by digest, as a lock names them."""

PINNED = {name: f"registry.example/team/{name}@sha256:{letter * 64}" for name, letter in (("cpu", "a"), ("glue", "b"))}
