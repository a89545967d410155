"""``smalto bench speed``: how long a photograph takes, stage by stage, beside a peer; how cost and memory grow.

Everything runs in this process, warm, on the processor. Ours goes from an Image to the bytes of a file and back to an
Image; the peer from a float tensor to strings and back, which leaves its conversions off the clock.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from smalto.bench.multiplications import multiplications_table
from smalto.bench.peers.compressai_hyperprior import CompressaiHyperprior
from smalto.bench.results import BenchResult, Cell, Table, bench_result
from smalto.bench.speed_memory import Peak, peak_of, resized
from smalto.data.photographs import MAX_PIXELS, image_tensor
from smalto.errors import MissingExtra, UsageError
from smalto.systems.engine import StageTimes
from smalto.systems.system import System
from smalto.types import Image

HEIGHT_PX, WIDTH_PX = 512, 768
TARGET_S, TARGET_RATIO = 0.35, 1.5
TASK = "reconstruct"
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class SpeedSettings:
    """What to measure.

    Args:
        rounds: repetitions, of which the median counts.
        threads: numbers of compute threads, one after another.
        megapixels: sizes for the table of growth; none leaves it out.
        quality: of ours.
        with_peer: measure CompressAI beside.
        with_memory: measure the peak resident set of each size, in a process of its own.

    Raises:
        UsageError: no rounds, no threads, or a size over 67.108864 megapixels (8192 x 8192).
    """

    rounds: int = 15
    threads: tuple[int, ...] = (1, 2)
    megapixels: tuple[float, ...] = (0.1, 0.4, 1.0, 2.0, 4.0, 8.0, 16.0)
    quality: str | float = "medium"
    with_peer: bool = True
    with_memory: bool = True

    def __post_init__(self) -> None:
        if self.rounds < 1 or not self.threads or min(self.threads) < 1:
            raise UsageError("bench speed: needs at least one round and one thread")
        if any(not 0 < size * 1e6 <= MAX_PIXELS for size in self.megapixels):
            raise UsageError(f"bench speed: sizes lie between 0 and {MAX_PIXELS / 1e6} megapixels")

    def command(self) -> str:
        """The command line that measures this, options at their defaults left out."""
        usual, words = SpeedSettings(), ["smalto bench speed"]
        numbers = (("rounds", (self.rounds,), (usual.rounds,)), ("threads", self.threads, usual.threads))
        for name, values, plain in (*numbers, ("sizes", self.megapixels, usual.megapixels)):
            if tuple(values) != tuple(plain):
                words.append(f"--{name} {','.join(f'{value:.10g}' for value in values) or 'none'}")
        if self.quality != usual.quality:
            words.append(f"--quality {self.quality}")
        words += [option for option, on in (("--no-peer", self.with_peer), ("--no-memory", self.with_memory)) if not on]
        return " ".join(words)


@dataclass(frozen=True)
class _Round:
    """Seconds of one way: of the clock, of all processors, and of each stage by the clock."""

    clock_s: float
    processor_s: float
    stages: dict[str, float]


def bench_speed(
    system: System, photograph: Image, settings: SpeedSettings, progress: Callable[[str], None] | None = None
) -> BenchResult:
    """Time and memory of a system.

    Args:
        system: on the processor.
        photograph: real detail; cut or continued by its mirror image to every size.
        settings: what to measure.
        progress: told what is measured.

    Returns:
        Tables ``stages``, ``peer``, ``sizes`` and ``multiplications``.
    """
    tell = progress or (lambda line: None)
    picture = resized(photograph, HEIGHT_PX, WIDTH_PX)
    before = torch.get_num_threads()
    stage_rows: list[tuple[Cell, ...]] = []
    peer_rows: list[tuple[Cell, ...]] = []
    try:
        peer, missing = _peer(settings.with_peer)
        for threads in settings.threads:
            tell(f"{WIDTH_PX} x {HEIGHT_PX}, {threads} threads")
            torch.set_num_threads(threads)
            own, other = _rounds(system, peer, picture, settings)
            stage_rows += _stage_rows(threads, own)
            peer_rows += _peer_rows(threads, own, other, missing)
        sizes = _sizes(system, photograph, settings, tell)
    finally:
        torch.set_num_threads(before)
    tables = (
        _stage_table(stage_rows, settings),
        _peer_table(peer_rows, missing),
        *sizes,
        multiplications_table(system, peer),
    )
    return bench_result("speed", settings.command(), tables, ("torch", "numpy", "numba", "compressai"))


def speed_text(result: BenchResult) -> str:
    """The result for reading: every table as Markdown with its note."""
    parts = [result.heading()]
    parts += [f"### {table.name}\n\n{table.note}\n\n{table.to_markdown(3)}" for table in result.tables]
    return "\n".join(parts)


def _peer(wanted: bool) -> tuple[CompressaiHyperprior | None, str]:
    """The peer, or None and the reason."""
    if not wanted:
        return None, "not asked for"
    try:
        return CompressaiHyperprior(), ""
    except MissingExtra as error:
        return None, f"not installed: {error}"


def _rounds(
    system: System, peer: CompressaiHyperprior | None, picture: Image, settings: SpeedSettings
) -> tuple[list[tuple[_Round, _Round]], list[tuple[_Round, _Round]]]:
    """(encode, decode) of ours and of the peer's, taking turns; one round before the first warms up."""
    own, other = [], []
    x = image_tensor(picture)
    for k in range(settings.rounds + 1):
        ours = _own_round(system, picture, settings.quality)
        theirs = None if peer is None else _peer_round(peer, x)
        if k:
            own.append(ours)
            if theirs is not None:
                other.append(theirs)
    return own, other


