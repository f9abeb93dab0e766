"""Every seed of a run: from names for its stages, from numbers within one, so that each random stream is its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SEED_STREAM = 0x5A  # keeps sample seeds apart from other seeds derived from the same run seed


def seed_of(*parts: str | int) -> int:
    """A 63-bit seed that depends on every part, so that no two stages share a random stream by accident."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _mix(value: int) -> int:
    """The splitmix64 finaliser: neighbouring integers to unrelated 64-bit ones."""
    mask = (1 << 64) - 1
    value = (value + 0x9E3779B97F4A7C15) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return value ^ (value >> 31)


def derive_seed(*parts: int) -> int:
    """One 63-bit seed from a tuple of non-negative integers (run seed, stream, index, ...)."""
    value = 0
    for part in parts:
        value = _mix(value ^ part)
    return value >> 1


def sample_seeds(seed: int, n: int) -> list[int]:
    """One seed per sample; the first k of n are those of k."""
    return [derive_seed(seed, SEED_STREAM, index) for index in range(n)]


@contextmanager
def seeded(seed: int) -> Iterator[torch.Generator]:
    """A scope in which everything random on the CPU follows from `seed`, on one thread.

    Layer initialisation and dropout know only torch's global generator, so that one is seeded here and put
    back afterwards; explicit draws use the generator this yields. One thread, because sums change in the last
    bits with the number of threads.
    """
    import torch  # here, because planning knows seeds and no torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield torch.Generator().manual_seed(seed)
    finally:
        torch.set_num_threads(threads)
