"""Speed of the Lloyd-Max transform: fit, forward and inverse beside scikit-learn's and NumPy's, on one core.

Values are drawn: a Laplace distribution, and a Student t of two degrees of freedom clipped to -7268..1021 with a median
size of 6.5, as peaky as the ninth layer of DINOv3. Times are of the process's processor, all its threads together. Ours
and the peer take turns within each round; a ratio is the median over rounds of the peer's time over ours in that round.
Every answer is compared with the peer's before it is timed.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalto.bench.results import BenchResult, Cell, Table, bench_result
from smalto.codecs.float_patterns import FLOAT_DTYPES, float_values, rounded
from smalto.codecs.lloyd_max import LloydMax
from smalto.errors import MissingExtra, SmaltoError, UsageError

MIN_VALUES = 1000
NUM_LEVELS = 256
PEAKY_RANGE, PEAKY_MEDIAN = (-7268.0, 1021.0), 6.5
SOURCES = ("laplace", "peaky")
KMEANS = "scikit-learn KMeans(256, n_init=1)"
Call = Callable[[], object]
Row = tuple[Cell, ...]


@dataclass(frozen=True)
class FeatureSpeedSettings:
    """What to measure.

    Args:
        num_values: of every array, at least 1000; the paper's ten samples of 257 tokens of 1536 numbers are 4 million.
        num_rounds: of taking turns, at least 1. KMeans, which takes minutes, runs once.
        with_kmeans: fit scikit-learn's KMeans beside ours.
        max_iterations: of KMeans; its own default is 300. Fewer make it faster and its error larger.
        seed: of the values.

    Raises:
        UsageError: too few values, rounds or iterations.
    """

    num_values: int = 4_000_000
    num_rounds: int = 7
    with_kmeans: bool = True
    max_iterations: int = 300
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_values < MIN_VALUES or self.num_rounds < 1 or self.max_iterations < 1:
            raise UsageError(f"bench features: needs at least {MIN_VALUES} values, one round and one iteration")

    def command(self) -> str:
        """The command line that measures this, options at their defaults left out."""
        usual, words = FeatureSpeedSettings(), ["smalto bench features --speed"]
        pairs = (("values", "num_values"), ("rounds", "num_rounds"), ("iterations", "max_iterations"), ("seed", "seed"))
        words += [f"--{o} {getattr(self, f)}" for o, f in pairs if getattr(self, f) != getattr(usual, f)]
        return " ".join(words if self.with_kmeans else [*words, "--no-kmeans"])


def bench_feature_speed(settings: FeatureSpeedSettings, progress: Callable[[str], None] | None = None) -> BenchResult:
    """Measure the transform.

    Args:
        settings: what to measure.
        progress: called with a line before each step.

    Returns:
        Tables ``fit``, ``forward``, ``inverse``, ``copy`` and ``assignment``.

    Raises:
        SmaltoError: an answer differs from NumPy's.
    """
    tell = progress or (lambda line: None)
    held = {source: drawn_values(source, settings.num_values, settings.seed) for source in SOURCES}
    transforms = {source: LloydMax.fit(values.astype(np.float32)) for source, values in held.items()}
    tables = (
        _fit_table(held, settings, tell),
        _forward_table(held, transforms, settings, tell),
        _inverse_table(held["laplace"], transforms["laplace"], settings, tell),
        _copy_table(held["laplace"], transforms["laplace"], settings, tell),
        assignment_table(held, transforms),
    )
    return bench_result("features-speed", settings.command(), tables, ("numpy", "numba", "scikit-learn"))


def drawn_values(source: str, num_values: int, seed: int = 0) -> NDArray[np.float64]:
    """Values of a source in SOURCES. Raises UsageError for other names."""
    generator = np.random.default_rng(seed)
    if source == "laplace":
        return generator.laplace(size=num_values)
    if source == "peaky":
        values = generator.standard_t(2, num_values)
        return np.clip(values * (PEAKY_MEDIAN / np.median(np.abs(values))), *PEAKY_RANGE)
    raise UsageError(f"bench features: no source called {source!r}; there are {', '.join(SOURCES)}")


def floor_indexes(levels: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The index of the level at or below each value, the first level for values below it."""
    return (np.searchsorted(levels, values, side="right") - 1).clip(0).astype(np.uint8)


