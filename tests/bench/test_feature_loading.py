"""The benchmark of loading: its tables, that both files are read in one order, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smalto.bench import feature_loading
from smalto.bench.feature_loading import LoadingSettings, RawDataset, bench_feature_loading, drawn_tokens
from smalto.bench.results import BenchResult
from smalto.errors import SmaltoError, UsageError


def test_tables(tmp_path: Path) -> None:
    lines: list[str] = []
    settings = LoadingSettings(num_samples=32, batch_size=8, workers=(0, 1), num_rounds=2, folder=str(tmp_path))
    result = bench_feature_loading(settings, lines.append)
    assert result.command == "smalto bench features --loading --samples 32 --rounds 2"
    table = result.table("loading")
    found = list(zip(table.column("order"), table.column("workers"), table.column("files"), strict=True))
    assert found == [(o, w, f) for w in (0, 1) for o in feature_loading.ORDERS for f in feature_loading.STATES]
    for row in table.rows:
        assert all(isinstance(cell, float) and cell > 0 for cell in row[3:7])
        assert (row[7] is None) == (row[1] != 0)
    (files,) = result.table("files").rows
    assert files[0] == "32x196x384"
    assert files[1] == 32 * 196 * 384 * 2 + 128
    assert 3 < files[3] < 16  # pyright: ignore[reportOptionalOperand, reportOperatorIssue]
    assert 0.002 < files[5] < 0.04  # pyright: ignore[reportOptionalOperand, reportOperatorIssue]
    assert any("blocks, 1 workers" in line for line in lines)
    assert BenchResult.from_json(result.to_json()) == result
    assert not list(tmp_path.iterdir())


def test_both_are_given_the_same_samples(tmp_path: Path) -> None:
    """What each dataset gives for every number of every order, within the error that was asked for."""
    settings = LoadingSettings(num_samples=30, batch_size=8, error=0.001)
    files, _ = feature_loading._written(tmp_path, settings)
    packed, raw = feature_loading.PackedDataset(files.packed), RawDataset(files.npy)
    assert len(packed) == len(raw) == 30
    for order in feature_loading.ORDERS:
        batches = feature_loading._batches(packed, order, 2, settings)
        assert len({number for batch in batches for number in batch}) == 30
        for batch in batches:
            for number, sample in zip(batch, packed.__getitems__(batch), strict=True):
                expected = raw[number].float()
                assert (sample.shape, sample.dtype) == (raw[number].shape, raw[number].dtype)
                assert float((sample.float() - expected).square().mean() / expected.var()) < 0.004
                assert np.array_equal(raw[number].numpy(), np.load(files.npy, mmap_mode="r")[number])
    packed.features.close()


def test_features_of_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "maps.npy", np.random.default_rng(0).normal(size=(40, 8, 6, 6)).astype(np.float32))
    settings = LoadingSettings(
        features=str(tmp_path / "maps.npy"), num_samples=24, batch_size=4, workers=(0,), num_rounds=1
    )
    result = bench_feature_loading(settings)
    assert result.table("files").rows[0][0] == "24x8x6x6"
    assert "maps.npy" in result.table("files").note
    with pytest.raises(UsageError, match="no stack of samples"):
        bench_feature_loading(LoadingSettings(features=str(tmp_path / "maps.npy"), num_samples=41, batch_size=4))


def test_samples_that_do_not_come_back_are_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = feature_loading.FeatureCodec.decode

    def shifted(self: feature_loading.FeatureCodec, blob: Path) -> dict[str, np.ndarray]:
        arrays = decode(self, blob)
        assert isinstance(arrays, dict)
        return {name: np.roll(np.asarray(array), 1, axis=2) for name, array in arrays.items()}

    monkeypatch.setattr(feature_loading.FeatureCodec, "decode", shifted)
    with pytest.raises(SmaltoError, match="nothing is timed"):
        bench_feature_loading(LoadingSettings(num_samples=8, batch_size=4, folder=str(tmp_path)))


def test_drawn_tokens_are_what_they_say() -> None:
    tokens = drawn_tokens(6, 3).astype(np.float64)
    assert tokens.shape == (6, 196, 384)
    centred = (tokens - tokens.mean((0, 1))) / tokens.std((0, 1))
    assert float((centred[:, 1:] * centred[:, :-1]).mean()) == pytest.approx(0.7, abs=0.03)
    assert np.array_equal(drawn_tokens(2, 3), drawn_tokens(2, 3))


@pytest.mark.parametrize("wrong", [{"num_rounds": 0}, {"num_samples": 9, "batch_size": 5}, {"workers": (-1,)}])
def test_wrong_calls(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="--loading"):
        LoadingSettings(**wrong)  # pyright: ignore[reportArgumentType]
