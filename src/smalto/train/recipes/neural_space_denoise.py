"""Recipe of denoising in the shared neural space, and of DnCNN on pixels beside it."""

from __future__ import annotations

from typing import Literal

from smalto.data.crops import CropConfig
from smalto.measure.reconstruction import ReconstructionWeights
from smalto.train.denoising import DenoiseConfig, DenoiseObjective
from smalto.train.release_heads import publish_denoise
from smalto.train.release_raw_space import space_networks
from smalto.train.run import Optimisation, Run
from smalto.train.space_head import PIXELS

_BETAS = {"soap": (0.95, 0.95), "adam": (0.9, 0.98)}


def neural_space_denoise(
    space: str = "neural-space",
    head: Literal["exact", "light"] = "exact",
    learning_rate: float = 5e-4,
    batch_size: int = 8,
    crop_px: int = 128,
    method: Literal["soap", "adam"] = "soap",
    min_deviation: float = 0.0,
    max_deviation: float = 55.0,
    plane_weight: float = 0.2,
    ssim_weight: float = 0.1,
    seed: int = 0,
) -> Run:
    """Clean planes from noisy ones, in the space of a finished ``neural-space`` run that stays frozen.

    Command: ``smalto train neural-space-denoise --data CID22/training --minutes 60 --set space=runs/neural-space``
    Time: not measured yet; give both kinds the same ``--minutes``.
    Score: measured with ``smalto.bench.denoising`` on Kodak at deviations 15, 25 and 50, and on real camera noise.

    ``--set space=pixels`` trains DnCNN on pixels from the same crops and noise; ``--set head=light`` the lighter head.

    Args:
        space: folder of a ``neural-space`` run, its ``space.safetensors``, an installed system's name, or ``pixels``.
        head: the paper's six residual blocks, or the light U-shaped one; on pixels there is DnCNN alone.
        learning_rate: peak rate.
        batch_size: crops a step and device.
        crop_px: side of a crop, a multiple of 4.
        method: optimiser.
        min_deviation: least deviation of the noise, in 8-bit levels.
        max_deviation: largest.
        plane_weight: of the planes' relative error beside the picture's reconstruction.
        ssim_weight: of 1 - SSIM beside the mean absolute difference.
        seed: of crops, noise and initialisation.
    """
    config = DenoiseConfig((min_deviation, max_deviation), plane_weight, ReconstructionWeights(1.0, ssim_weight))
    networks = None if space == PIXELS else (lambda: space_networks(space))
    return Run(
        name="neural-space-denoise",
        objective=lambda: DenoiseObjective(networks, head, config),
        crops=CropConfig(size_px=crop_px, seed=seed, max_downscale=2.0, is_rotated=True),
        batch_size=batch_size,
        optimisation=Optimisation(learning_rate=learning_rate, method=method, betas=_BETAS[method]),
        publish=publish_denoise,
        settings={
            "space": space,
            "head": head,
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "crop_px": crop_px,
            "method": method,
            "min_deviation": min_deviation,
            "max_deviation": max_deviation,
            "plane_weight": plane_weight,
            "ssim_weight": ssim_weight,
            "seed": seed,
        },
    )