def _own_round(system: System, picture: Image, quality: str | float) -> tuple[_Round, _Round]:
    coding, decoding = StageTimes(), StageTimes()
    data, encode_s, encode_cpu_s = _timed(lambda: system.encode(picture, quality=quality, stages=coding).to_bytes())
    _, decode_s, decode_cpu_s = _timed(lambda: system.run(TASK, data, stages=decoding))
    return _Round(encode_s, encode_cpu_s, coding.seconds), _Round(decode_s, decode_cpu_s, decoding.seconds)


def _peer_round(peer: CompressaiHyperprior, x: torch.Tensor) -> tuple[_Round, _Round]:
    coded, encode_s, encode_cpu_s = _timed(lambda: peer.encode(x))
    _, decode_s, decode_cpu_s = _timed(lambda: peer.decode(coded))
    return _Round(encode_s, encode_cpu_s, {}), _Round(decode_s, decode_cpu_s, {})


def _timed(call: Callable[[], Answer]) -> tuple[Answer, float, float]:
    """What the call gives, its seconds by the clock and its seconds of processor time."""
    clock, processor = time.perf_counter(), time.process_time()
    answer = call()
    return answer, time.perf_counter() - clock, time.process_time() - processor


def _stage_rows(threads: int, own: list[tuple[_Round, _Round]]) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for way, name in enumerate(("encode", "decode")):
        for stage in own[0][way].stages:
            times = [pair[way].stages[stage] for pair in own]
            rows.append((threads, name, stage, statistics.median(times), min(times), None))
        clock, processor = [pair[way].clock_s for pair in own], [pair[way].processor_s for pair in own]
        rows.append((threads, name, "whole", statistics.median(clock), min(clock), statistics.median(processor)))
    return rows


def _stage_table(rows: list[tuple[Cell, ...]], settings: SpeedSettings) -> Table:
    columns = ("threads", "way", "stage", "median_s", "least_s", "median_processor_s")
    note = (
        f"One {WIDTH_PX} x {HEIGHT_PX} photograph, Image to the file's bytes and back, quality {settings.quality}, "
        f"{settings.rounds} rounds after one to warm up. Target: under {TARGET_S} s each way."
    )
    return Table("stages", columns, tuple(rows), note)


def _peer_rows(
    threads: int, own: list[tuple[_Round, _Round]], other: list[tuple[_Round, _Round]], missing: str
) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for way, name in enumerate(("encode", "decode")):
        ours = statistics.median(pair[way].clock_s for pair in own)
        if not other:
            rows.append((threads, name, ours, missing.split(":")[0], None, None))
            continue
        pairs = list(zip(own, other, strict=True))
        ratio = statistics.median(b[way].clock_s / a[way].clock_s for a, b in pairs)
        processor_ratio = statistics.median(b[way].processor_s / a[way].processor_s for a, b in pairs)
        rows.append((threads, name, ours, statistics.median(b[way].clock_s for b in other), ratio, processor_ratio))
    return rows


def _peer_table(rows: list[tuple[Cell, ...]], missing: str) -> Table:
    columns = ("threads", "way", "own_median_s", "peer_median_s", "median_ratio", "median_processor_ratio")
    note = (
        f"Beside {CompressaiHyperprior.name} (N = 128, M = 192, random weights after update(), float32, eager), taking "
        f"turns in one process; ratios above 1 mean that ours is faster. Target: {TARGET_RATIO} each way. {missing}"
    )
    return Table("peer", columns, tuple(rows), note.strip())


def _sizes(
    system: System, photograph: Image, settings: SpeedSettings, tell: Callable[[str], None]
) -> tuple[Table, ...]:
    """Time a megapixel and peak memory from the smallest size to the largest."""
    rows: list[tuple[Cell, ...]] = []
    for size in settings.megapixels:
        side = max(1, round((size * 1e6) ** 0.5))
        tell(f"{side} x {side}, {max(settings.threads)} threads")
        picture = resized(photograph, side, side)
        torch.set_num_threads(max(settings.threads))
        rounds = [_own_round(system, picture, settings.quality) for _ in range(4 if size <= 4 else 2)][1:]
        times = [statistics.median(pair[way].clock_s for pair in rounds) for way in (0, 1)]
        work = [statistics.median(pair[way].processor_s for pair in rounds) for way in (0, 1)]
        peak = (
            peak_of(system, photograph, side, settings.quality, max(settings.threads))
            if settings.with_memory
            else Peak()
        )
        true = side * side / 1e6
        rows.append((f"{side} x {side}", true, *times, *(value / true for value in (*times, *work)), *peak.mebibytes()))
    columns = ("size_px", "megapixels", "encode_s", "decode_s", "encode_s_per_mpx", "decode_s_per_mpx")
    more = (
        "encode_processor_s_per_mpx",
        "decode_processor_s_per_mpx",
        "loaded_mib",
        "encode_peak_mib",
        "decode_peak_mib",
    )
    note = (
        f"{max(settings.threads)} threads. Memory: peak resident sets of fresh processes, one to encode and one to "
        "decode; the first number is before encoding, with the system and the picture loaded."
    )
    return (Table("sizes", (*columns, *more), tuple(rows), note),) if rows else ()
