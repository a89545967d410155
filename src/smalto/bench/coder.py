"""`smalto bench coder`: our entropy coder beside CompressAI's and constriction's, and what streams and tables cost.

Speed is of one core, on integers drawn like a hyperprior's latent: scales log-normal around 0.3 (so about one bit a
symbol), then, as the hardest case for a decoder, all 64 tables equally often. Ours and the peers take turns within
each round; a ratio is the median over rounds of ours over the peer's in that round. Speeds count the process's
processor time, all its threads together, so that other programs disturb them little; the table of threads counts
elapsed time.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from smalto.bench.peers.coders import PEER_CODERS, EntropyCoder, OwnCoder, Workload
from smalto.bench.results import BenchResult, Table, bench_result
from smalto.bits.cdf import GAUSSIAN_SCALE_MAX, GAUSSIAN_SCALE_MIN, cross_entropy_bits, gaussian_scales, gaussian_tables
from smalto.bits.rans import decode_many, encode, encode_many
from smalto.errors import MissingExtra, SmaltoError, UsageError

OWN = "smalto"
MIN_SYMBOLS = 10_000
MEDIAN_SCALE, LOG_SCALE_SPREAD = 0.3, 1.2
STREAM_BYTES = (30, 100, 300, 1000, 4000, 10_000, 100_000)
SEGMENT_SYMBOLS = 1 << 18
COLUMNS = (
    "coder",
    "version",
    "encode_Msymbols_per_s",
    "decode_Msymbols_per_s",
    "ours_over_it_encode",
    "ours_over_it_decode",
    "stream_bytes",
    "over_cross_entropy_percent",
)


def bench_coder(
    num_symbols: int = 10_000_000,
    *,
    num_rounds: int = 5,
    peers: Sequence[str] = tuple(PEER_CODERS),
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> BenchResult:
    """Measure the entropy coder.

    Args:
        num_symbols: symbols of the realistic mix, at least 10,000; the flat mix has a tenth of them.
        num_rounds: rounds of taking turns, at least 1.
        peers: names from ``PEER_CODERS``; one that is not installed is reported as such.
        seed: of the symbols.
        progress: called with a line before each step.

    Returns:
        Tables ``speed`` and ``speed_flat`` (COLUMNS), ``threads``, ``streams`` and ``tables``.

    Raises:
        UsageError: too few symbols or rounds, or an unknown peer.
        SmaltoError: a coder did not give the symbols back.
    """
    unknown = [name for name in peers if name not in PEER_CODERS]
    if num_symbols < MIN_SYMBOLS or num_rounds < 1 or unknown:
        known = ", ".join(PEER_CODERS)
        raise UsageError(f"bench coder: needs at least {MIN_SYMBOLS} symbols, one round, and peers among {known}")
    tell = progress or (lambda line: None)
    work = realistic_workload(num_symbols, seed)
    flat = flat_workload(max(MIN_SYMBOLS, num_symbols // 10), seed)
    tables = (
        _speed("speed", work, num_rounds, peers, tell),
        _speed("speed_flat", flat, num_rounds, peers, tell),
        _threads(work, num_rounds, tell),
        _streams(work, seed, tell),
        _table_cost(work, flat),
    )
    options = f" --symbols {num_symbols}" if num_symbols != 10_000_000 else ""
    return bench_result(
        "coder", f"smalto bench coder{options}", tables, ("numpy", "numba", "compressai", "constriction")
    )


def coder_text(result: BenchResult) -> str:
    """The result for reading: every table as Markdown with its note."""
    parts = [result.heading()]
    parts += [f"### {table.name}\n\n{table.note}\n\n{table.to_markdown(3)}" for table in result.tables]
    return "\n".join(parts)


def realistic_workload(num_symbols: int, seed: int) -> Workload:
    """Rounded Gaussians whose scales are log-normal, clipped to the tables' range: about 0.95 bits a symbol."""
    generator = np.random.default_rng(seed)
    logarithm = generator.normal(math.log(MEDIAN_SCALE), LOG_SCALE_SPREAD, num_symbols)
    step = math.log(GAUSSIAN_SCALE_MAX / GAUSSIAN_SCALE_MIN) / (len(gaussian_scales()) - 1)
    indexes = np.rint((logarithm - math.log(GAUSSIAN_SCALE_MIN)) / step).clip(0, len(gaussian_scales()) - 1)
    return _workload(indexes.astype(np.uint16), generator)


def flat_workload(num_symbols: int, seed: int) -> Workload:
    """Rounded Gaussians with every scale equally often: about 4.6 bits a symbol."""
    generator = np.random.default_rng(seed)
    return _workload(generator.integers(0, len(gaussian_scales()), num_symbols).astype(np.uint16), generator)


def ideal_bits(work: Workload) -> float:
    """Bits of the symbols under their exact rounded Gaussians."""
    values, counts = np.unique(
        work.indexes.astype(np.int64) << 32 | np.abs(work.symbols.astype(np.int64)), return_counts=True
    )
    total = 0.0
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        unit = 1 / (float(work.scales[value >> 32]) * math.sqrt(2))
        size = value & 0xFFFFFFFF
        mass = 0.5 * (math.erfc((size - 0.5) * unit) - math.erfc((size + 0.5) * unit))
        total -= count * math.log2(mass)
    return total


def _workload(indexes: NDArray[np.uint16], generator: np.random.Generator) -> Workload:
    scales = gaussian_scales()
    symbols = np.rint(generator.standard_normal(len(indexes)) * scales[indexes]).astype(np.int32)
    return Workload(symbols, indexes, gaussian_tables(), scales)


