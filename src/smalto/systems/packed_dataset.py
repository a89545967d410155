"""Packed features in training loops: a dataset for torch's DataLoader, and batches that decode each block once.

::

    DataLoader(PackedDataset(set), batch_sampler=BlockBatches(...)) ─► batches of tensors
        └─► worker: opens the set for itself, keeps the last blocks it decoded
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from smalto.bits.byte_source import Openable
from smalto.data.feature_array import BFLOAT16, array_tensor
from smalto.errors import UsageError
from smalto.systems.feature_profile import FeatureProfile
from smalto.systems.packed_features import PackedFeatures

if TYPE_CHECKING:
    import torch


class PackedDataset:
    """A packed set as a map-style dataset for ``torch.utils.data.DataLoader``; samples are tensors.

    Args:
        source: a path, an http(s) URL, or the bytes of a set.
        array: see ``PackedFeatures``.
        profile: see ``PackedFeatures``.
        transform: applied to each tensor.
        num_cached: see ``PackedFeatures``; every worker keeps as many.

    Example:
        >>> from smalto import FeatureCodec
        >>> samples = [np.random.default_rng(k).normal(size=(16, 64)).astype(np.float32) for k in range(4)]
        >>> blob = FeatureCodec.fit(samples, max_error=0.01).encode(np.stack(samples), embed=True)
        >>> PackedDataset(blob)[2].shape
        torch.Size([16, 64])
    """

    def __init__(
        self,
        source: Openable,
        *,
        array: str | int | None = None,
        profile: FeatureProfile | None = None,
        transform: Callable[[torch.Tensor], Any] | None = None,
        num_cached: int = 4,
    ) -> None:
        self.features = PackedFeatures(source, array=array, profile=profile, num_cached=num_cached)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, number: int) -> Any:
        """A sample. Raises as ``PackedFeatures`` does."""
        return self._given(self.features[number])

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """The samples of a batch; the DataLoader asks for them at once, so that each block is decoded once."""
        return [self._given(sample) for sample in self.features.samples(numbers)]

    def _given(self, sample: np.ndarray) -> Any:
        is_bfloat16 = sample.dtype.name in (BFLOAT16, "uint16")
        tensor = array_tensor(sample, BFLOAT16 if is_bfloat16 else sample.dtype.name)
        return tensor if self.transform is None else self.transform(tensor)


class BlockBatches:
    """Batches in random order whose samples share blocks: a ``batch_sampler`` for ``DataLoader``.

    Blocks are drawn at random, a few are mixed, and their samples are drawn at random. Batches go to the workers in
    turn, and each worker's batches are of blocks of its own. Every pass draws anew.

    Args:
        dataset: what is loaded.
        batch_size: samples in a batch; the last one of a worker may have fewer.
        num_workers: of the DataLoader.
        num_mixed: blocks whose samples are mixed, at most what the dataset keeps.
        seed: of the order.

    Raises:
        UsageError: a size below 1.

    Example:
        >>> from smalto import FeatureCodec
        >>> samples = [np.random.default_rng(k).normal(size=(16, 64)).astype(np.float32) for k in range(4)]
        >>> dataset = PackedDataset(FeatureCodec.fit(samples, max_error=0.01).encode(np.stack(samples), embed=True))
        >>> sorted(number for batch in BlockBatches(dataset, 3) for number in batch)
        [0, 1, 2, 3]
    """

    def __init__(
        self, dataset: PackedDataset, batch_size: int, *, num_workers: int = 0, num_mixed: int = 2, seed: int = 0
    ) -> None:
        if min(batch_size, num_mixed) < 1 or num_workers < 0:
            raise UsageError(f"block batches: of {batch_size} samples from {num_mixed} blocks; take at least 1")
        self._blocks = dataset.features.blocks
        self._batch_size = batch_size
        self._num_streams = min(max(num_workers, 1), max(len(self._blocks), 1))
        self._num_mixed = num_mixed
        self._random = random.Random(seed)

    def __len__(self) -> int:
        return sum(-(-sum(map(len, part)) // self._batch_size) for part in self._shares(self._blocks))

    def __iter__(self) -> Iterator[list[int]]:
        blocks = list(self._blocks)
        streams = [self._batches(part) for part in self._shares(blocks)]
        longest = max((len(stream) for stream in streams), default=0)
        return (stream[turn] for turn in range(longest) for stream in streams if turn < len(stream))

    def _shares(self, blocks: Sequence[range]) -> list[Sequence[range]]:
        """The blocks of each worker."""
        return [blocks[first :: self._num_streams] for first in range(self._num_streams)]

    def _batches(self, blocks: Sequence[range]) -> list[list[int]]:
        """The batches of one worker, drawn anew."""
        order = self._random.sample(blocks, len(blocks))
        numbers: list[int] = []
        for first in range(0, len(order), self._num_mixed):
            mixed = [number for block in order[first : first + self._num_mixed] for number in block]
            self._random.shuffle(mixed)
            numbers += mixed
        return [numbers[start : start + self._batch_size] for start in range(0, len(numbers), self._batch_size)]
