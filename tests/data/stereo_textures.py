"""Photograph-like textures for synthetic scenes: smooth random colours with some grain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pil

from smalto.data.crops import cache_pictures
from smalto.data.picture_cache import PictureCache


def textures(folder: Path, count: int = 4) -> PictureCache:
    """Pictures of different sizes, cached."""
    source = folder / "textures"
    source.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(7)
    for number in range(count):
        coarse = Pil.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((96 + 16 * number, 80), Pil.Resampling.BICUBIC), np.float32)
        grain = generator.normal(0, 4, smooth.shape)
        Pil.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(source / f"{number}.png")
    return cache_pictures(source, folder / "textures.u8")
