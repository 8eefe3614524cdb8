"""Seeds and identities, derived from what they depend on."""

import hashlib
import json


def derive(seed: int, *purpose: str | int) -> int:
    """Return a seed in [0, 2**31) for one purpose, such as `derive(seed, "trial", 7)`, independent of all others."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") >> 1


def identity(*parts: str | int) -> str:
    """Return the name of partial work: 32 hexadecimal digits of the SHA-256 of all that the work depends on.

    Seeds are too short to be names: among 55,000 of them two are equal with a probability of one half.
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
