"""Packed datasets in torch's DataLoader: sequential, shuffled, in workers; every sample once, equal to its original."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from smalto.errors import UsageError
from smalto.systems.feature_codec import decode_features
from smalto.systems.feature_sets import SetCoder
from smalto.systems.packed_dataset import BlockBatches, PackedDataset
from tests.systems.packed_examples import SAMPLE, decoded, fitted, maps, packed


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 maps in slices of 7."""
    path = tmp_path_factory.mktemp("packed") / "set.smalto"
    path.write_bytes(packed({"": maps(40, 1)}))
    return path


@pytest.fixture(scope="module")
def whole(path: Path) -> torch.Tensor:
    return torch.from_numpy(decoded(path)["0"])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_in_order(path: Path, whole: torch.Tensor, num_workers: int) -> None:
    loader = DataLoader(PackedDataset(path), batch_size=6, num_workers=num_workers)  # pyright: ignore[reportArgumentType]
    for _ in range(2):
        batches = list(loader)
        assert [len(batch) for batch in batches] == [6] * 6 + [4]
        assert torch.equal(torch.cat(batches), whole)


def test_spawned_workers_open_the_set_for_themselves(path: Path, whole: torch.Tensor) -> None:
    dataset = PackedDataset(path)
    assert len(dataset) == 40
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(again[12], whole[12])
    assert torch.equal(dataset[-1], whole[-1])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_shuffled_by_blocks(path: Path, whole: torch.Tensor, num_workers: int) -> None:
    dataset = PackedDataset(path, transform=torch.Tensor.float)
    batches = BlockBatches(dataset, 4, num_workers=num_workers, seed=3)
    loader = DataLoader(dataset, batch_sampler=batches, num_workers=num_workers)  # pyright: ignore[reportArgumentType]
    passes = [torch.cat(list(loader)) for _ in range(2)]
    sums = whole.float().sum((1, 2, 3)).sort().values
    for found in passes:
        assert found.dtype == torch.float32
        assert torch.equal(found.sum((1, 2, 3)).sort().values, sums)
        assert not torch.equal(found, whole.float())
    assert not torch.equal(*passes)


@pytest.mark.parametrize(("num_workers", "num_mixed", "batch_size"), [(0, 1, 3), (2, 2, 5), (3, 1, 40), (9, 6, 1)])
def test_block_batches(path: Path, num_workers: int, num_mixed: int, batch_size: int) -> None:
    batches = BlockBatches(PackedDataset(path), batch_size, num_workers=num_workers, num_mixed=num_mixed)
    for _ in range(3):
        drawn = list(batches)
        assert len(drawn) == len(batches)
        assert sorted(number for batch in drawn for number in batch) == list(range(40))
        assert max(map(len, drawn)) <= batch_size
    same, other = (BlockBatches(PackedDataset(path), 4, seed=seed) for seed in (0, 1))
    first = list(same)
    assert first == list(BlockBatches(PackedDataset(path), 4, seed=0))
    assert first != list(other)
    assert first != list(same)


def test_a_shuffled_pass_decodes_each_block_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[int] = []
    decode = SetCoder.positions

    def counted(self: SetCoder, reader: object, entry: object, start: int, stop: int) -> object:
        starts.append(start)
        return decode(self, reader, entry, start, stop)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(SetCoder, "positions", counted)
    dataset = PackedDataset(path, num_cached=2)
    for batch in BlockBatches(dataset, 4, num_mixed=2, seed=5):
        dataset.__getitems__(batch)
    assert len(starts) <= 6 + 4  # a batch over the end of two mixed blocks and the next two wants four of them
    assert set(starts) == set(range(0, 40, 7))


def test_bfloat16_tensors() -> None:
    tensor = torch.from_numpy(maps(3, 7)).to(torch.bfloat16)
    blob = fitted().encode(tensor, embed=True)
    dataset = PackedDataset(blob)
    assert dataset[1].dtype == torch.bfloat16
    whole = decode_features(blob)
    assert isinstance(whole, torch.Tensor)
    assert torch.equal(torch.stack([dataset[k] for k in range(3)]), whole)


def test_named_arrays(tmp_path: Path) -> None:
    blob = packed({"a": maps(9, 1), "b": maps(20, 2)})
    dataset = PackedDataset(blob, array="b")
    assert (len(dataset), dataset[3].shape) == (20, SAMPLE)
    assert PackedDataset(blob)[0].shape == (9, *SAMPLE)


def test_wrong_calls_are_named(path: Path) -> None:
    dataset = PackedDataset(path)
    for arguments in ({"batch_size": 0}, {"batch_size": 1, "num_mixed": 0}, {"batch_size": 1, "num_workers": -1}):
        with pytest.raises(UsageError, match="take at least 1"):
            BlockBatches(dataset, **arguments)
    with pytest.raises(IndexError):
        dataset[40]