def assignment_table(held: dict[str, NDArray[np.float64]], transforms: dict[str, LloydMax]) -> Table:
    """What taking the level below a value costs against the nearest one, with the same levels."""
    rows: list[Row] = []
    for source, values in held.items():
        levels = transforms[source].levels
        indexes = (transforms[source].forward(values), floor_indexes(levels, values))
        nearest, floor = (float(np.mean((values - levels[index]) ** 2)) for index in indexes)
        rows.append((source, nearest, floor, floor / nearest, *map(_entropy_bits, indexes)))
    columns = ("values", "mse_nearest", "mse_floor", "floor_over_nearest", "bits_nearest", "bits_floor")
    return Table("assignment", columns, tuple(rows), "The same 256 levels; bits are the entropy of the indexes.")


def _entropy_bits(indexes: NDArray[np.uint8]) -> float:
    share = np.bincount(indexes, minlength=NUM_LEVELS) / len(indexes)
    return float(-(share[share > 0] * np.log2(share[share > 0])).sum())


def _fit_table(
    held: dict[str, NDArray[np.float64]], settings: FeatureSpeedSettings, tell: Callable[[str], None]
) -> Table:
    rows: list[Row] = []
    missing = "" if settings.with_kmeans else "KMeans was left out."
    for source, values in held.items():
        for name in FLOAT_DTYPES:
            tell(f"fit: {source}, {name}")
            stored = rounded(values, name)
            LloydMax.fit(stored[:MIN_VALUES], dtype_name=name)
            seconds = statistics.median(
                _seconds(lambda s=stored, n=name: LloydMax.fit(s, dtype_name=n)) for _ in range(settings.num_rounds)
            )
            ours = LloydMax.fit(stored, dtype_name=name)
            mse = _mse(ours.levels, float_values(stored, name))
            rounds = ours.convergence.num_rounds if ours.convergence else None
            peer: tuple[Cell, ...] = (None, None, None)
            if name == "float32" and not missing:
                try:
                    tell(f"fit: {source}, {KMEANS}, some minutes")
                    taken, error, peer_rounds = _kmeans(stored, settings)
                    peer = (taken, error, peer_rounds)
                except MissingExtra as absent:
                    missing = str(absent)
            over = None if peer[0] is None else float(peer[0]) / seconds
            less = None if peer[1] is None else mse / float(peer[1])
            rows.append((source, name, seconds, rounds, mse, *peer, over, less))
    columns = ("values", "dtype", "seconds", "rounds", "mse", "kmeans_s", "kmeans_mse", "kmeans_rounds")
    note = (
        f"{settings.num_values} values, 256 levels, until converged; beside {KMEANS} on the same values, at most "
        f"{settings.max_iterations} rounds, one run. Errors are of the nearest level, on all values."
    )
    columns = (*columns, "kmeans_time_over_ours", "our_mse_over_kmeans")
    return Table("fit", columns, tuple(rows), " ".join(filter(None, (note, missing))))


def _kmeans(values: np.ndarray, settings: FeatureSpeedSettings) -> tuple[float, float, int]:
    """Seconds, mean squared error and rounds of scikit-learn."""
    try:
        cluster: Any = importlib.import_module("sklearn.cluster")
    except ImportError as error:
        raise MissingExtra("scikit-learn is not installed; pip install 'smalto[bench]'") from error
    points = values.reshape(-1, 1)
    model = cluster.KMeans(NUM_LEVELS, n_init=1, max_iter=settings.max_iterations, random_state=settings.seed)
    seconds = _seconds(lambda: model.fit(points))
    return seconds, _mse(np.unique(model.cluster_centers_.astype(np.float64)), values), int(model.n_iter_)


def _mse(levels: NDArray[np.float64], values: np.ndarray) -> float:
    wide = values.astype(np.float64)
    return float(np.mean((wide - levels[LloydMax(levels).forward(wide)]) ** 2))


