"""A packed set fits its limit, says how it was packed, and is read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil

from smalto.data.archive import pack
from smalto.data.crops import cache_pictures
from smalto.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    (root / ("long" * 30)).mkdir(parents=True)
    rows, columns = np.mgrid[0:64, 0:64]
    for number in range(14):
        noise = np.random.default_rng(number).normal(0, 9, (64, 64))
        grey = np.clip(120 + 80 * np.sin(rows / (4 + number)) + noise + columns / 4, 0, 255).astype(np.uint8)
        name = f"{number:02d}.bmp" if number else f"{'long' * 30}/0.bmp"
        Pil.fromarray(np.stack([grey, grey // 2, 255 - grey], axis=-1)).save(root / name)
    return root


def pictures(source: Path, path: Path) -> list[np.ndarray]:
    cache = cache_pictures(source, path)
    return [cache.picture(k) for k in range(len(cache))]


def test_what_fits_goes_in_unchanged(folder: Path, tmp_path: Path) -> None:
    packed = pack(folder, tmp_path / "set.tar")
    assert packed.form == "as they were"
    assert packed.num_pictures == 14
    assert packed.num_bytes == packed.path.stat().st_size
    originals = pictures(folder, tmp_path / "a.u8")
    copies = pictures(packed.path, tmp_path / "b.u8")
    assert sorted(p.tobytes() for p in originals) == sorted(p.tobytes() for p in copies)


def test_a_limit_chooses_the_best_form_that_fits(folder: Path, tmp_path: Path) -> None:
    sizes = {}
    for limit in (160 << 10, 50 << 10, 40 << 10):
        packed = pack(folder, tmp_path / "set.tar", max_bytes=limit)
        assert packed.path.stat().st_size == packed.num_bytes <= limit
        sizes[packed.form] = packed.num_bytes
        assert len(pictures(packed.path, tmp_path / "c.u8")) == 14
    assert "lossless WebP" in sizes
    assert any(form.startswith("WebP quality") for form in sizes)


def test_lossless_is_lossless(folder: Path, tmp_path: Path) -> None:
    packed = pack(folder, tmp_path / "set.tar", max_bytes=160 << 10)
    assert packed.form == "lossless WebP"
    originals = pictures(folder, tmp_path / "a.u8")
    copies = pictures(packed.path, tmp_path / "b.u8")
    assert sorted(p.tobytes() for p in originals) == sorted(p.tobytes() for p in copies)


def test_a_limit_that_cannot_be_met_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="do not fit into 9000 bytes"):
        pack(folder, tmp_path / "set.tar", max_bytes=9000)
    assert not (tmp_path / "set.tar").exists()