def _speed(name: str, work: Workload, num_rounds: int, peers: Sequence[str], tell: Callable[[str], None]) -> Table:
    """Every coder in turn, round after round."""
    coders: dict[str, EntropyCoder] = {OWN: OwnCoder(work)}
    missing: dict[str, str] = {}
    for peer in peers:
        try:
            coders[peer] = PEER_CODERS[peer](work)
        except MissingExtra as error:
            missing[peer] = str(error)
    streams = {coder: _checked_stream(held) for coder, held in coders.items()}
    seconds: dict[str, list[tuple[float, float]]] = {coder: [] for coder in coders}
    for k in range(num_rounds):
        for coder, held in coders.items():
            tell(f"{name}: round {k + 1} of {num_rounds}, {coder}")
            seconds[coder].append(_both_ways(held, streams[coder]))
    entropy = cross_entropy_bits(work.symbols, work.indexes, work.tables) / 8
    rows: list[tuple[str | int | float | None, ...]] = []
    for coder in (OWN, *peers):
        if coder in missing:
            rows.append((coder, "not installed", None, None, None, None, None, None))
            continue
        rates = [statistics.median(len(work.symbols) / s[way] / 1e6 for s in seconds[coder]) for way in (0, 1)]
        ratios: list[float | None] = [
            statistics.median(s[way] / own[way] for s, own in zip(seconds[coder], seconds[OWN], strict=True))
            for way in (0, 1)
        ]
        size = len(streams[coder])
        over = 100 * (size / entropy - 1)
        rows.append((coder, coders[coder].version, *rates, *(ratios if coder != OWN else (None, None)), size, over))
    note = (
        f"{len(work.symbols)} symbols, {8 * entropy / len(work.symbols):.3f} bits each, one core, {num_rounds} rounds."
    )
    return Table(name, COLUMNS, tuple(rows), " ".join([note, *missing.values()]))


def _checked_stream(coder: EntropyCoder) -> bytes:
    """A coder's stream, decoded once to warm up and to see that it holds the symbols."""
    stream = coder.encode()
    if not np.array_equal(np.asarray(coder.decode(stream)), coder.symbols):
        raise SmaltoError(f"bench coder: {type(coder).__name__} did not give the symbols back; its times mean nothing")
    return stream


def _both_ways(coder: EntropyCoder, stream: bytes) -> tuple[float, float]:
    """Seconds of processor time to encode and to decode."""
    return _seconds(coder.encode, time.process_time), _seconds(lambda: coder.decode(stream), time.process_time)


def _seconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return clock() - start


def _threads(work: Workload, num_rounds: int, tell: Callable[[str], None]) -> Table:
    """Ours over segments of 2^18 symbols in a pool of one and of two threads."""
    cuts = range(0, len(work.symbols), SEGMENT_SYMBOLS)
    segments = [(work.symbols[c : c + SEGMENT_SYMBOLS], work.indexes[c : c + SEGMENT_SYMBOLS]) for c in cuts]
    streams = encode_many(segments, work.tables)
    stored = [(stream, indexes) for stream, (_, indexes) in zip(streams, segments, strict=True)]
    rows = []
    for num_threads in (1, 2):
        tell(f"threads: {num_threads}")
        ways = (
            lambda n=num_threads: encode_many(segments, work.tables, n),
            lambda n=num_threads: decode_many(stored, work.tables, n),
        )
        rates = [
            len(work.symbols) / min(_seconds(way, time.perf_counter) for _ in range(num_rounds)) / 1e6 for way in ways
        ]
        rows.append((num_threads, len(segments), *rates))
    columns = ("threads", "segments", "encode_Msymbols_per_s", "decode_Msymbols_per_s")
    return Table("threads", columns, tuple(rows), f"Independent segments of {SEGMENT_SYMBOLS} symbols, best round.")


def _streams(work: Workload, seed: int, tell: Callable[[str], None]) -> Table:
    """Bytes that streams of several sizes take beyond the cross-entropy of their symbols under the tables."""
    generator = np.random.default_rng(seed)
    per_symbol = cross_entropy_bits(work.symbols, work.indexes, work.tables) / 8 / len(work.symbols)
    rows = []
    for size in STREAM_BYTES:
        tell(f"streams: {size} bytes")
        count = round(size / per_symbol)
        if count > len(work.symbols):
            continue
        excess, lengths = [], []
        for start in generator.integers(0, len(work.symbols) - count + 1, 200 if size <= 10_000 else 20):
            part = slice(int(start), int(start) + count)
            lengths.append(len(encode(work.symbols[part], work.indexes[part], work.tables)))
            entropy = cross_entropy_bits(work.symbols[part], work.indexes[part], work.tables) / 8
            excess.append(lengths[-1] - entropy)
        mean_bytes = statistics.fmean(lengths)
        percent = 100 * statistics.fmean(excess) / (mean_bytes - statistics.fmean(excess))
        rows.append((count, mean_bytes, statistics.fmean(excess), max(excess), percent))
    columns = ("symbols", "mean_bytes", "mean_excess_bytes", "max_excess_bytes", "mean_excess_percent")
    note = (
        "Whole streams with their states, beyond the cross-entropy of their symbols; random parts of the realistic mix."
    )
    return Table("streams", columns, tuple(rows), note)


def _table_cost(work: Workload, flat: Workload) -> Table:
    """What the integer tables cost beyond the exact Gaussians."""
    rows = []
    for name, part in (("realistic", work), ("flat", flat)):
        ideal = ideal_bits(part)
        spent = cross_entropy_bits(part.symbols, part.indexes, part.tables)
        rows.append((name, ideal / len(part.symbols), spent / len(part.symbols), 100 * (spent / ideal - 1)))
    columns = ("mix", "gaussian_bits_per_symbol", "table_bits_per_symbol", "excess_percent")
    return Table("tables", columns, tuple(rows), "Cross-entropy under the 64 integer tables and under exact Gaussians.")
