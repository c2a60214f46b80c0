"""Which partition a key belongs to: murmur2 modulo the number of partitions, as Java's default partitioner has it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingest.identity import HASH_BYTES

_SEED = np.uint32(0x9747B28C)
_M = np.uint32(0x5BD1E995)
_R = np.uint32(24)


def murmur2(keys: bytes) -> NDArray[np.uint32]:
    """The murmur2 hash (Austin Appleby 2008, with Kafka's seed) of each of many joined 16-byte keys."""
    words = np.frombuffer(keys, dtype="<u4").reshape(-1, HASH_BYTES // 4)
    found = np.full(len(words), _SEED ^ np.uint32(HASH_BYTES), dtype=np.uint32)
    for column in range(HASH_BYTES // 4):
        word = words[:, column] * _M
        word ^= word >> _R
        word *= _M
        found *= _M
        found ^= word
    found ^= found >> np.uint32(13)
    found *= _M
    found ^= found >> np.uint32(15)
    return found


def home_partitions(keys: bytes, count: int) -> NDArray[np.int64]:
    """The partition of each of many joined 16-byte keys among `count` partitions."""
    positive = murmur2(keys) & np.uint32(0x7FFFFFFF)
    return (positive % np.uint32(count)).astype(np.int64)
