"""Planes for training: what is inside the .tar, and that training can read it."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil

from smalto.data.crops import cache_pictures
from smalto.data.feature_array import FeatureArray
from smalto.errors import UsageError
from smalto.train.feature_planes import pack_planes


def _model(shape: tuple[int, ...], seed: int) -> list[FeatureArray]:
    return [FeatureArray.of("x", np.random.default_rng(seed).normal(size=shape).astype(np.float32))]


def test_every_model_gets_its_share(tmp_path: Path) -> None:
    models = {"maps": _model((40, 64, 13, 13), 0), "tokens": _model((50, 128, 96), 1)}
    written = pack_planes(models, tmp_path / "planes.tar")
    assert written.num_bytes == (tmp_path / "planes.tar").stat().st_size
    assert sum(written.shares.values()) == pytest.approx(1)
    assert all(share > 0.3 for share in written.shares.values())
    with tarfile.open(tmp_path / "planes.tar") as archive:
        planes = [np.asarray(Pil.open(archive.extractfile(member))) for member in archive]  # type: ignore[arg-type]
    assert len(planes) == written.num_planes
    assert all(plane.dtype == np.uint8 and plane.ndim == 2 and min(plane.shape) >= 64 for plane in planes)
    histogram = np.bincount(np.concatenate([plane.ravel() for plane in planes]), minlength=256)
    assert (histogram > 0).all()  # balanced: a normal density uses all 256 levels
    cache = cache_pictures(tmp_path / "planes.tar", tmp_path / "cache.u8")
    assert len(cache.shapes) == written.num_planes
    assert np.array_equal(cache.picture(0)[..., 0], planes[0])


def test_narrow_features_are_folded(tmp_path: Path) -> None:
    written = pack_planes({"vectors": _model((3000, 1, 24), 2)}, tmp_path / "planes.tar")
    with tarfile.open(tmp_path / "planes.tar") as archive:
        sizes = [Pil.open(archive.extractfile(member)).size for member in archive]  # type: ignore[arg-type]
    assert written.num_planes == len(sizes) >= 1
    assert min(min(size) for size in sizes) >= 64


def test_size_is_kept_and_nothing_is_refused(tmp_path: Path) -> None:
    written = pack_planes({"maps": _model((60, 64, 16, 16), 3)}, tmp_path / "planes.tar", max_bytes=400_000)
    assert 200_000 < written.num_bytes <= 400_000
    with pytest.raises(UsageError, match="no models"):
        pack_planes({}, tmp_path / "none.tar")
    with pytest.raises(UsageError, match="none of the features"):
        pack_planes({"few": _model((3, 2, 2), 4)}, tmp_path / "none.tar")
    assert not (tmp_path / "none.tar").exists()


def test_linear_planes_keep_the_shape_of_the_distribution(tmp_path: Path) -> None:
    model = {"maps": _model((12, 64, 16, 16), 5)}
    histograms = []
    for transform in ("lloyd-max", "linear"):
        pack_planes(model, tmp_path / "planes.tar", transform=transform)
        with tarfile.open(tmp_path / "planes.tar") as archive:
            planes = [np.asarray(Pil.open(archive.extractfile(member))) for member in archive]  # type: ignore[arg-type]
        histograms.append(np.bincount(np.concatenate([plane.ravel() for plane in planes]), minlength=256))
    values = model["maps"][0].whole().astype(np.float64)
    step = (values.max() - values.min()) / 255
    expected = np.bincount(np.floor((values - values.min()) / step + 0.5).astype(int).ravel(), minlength=256)
    balanced, linear = histograms
    assert np.abs(np.cumsum(linear) / linear.sum() - np.cumsum(expected) / expected.sum()).max() < 0.05
    assert linear.max() / linear.mean() > 2 > balanced.max() / balanced.mean()  # peaky stays peaky
    with pytest.raises(UsageError, match="choose lloyd-max, linear"):
        pack_planes(model, tmp_path / "none.tar", transform="quadratic")
