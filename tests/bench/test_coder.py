"""The coder benchmark: its tables, what it says of missing peers, and that it refuses a coder that is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from smalto.bench import coder
from smalto.bench.coder import bench_coder, coder_text, flat_workload, ideal_bits, realistic_workload
from smalto.bench.peers.coders import PEER_CODERS, EntropyCoder, OwnCoder, Workload
from smalto.bench.results import BenchResult
from smalto.bits.cdf import cross_entropy_bits
from smalto.errors import MissingExtra, SmaltoError, UsageError


class AbsentCoder(EntropyCoder):
    """A peer whose package is missing."""

    def __init__(self, work: Workload) -> None:
        raise MissingExtra("absent is not installed; pip install absent")

    def encode(self) -> bytes:
        raise NotImplementedError

    def decode(self, stream: bytes) -> list[int]:
        raise NotImplementedError


class WrongCoder(OwnCoder):
    """A peer that loses symbols."""

    def decode(self, stream: bytes) -> np.ndarray:
        return super().decode(stream) + 1


@pytest.fixture(scope="module")
def result() -> BenchResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PEER_CODERS, "absent", AbsentCoder)
        patch.setitem(PEER_CODERS, "twin", OwnCoder)
        lines: list[str] = []
        result = bench_coder(50_000, num_rounds=2, peers=("twin", "absent"), progress=lines.append)
    assert any("twin" in line for line in lines)
    return result


def test_tables(result: BenchResult) -> None:
    assert result.suite == "coder"
    assert result.command == "smalto bench coder --symbols 50000"
    for name in ("speed", "speed_flat"):
        own, twin, absent = result.table(name).rows
        assert [own[0], twin[0], absent[0]] == ["smalto", "twin", "absent"]
        assert own[4] is None
        assert twin[4] > 0
        assert own[6] == twin[6]
        assert absent[1:] == ("not installed", None, None, None, None, None, None)
        assert "pip install absent" in result.table(name).note
    assert result.table("threads").column("threads") == (1, 2)


def test_the_promised_sizes(result: BenchResult) -> None:
    """Streams within 12 bytes of the cross-entropy up to 1 KB; tables within 0.2 % of exact Gaussians."""
    streams = result.table("streams")
    short = [row for row in streams.rows if row[1] < 1100]
    assert len(short) == 4
    assert all(-1 < row[2] <= row[3] < 12 for row in short)
    assert all(abs(excess) < 0.2 for excess in result.table("tables").column("excess_percent"))


def test_json_and_text(result: BenchResult) -> None:
    assert BenchResult.from_json(result.to_json()) == result
    text = coder_text(result)
    assert "| absent | not installed |" in text
    assert all(f"### {table.name}" in text for table in result.tables)


def test_a_wrong_coder_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEER_CODERS, "wrong", WrongCoder)
    with pytest.raises(SmaltoError, match="WrongCoder"):
        bench_coder(10_000, num_rounds=1, peers=("wrong",))


@pytest.mark.parametrize(("symbols", "rounds", "peers"), [(9999, 1, ()), (10_000, 0, ()), (10_000, 1, ("nobody",))])
def test_wrong_calls(symbols: int, rounds: int, peers: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="bench coder"):
        bench_coder(symbols, num_rounds=rounds, peers=peers)


def test_workloads_are_what_they_say() -> None:
    work = realistic_workload(200_000, 0)
    assert cross_entropy_bits(work.symbols, work.indexes, work.tables) / 200_000 == pytest.approx(0.955, abs=0.02)
    assert np.median(work.scales[work.indexes]) == pytest.approx(coder.MEDIAN_SCALE, rel=0.1)
    flat = flat_workload(64_000, 1)
    assert np.bincount(flat.indexes, minlength=64).min() > 800
    assert np.array_equal(flat.symbols, flat_workload(64_000, 1).symbols)


def test_ideal_bits_by_hand() -> None:
    work = realistic_workload(10_000, 0)
    one = Workload(np.array([0, 3, -3], np.int32), np.array([63, 63, 63], np.uint16), work.tables, work.scales)
    density = 1 / (256 * np.sqrt(2 * np.pi))
    expected = -3 * np.log2(density) + 2 * (9 / (2 * 256**2)) / np.log(2)
    assert ideal_bits(one) == pytest.approx(expected, rel=1e-6)
