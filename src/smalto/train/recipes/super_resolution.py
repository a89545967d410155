"""Recipe of super-resolution: SuperNet and SuperDecoder on the frozen codec's latent."""

from __future__ import annotations

from smalto.data.crops import CropConfig
from smalto.train.release import publish_upscale
from smalto.train.run import Optimisation, Run
from smalto.train.super_resolution import UpscaleObjective


def super_resolution(
    system: str = "default",
    learning_rate: float = 4e-4,
    batch_size: int = 4,
    crop_px: int = 256,
    ssim_weight: float = 0.1,
    seed: int = 0,
) -> Run:
    """Pictures of twice the size from the latent of the smaller one.

    Command: ``smalto train super-resolution --data CID22/training --minutes 40``
    Time: 0.29 s a step of four 256 px crops on one Zen 4 core (bfloat16).
    Score: see docs/results/upscale.md.

    Args:
        system: installed system whose encoder, codec and decoder stay frozen.
        learning_rate: peak rate; the linear paths learn at a twentieth of it.
        batch_size: crops a step and device.
        crop_px: side of the larger picture's crops, a multiple of 128.
        ssim_weight: weight of 1 - SSIM beside the mean absolute difference.
        seed: of crops and quality levels.
    """
    return Run(
        name="super-resolution",
        objective=lambda: UpscaleObjective(system, ssim_weight),
        crops=CropConfig(size_px=crop_px, seed=seed, is_rotated=True),
        batch_size=batch_size,
        optimisation=Optimisation(
            learning_rate=learning_rate, method="soap", betas=(0.95, 0.95), slow_names=(".linear.",)
        ),
        publish=publish_upscale,
        settings={"system": system, "learning_rate": learning_rate, "batch_size": batch_size, "crop_px": crop_px},
    )
