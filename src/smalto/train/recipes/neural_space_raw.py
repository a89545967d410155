"""Recipe of the RAW encoder of the shared neural space."""

from __future__ import annotations

from typing import Literal

from smalto.data.crops import CropConfig
from smalto.measure.reconstruction import ReconstructionWeights
from smalto.train.raw_space import RawSpaceConfig, RawSpaceObjective
from smalto.train.release_raw_space import publish_raw_encoder, space_networks
from smalto.train.run import Optimisation, Run

_BETAS = {"soap": (0.95, 0.95), "adam": (0.9, 0.98)}


def neural_space_raw(
    space: str = "neural-space",
    learning_rate: float = 3e-4,
    batch_size: int = 8,
    crop_px: int = 128,
    method: Literal["soap", "adam"] = "soap",
    plane_weight: float = 0.2,
    ssim_weight: float = 0.1,
    max_exposure: float = 1.0,
    read_noise: float = 0.0,
    shot_noise: float = 0.0,
    seed: int = 0,
) -> Run:
    """Encoder of Bayer mosaics into the space of a finished ``neural-space`` run, whose decoder stays frozen.

    Command: ``smalto train neural-space-raw --data CID22/training --minutes 60 --set space=runs/neural-space``
    Time: about that of ``neural-space`` a step; not measured yet.
    Score: measured with ``smalto.bench.demosaicing``; to beat Malvar's 35.82 dB CPSNR on Kodak.

    Args:
        space: folder of a ``neural-space`` run, its ``space.safetensors``, or an installed system's name.
        learning_rate: peak rate.
        batch_size: crops a step and device.
        crop_px: side of a crop, a multiple of 4.
        method: optimiser.
        plane_weight: of the planes' relative error.
        ssim_weight: of 1 - SSIM beside the mean absolute difference.
        max_exposure: pictures are brightened by up to this and darkened by up to its inverse; 1 is off.
        read_noise: deviation of the mosaic's noise, in units of white; 0 is off.
        shot_noise: variance per value of the mosaic's noise; 0 is off.
        seed: of crops, exposure and noise.
    """
    config = RawSpaceConfig(
        ReconstructionWeights(1.0, ssim_weight), plane_weight, (1 / max_exposure, max_exposure), read_noise, shot_noise
    )
    return Run(
        name="neural-space-raw",
        objective=lambda: RawSpaceObjective(lambda: space_networks(space), config),
        crops=CropConfig(size_px=crop_px, seed=seed, max_downscale=2.0, is_rotated=True),
        batch_size=batch_size,
        optimisation=Optimisation(learning_rate=learning_rate, method=method, betas=_BETAS[method]),
        publish=publish_raw_encoder,
        settings={
            "space": space,
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "crop_px": crop_px,
            "method": method,
            "plane_weight": plane_weight,
            "ssim_weight": ssim_weight,
            "max_exposure": max_exposure,
            "read_noise": read_noise,
            "shot_noise": shot_noise,
            "seed": seed,
        },
    )
