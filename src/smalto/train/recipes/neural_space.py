"""Recipe of the shared neural space: its encoder of pictures and its decoder."""

from __future__ import annotations

from typing import Literal

from smalto.data.crops import CropConfig
from smalto.measure.reconstruction import ReconstructionWeights
from smalto.train.equivariance import AffineRange
from smalto.train.release_shared_space import publish_shared_space
from smalto.train.run import Optimisation, Run
from smalto.train.shared_space import SharedSpaceConfig, SharedSpaceObjective

_BETAS = {"soap": (0.95, 0.95), "adam": (0.9, 0.98)}


def neural_space(
    learning_rate: float = 3e-4,
    batch_size: int = 8,
    crop_px: int = 128,
    method: Literal["soap", "adam"] = "soap",
    regulariser_weight: float = 0.25,
    plane_weight: float = 0.2,
    regularised_share: float = 0.5,
    ssim_weight: float = 0.1,
    rotation_degrees: float = 180.0,
    max_scale: float = 4 / 3,
    shift_share: float = 0.125,
    seed: int = 0,
) -> Run:
    """Encoder and decoder of the space that every task reads, with planes that move with their picture.

    Command: ``smalto train neural-space --data CID22/training --minutes 120``
    Time: 1.3 s a step of eight 128 px crops, four of them transformed, on one Zen 4 core (bfloat16).
    Score: measured with ``python -m smalto.bench.shared_space RUN --data kodak``; meant for 45 dB on Kodak.

    ``--set regulariser_weight=0`` trains without the transform-equivariance term, for comparison.

    Args:
        learning_rate: peak rate.
        batch_size: crops a step and device.
        crop_px: side of a crop, a multiple of 4.
        method: optimiser.
        regulariser_weight: of the transform-equivariance term; 0 leaves it out.
        plane_weight: of the planes' relative error within that term.
        regularised_share: part of each batch that is transformed.
        ssim_weight: of 1 - SSIM beside the mean absolute difference.
        rotation_degrees: random affines turn by up to this, to either side.
        max_scale: they enlarge by up to this and reduce by up to its inverse.
        shift_share: they shift by up to this part of the side, along each axis.
        seed: of crops, affines and initialisation.
    """
    config = SharedSpaceConfig(
        ReconstructionWeights(1.0, ssim_weight),
        regulariser_weight,
        plane_weight,
        regularised_share,
        AffineRange(rotation_degrees, (1 / max_scale, max_scale), shift_share),
    )
    return Run(
        name="neural-space",
        objective=lambda: SharedSpaceObjective(config),
        crops=CropConfig(size_px=crop_px, seed=seed, max_downscale=2.0, is_rotated=True),
        batch_size=batch_size,
        optimisation=Optimisation(learning_rate=learning_rate, method=method, betas=_BETAS[method]),
        publish=publish_shared_space,
        settings={
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "crop_px": crop_px,
            "method": method,
            "regulariser_weight": regulariser_weight,
            "plane_weight": plane_weight,
            "regularised_share": regularised_share,
            "ssim_weight": ssim_weight,
            "rotation_degrees": rotation_degrees,
            "max_scale": max_scale,
            "shift_share": shift_share,
            "seed": seed,
        },
    )
