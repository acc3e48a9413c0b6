"""One seed a trial; every random stream is derived from it by hashing, before anything is built.

A stream that is derived, rather than drawn from one shared generator, moves only its own observable: another data
order leaves the initial tensors as they were, and another initialisation leaves the order.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from operator import index
from typing import Literal

Purpose = Literal["initialisation", "order", "dropout", "examples", "bootstrap", "split", "sample", "warm-up"]


@dataclass(frozen=True)
class Streams:
    """The random streams of one trial: its seed and the `stream` number of its method entry."""

    seed: int
    stream: int = 0

    def derive(self, purpose: Purpose, *place: int | str) -> int:
        """Return the seed of one stream, a 63-bit integer, from (seed, stream, purpose, place)."""
        return derive_seed(self.seed, self.stream, purpose, *place)


def derive_seed(*parts: int | str) -> int:
    """Hash the parts into a 63-bit integer; lengths are framed, so ("ab", "c") and ("a", "bc") differ.

    Any integer type counts as its value, so a seed that came out of an array draws the same stream.
    """
    digest = blake2b(digest_size=8)
    for part in parts:
        encoded = (f"str:{part}" if isinstance(part, str) else f"int:{index(part)}").encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return int.from_bytes(digest.digest(), "big") >> 1
