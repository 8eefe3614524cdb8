"""Seeds of everything random in a run, derived from the run file's one seed."""

import hashlib


def derive(seed: int, *purpose: str | int) -> int:
    """A seed in [0, 2**31) for one purpose, such as `derive(seed, "trial", 7)`, independent of all others."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") >> 1
