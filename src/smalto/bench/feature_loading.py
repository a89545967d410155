"""Samples a second that a training loop gets: torch's DataLoader over a packed set, and over raw float16 .npy.

Both files lie in one folder, hold the same samples, and are read in the same order by equal loaders that take turns
within each round; a ratio is the median over rounds of the packed set's rate over the raw file's in that round. Rates
count elapsed time of a whole pass by workers that are already running; the last column counts the processor's instead,
which other programs disturb little. Before a pass the files are in memory (``cached``), or the system was told to drop
them (``evicted``), so that they come from the disk.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smalto.bench.results import BenchResult, Cell, Table, bench_result
from smalto.bits.array_set_writer import ArraySetWriter
from smalto.data.feature_array import FeatureArray
from smalto.data.feature_files import open_features
from smalto.errors import SmaltoError, UsageError
from smalto.systems.feature_codec import FeatureCodec, choose_samples
from smalto.systems.packed_dataset import BlockBatches, PackedDataset

TOKENS, WIDTH = 196, 384
ORDERS = ("sequential", "blocks", "random")
STATES = ("cached", "evicted")
RANDOM_BATCHES = 4
LOADING_COLUMNS = (
    "order",
    "workers",
    "files",
    "packed_samples_per_s",
    "npy_samples_per_s",
    "packed_over_npy",
    "packed_MB_per_s",
    "packed_MB_per_processor_s",
)
Batches = list[list[int]]


@dataclass(frozen=True)
class LoadingSettings:
    """What to measure.

    Args:
        features: a .npy, .npz, .safetensors or .pt file whose first array is a stack of samples; None draws tokens of
            196 x 384 numbers with channels of different means and scales, each token like the one before it.
        num_samples: how many of them, at least two batches.
        batch_size: samples in a batch.
        workers: numbers of workers of the loaders, one after another.
        num_rounds: of taking turns.
        error: squared error over variance that the profile is fitted for.
        folder: where the files are written, so which disk is measured; None takes the system's temporary folder.
        seed: of what is drawn.

    Raises:
        UsageError: too few samples or rounds.
    """

    features: str | None = None
    num_samples: int = 768
    batch_size: int = 32
    workers: tuple[int, ...] = (0, 2)
    num_rounds: int = 5
    error: float = 0.01
    folder: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if (
            self.num_rounds < 1
            or not 1 <= self.batch_size <= self.num_samples // 2
            or min(self.workers, default=-1) < 0
        ):
            raise UsageError("bench features --loading: needs a round, two batches of samples and no negative workers")

    def command(self) -> str:
        """The command line that measures this, options at their defaults left out."""
        usual, words = LoadingSettings(), ["smalto bench features --loading"]
        pairs = (("samples", "num_samples"), ("rounds", "num_rounds"), ("seed", "seed"))
        words += [] if self.features is None else [f"--file {Path(self.features).name}"]
        words += [f"--{o} {getattr(self, f)}" for o, f in pairs if getattr(self, f) != getattr(usual, f)]
        return " ".join(words)


@dataclass(frozen=True)
class _Files:
    """The same samples twice."""

    npy: Path
    packed: Path
    shape: tuple[int, ...]

    def evict(self) -> None:
        """Tell the system to drop both files from memory."""
        for path in (self.npy, self.packed):
            with path.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class RawDataset:
    """A .npy file as a map-style dataset; a sample is read into an array of its own.

    The file is not mapped: the system cannot drop pages that are.

    Args:
        path: of a C-ordered file.
    """

    def __init__(self, path: Path) -> None:
        mapped: np.memmap = np.load(path, mmap_mode="r")
        self._path, self._offset = path, mapped.offset
        self._shape, self._dtype = mapped.shape, mapped.dtype
        self._num_values = math.prod(mapped.shape[1:])

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, number: int) -> Any:
        import torch

        place = self._offset + number * self._num_values * self._dtype.itemsize
        values = np.fromfile(self._path, self._dtype, self._num_values, offset=place)
        return torch.from_numpy(values.reshape(self._shape[1:]))


def bench_feature_loading(settings: LoadingSettings, progress: Callable[[str], None] | None = None) -> BenchResult:
    """Measure loading.

    Args:
        settings: what to measure.
        progress: called with a line before each step.

    Returns:
        Tables ``loading`` (LOADING_COLUMNS) and ``files``.

    Raises:
        SmaltoError: the packed set does not give the samples back.
    """
    tell = progress or (lambda line: None)
    with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        tell("files: fit, encode, write")
        files, table = _written(Path(folder), settings)
        rows = [row for num_workers in settings.workers for row in _rows(files, num_workers, settings, tell)]
    note = (
        f"{settings.num_rounds} rounds, batches of {settings.batch_size}. sequential: in order; blocks: shuffled by "
        f"BlockBatches; random: {RANDOM_BATCHES} batches of samples from anywhere, each of which costs a whole block. "
        "MB are of float16 values."
    )
    tables = (Table("loading", LOADING_COLUMNS, tuple(rows), note), table)
    return bench_result("features-loading", settings.command(), tables, ("numpy", "numba", "torch"))


def drawn_tokens(num_samples: int, seed: int = 0) -> np.ndarray:
    """(num_samples, 196, 384) float16: channels of different means and scales, neighbours correlated by 0.7."""
    generator = np.random.default_rng(seed)
    mean, scale = generator.normal(0, 0.5, WIDTH), np.exp(generator.normal(0, 0.7, WIDTH))
    tokens = np.empty((num_samples, TOKENS, WIDTH), np.float16)
    for sample in tokens:
        values = generator.normal(size=(TOKENS, WIDTH)).astype(np.float32)
        for token in range(1, TOKENS):
            values[token] = 0.7 * values[token - 1] + 0.714 * values[token]
        sample[...] = values * scale + mean
    return tokens


def _written(folder: Path, settings: LoadingSettings) -> tuple[_Files, Table]:
    """Both files, and what they take."""
    values = _samples(settings)
    files = _Files(folder / "features.npy", folder / "features.smalto", values.shape)
    np.save(files.npy, values)
    array = FeatureArray.of("", values)
    codec = FeatureCodec.fit(choose_samples([array]), error=settings.error)
    with ArraySetWriter(codec.info(embed=True), files.packed) as writer:
        codec.coder().write(writer, [array])
    back = np.asarray(codec.decode(files.packed)["0"], np.float32)  # pyright: ignore[reportArgumentType, reportCallIssue]
    noise = float(np.square(back - values).mean() / values.astype(np.float32).var())
    if not noise <= max(4 * settings.error, 1e-6):
        raise SmaltoError(
            f"bench features: the packed samples are off by {noise:.3g} of the variance; nothing is timed"
        )
    for path in (files.npy, files.packed):
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())
    sizes = [path.stat().st_size for path in (files.npy, files.packed)]
    row = ("x".join(map(str, values.shape)), *sizes, sizes[0] / sizes[1], 8 * sizes[1] / values.size, noise)
    columns = (
        "samples",
        "npy_bytes",
        "packed_bytes",
        "npy_over_packed",
        "packed_bits_per_value",
        "error_over_variance",
    )
    source = "Drawn tokens" if settings.features is None else f"Features of {Path(settings.features).name}"
    return files, Table("files", columns, (row,), f"{source}, float16; the profile travels inside the set.")


def _samples(settings: LoadingSettings) -> np.ndarray:
    if settings.features is None:
        return drawn_tokens(settings.num_samples, settings.seed)
    array = open_features(settings.features)[0]
    if len(array.shape) < 2 or array.num_rows < settings.num_samples or array.dtype_name == "bfloat16":
        raise UsageError(
            f"{settings.features}: {array.dtype_name} {array.shape} is no stack of samples; choose another"
        )
    return array.rows(0, settings.num_samples).astype(np.float16)


def _rows(
    files: _Files, num_workers: int, settings: LoadingSettings, tell: Callable[[str], None]
) -> Iterator[tuple[Cell, ...]]:
    """A row for each order and state of the files."""
    packed, raw = PackedDataset(files.packed), RawDataset(files.npy)
    megabytes = 2e-6 * float(np.prod(files.shape[1:]))
    for order in ORDERS:
        batches = _batches(packed, order, num_workers, settings)
        count = sum(map(len, batches))
        loaders = [_loader(dataset, batches, num_workers) for dataset in (packed, raw)]
        for loader in loaders:
            _pass_s(loader)  # workers start, kernels are made ready
        for state in STATES:
            if state == "evicted" and not hasattr(os, "posix_fadvise"):
                continue
            tell(f"loading: {order}, {num_workers} workers, files {state}")
            rounds = [_turn(loaders, files if state == "evicted" else None) for _ in range(settings.num_rounds)]
            rates = [count / statistics.median(seconds[k] for seconds in rounds) for k in (0, 1)]
            ratio = statistics.median(raw_s / packed_s for packed_s, raw_s, _ in rounds)
            own_s = None if num_workers else statistics.median(seconds[2] for seconds in rounds)
            per_processor = None if own_s is None else count * megabytes / own_s
            yield (order, num_workers, state, *rates, ratio, rates[0] * megabytes, per_processor)
    packed.features.close()


def _turn(loaders: Sequence[Any], files: _Files | None) -> tuple[float, float, float]:
    """Seconds of a pass over the packed set and over the raw file, and the first one's processor time."""
    seconds, used = [], []
    for loader in loaders:
        if files is not None:
            files.evict()
        start = time.process_time()
        seconds.append(_pass_s(loader))
        used.append(time.process_time() - start)
    return seconds[0], seconds[1], max(used[0], 1e-9)


def _batches(packed: PackedDataset, order: str, num_workers: int, settings: LoadingSettings) -> Batches:
    """The batches of a pass, the same for both files."""
    size = settings.batch_size
    if order == "blocks":
        return list(BlockBatches(packed, size, num_workers=num_workers, seed=settings.seed))
    numbers = list(range(len(packed)))
    if order == "random":
        numbers = np.random.default_rng(settings.seed).permutation(numbers)[: RANDOM_BATCHES * size].tolist()
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def _loader(dataset: Any, batches: Batches, num_workers: int) -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(dataset, batch_sampler=batches, num_workers=num_workers, persistent_workers=num_workers > 0)


def _pass_s(loader: Any) -> float:
    start = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - start
