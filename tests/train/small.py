"""A codec small enough to train for a few steps in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pil

from smalto.data.crops import CropConfig
from smalto.train.image_codec import CodecObjective, CodecObjectiveConfig
from smalto.train.run import Optimisation, Run
from tests.tiny_models import TINY_CODEC, TINY_DECODER, TINY_ENCODER

SMALL = CodecObjectiveConfig(encoder=TINY_ENCODER, decoder=TINY_DECODER, codec=TINY_CODEC)


def small_run(**settings: object) -> Run:
    """A run over 64 px crops."""
    return Run(
        name="small",
        objective=lambda: CodecObjective(SMALL),
        crops=CropConfig(size_px=64, seed=1),
        batch_size=2,
        optimisation=Optimisation(learning_rate=1e-3, slow_names=(".linear.",), warmup_steps=2),
        settings=settings,
    )


def pictures(folder: Path, count: int = 3, side: int = 96) -> Path:
    """Smooth random pictures as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Pil.fromarray(coarse).resize((side, side), Pil.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder
