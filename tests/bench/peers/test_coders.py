"""Peers give the symbols back, so that their times mean something."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from smalto.bench.coder import realistic_workload
from smalto.bench.peers.coders import PEER_CODERS, OwnCoder
from smalto.bits.cdf import cross_entropy_bits
from smalto.bits.rans import encode

PACKAGES = {
    "compressai": pytest.param("compressai", marks=pytest.mark.slow),
    "constriction": "constriction",
    "constriction-grouped": "constriction-grouped",
}


def test_ours_is_the_library_s_coder() -> None:
    work = realistic_workload(10_000, 3)
    assert OwnCoder(work).encode() == encode(work.symbols, work.indexes, work.tables)


@pytest.mark.parametrize("name", [PACKAGES[name] for name in PEER_CODERS])
def test_round_trip_near_the_same_size(name: str) -> None:
    package = name.partition("-")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    work = realistic_workload(10_000, 4)
    coder = PEER_CODERS[name](work)
    stream = coder.encode()
    assert np.array_equal(np.asarray(coder.decode(stream)), coder.symbols)
    assert np.abs(coder.symbols - work.symbols).max() <= 1
    assert len(stream) == pytest.approx(cross_entropy_bits(work.symbols, work.indexes, work.tables) / 8, rel=0.02)
