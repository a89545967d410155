"""A stereo pair in files, as small as a test wants it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pil


def scaled_pair(folder: Path, height: int, width: int, disparity_px: int = 5) -> Path:
    """Write a pair whose disparity is the same everywhere, as left.png, right.png and disparity_left_x4.png."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(1)
    coarse = Pil.fromarray(generator.integers(0, 256, (height // 3 + 1, width // 3 + 1, 3), dtype=np.uint8))
    wide = np.asarray(coarse.resize((width + disparity_px, height), Pil.Resampling.BICUBIC))
    Pil.fromarray(wide[:, :width].copy()).save(folder / "left.png")
    Pil.fromarray(wide[:, disparity_px:].copy()).save(folder / "right.png")
    Pil.fromarray(np.full((height, width), 4 * disparity_px, np.uint8)).save(folder / "disparity_left_x4.png")
    return folder
