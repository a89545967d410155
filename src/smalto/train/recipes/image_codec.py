"""Recipe of the image codec: the ``lite`` networks at every rate."""

from __future__ import annotations

from smalto.data.crops import CropConfig
from smalto.train.image_codec import CodecObjective, CodecObjectiveConfig
from smalto.train.release import publish_codec
from smalto.train.run import Optimisation, Run


def image_codec(
    learning_rate: float = 5e-4,
    batch_size: int = 8,
    crop_px: int = 192,
    max_downscale: float = 2.0,
    seed: int = 0,
) -> Run:
    """The codec that ships: one encoder, one hyperprior and one decoder for 0.08 to 1.2 bits per pixel.

    Command: ``smalto train image-codec --data CID22/training --minutes 120``
    Time: 0.27 s a step of eight 192 px crops on two Zen 4 cores (bfloat16).
    Score: see docs/results/rd.md for the weights that ship and how long they trained.

    Args:
        learning_rate: peak rate; the linear paths learn at a twentieth of it.
        batch_size: crops a step and device.
        crop_px: side of a crop, a multiple of 64.
        max_downscale: half of the crops are reduced by up to this factor first.
        seed: of crops, noise and initialisation.
    """
    return Run(
        name="image-codec",
        objective=lambda: CodecObjective(CodecObjectiveConfig()),
        crops=CropConfig(size_px=crop_px, seed=seed, max_downscale=max_downscale, is_rotated=True),
        batch_size=batch_size,
        optimisation=Optimisation(
            learning_rate=learning_rate, method="soap", betas=(0.95, 0.95), slow_names=(".linear.",)
        ),
        publish=publish_codec,
        settings={"learning_rate": learning_rate, "batch_size": batch_size, "crop_px": crop_px, "seed": seed},
    )
