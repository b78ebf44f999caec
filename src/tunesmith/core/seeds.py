"""Seeds as pure functions of what they are for, never of how far some generator has been used."""

import hashlib


def seed_of(*what: int | str) -> int:
    """A 63-bit seed; the same words give the same seed on every machine."""
    digest = hashlib.blake2b(repr(what).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
