"""Noise pairs are found by name, and read together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil

from smalto.data.noise_pairs import noise_pairs
from smalto.errors import ImageError, UsageError


def _write(path: Path, value: int, side: int = 16) -> None:
    Pil.fromarray(np.full((side, side, 3), value, np.uint8)).save(path, quality=95)


def test_pairs_by_name(tmp_path: Path) -> None:
    for name in ("b", "a"):
        _write(tmp_path / f"{name}_real.JPG", 90)
        _write(tmp_path / f"{name}_mean.JPG", 100)
    _write(tmp_path / "notes.png", 0)
    first, second = noise_pairs(tmp_path)
    assert (first.name, second.name) == ("a", "b")
    noisy, clean = first.read()
    assert (int(noisy.pixels[0, 0, 0]), int(clean.pixels[0, 0, 0])) == (90, 100)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "a_mean.JPG", 100)
    with pytest.raises(UsageError, match="no pairs"):
        noise_pairs(tmp_path)
    _write(tmp_path / "b_real.JPG", 90)
    with pytest.raises(UsageError, match="has no b_mean"):
        noise_pairs(tmp_path)
    _write(tmp_path / "b_mean.JPG", 90, side=24)
    with pytest.raises(ImageError, match="not of the size"):
        noise_pairs(tmp_path)[0].read()


def test_the_real_set_is_whole(data_folder: Path) -> None:
    pairs = noise_pairs(data_folder / "polyu")
    assert len(pairs) == 100
    noisy, clean = pairs[0].read()
    assert noisy.pixels.shape == clean.pixels.shape == (512, 512, 3)