def _forward_table(
    held: dict[str, NDArray[np.float64]],
    transforms: dict[str, LloydMax],
    settings: FeatureSpeedSettings,
    tell: Callable[[str], None],
) -> Table:
    rows: list[Row] = []
    for source, values in held.items():
        transform = transforms[source]
        for name in FLOAT_DTYPES:
            tell(f"forward: {source}, {name}")
            stored = rounded(values, name)
            ours = _bound(transform.forward, stored, name)
            if name == "bfloat16":  # NumPy has none
                rows.append((source, name, *_alone(ours, stored.nbytes, len(stored), settings), None, None))
                continue
            thresholds = rounded(transform.thresholds, name)
            wide = float_values(stored, name)
            _same(ours(), np.searchsorted(transform.thresholds, wide), f"forward of {name}")
            peer = _bound(np.searchsorted, thresholds, stored)
            own_s, peer_s, ratio = _turns(ours, peer, settings.num_rounds)
            rows.append((source, name, *_rates(own_s, stored.nbytes, len(stored)), 1e9 * peer_s / len(stored), ratio))
    columns = (
        "values",
        "dtype",
        "ns_per_value",
        "input_MB_per_s",
        "searchsorted_ns_per_value",
        "searchsorted_over_ours",
    )
    note = f"{settings.num_values} values; numpy.searchsorted gets the thresholds in the values' dtype."
    return Table("forward", columns, tuple(rows), note)


def _inverse_table(
    values: NDArray[np.float64], transform: LloydMax, settings: FeatureSpeedSettings, tell: Callable[[str], None]
) -> Table:
    rows: list[Row] = []
    indexes = transform.forward(values)
    places = indexes.astype(np.intp)
    for name in FLOAT_DTYPES:
        tell(f"inverse: {name}")
        levels = rounded(transform.levels, name)
        ours = _bound(transform.inverse, indexes, name)
        _same(ours(), levels[indexes], f"inverse to {name}")
        own_s, peer_s, ratio = _turns(ours, _bound(np.take, levels, indexes), settings.num_rounds)
        *_, prepared = _turns(ours, _bound(np.take, levels, places), settings.num_rounds)
        rate = _rates(own_s, levels.itemsize * len(indexes), len(indexes))
        rows.append((name, *rate, 1e9 * peer_s / len(indexes), ratio, prepared))
    columns = ("dtype", "ns_per_value", "output_MB_per_s", "take_ns_per_value", "take_over_ours", "intp_take_over_ours")
    note = f"{len(indexes)} uint8 indexes; the last column gives numpy.take indexes that were made intp off the clock."
    return Table("inverse", columns, tuple(rows), note)


def _copy_table(
    values: NDArray[np.float64], transform: LloydMax, settings: FeatureSpeedSettings, tell: Callable[[str], None]
) -> Table:
    """16-bit values through the table, and a copy of the same bytes, in and beyond the processor's cache."""
    rows: list[Row] = []
    for name in ("float16", "bfloat16"):
        for repeats in (1, 16):
            tell(f"copy: {name}, {repeats} x")
            stored = np.tile(rounded(values, name), repeats)
            own_s, copy_s, ratio = _turns(_bound(transform.forward, stored, name), stored.copy, settings.num_rounds)
            megabytes = stored.nbytes / 1e6
            rows.append((name, len(stored), megabytes / own_s, megabytes / copy_s, 1 / ratio))
    columns = ("dtype", "num_values", "forward_MB_per_s", "copy_MB_per_s", "forward_time_over_copy")
    return Table("copy", columns, tuple(rows), "Input bytes a second; both allocate what they answer.")


def _bound(call: Callable[..., object], *arguments: object) -> Call:
    return lambda: call(*arguments)


def _same(found: object, expected: np.ndarray, what: str) -> None:
    if not np.array_equal(np.asarray(found), expected):
        raise SmaltoError(f"bench features: {what} differs from NumPy's; its times mean nothing")


def _turns(ours: Call, peer: Call, num_rounds: int) -> tuple[float, float, float]:
    """Median seconds of both, taking turns, and the median over rounds of the peer's time over ours."""
    ours()
    peer()
    pairs = [(_seconds(ours), _seconds(peer)) for _ in range(num_rounds)]
    own_s, peer_s = (statistics.median(pair[k] for pair in pairs) for k in (0, 1))
    return own_s, peer_s, statistics.median(peer / own for own, peer in pairs)


def _alone(ours: Call, num_bytes: int, num_values: int, settings: FeatureSpeedSettings) -> tuple[float, float]:
    ours()
    return _rates(statistics.median(_seconds(ours) for _ in range(settings.num_rounds)), num_bytes, num_values)


def _rates(seconds: float, num_bytes: int, num_values: int) -> tuple[float, float]:
    """Nanoseconds a value and megabytes (10^6) a second."""
    return 1e9 * seconds / num_values, num_bytes / 1e6 / seconds


def _seconds(call: Call) -> float:
    start = time.process_time()
    call()
    return max(time.process_time() - start, 1e-9)
