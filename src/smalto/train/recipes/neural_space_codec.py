"""Recipe of the shared neural space's codec: both planes in one latent at 1/16."""

from __future__ import annotations

from typing import Literal

from smalto.data.crops import CropConfig
from smalto.train.plane_codec import PlaneCodecConfig, PlaneCodecObjective
from smalto.train.release_latent import heads_of, publish_latent
from smalto.train.release_raw_space import space_networks
from smalto.train.run import Optimisation, Run

_BETAS = {"soap": (0.95, 0.95), "adam": (0.9, 0.98)}


def neural_space_codec(
    space: str = "neural-space",
    heads: str = "",
    trained: Literal["synthesis", "all"] = "synthesis",
    learning_rate: float = 5e-4,
    batch_size: int = 8,
    crop_px: int = 128,
    method: Literal["soap", "adam"] = "soap",
    plane_weight: float = 0.1,
    task_weight: float = 0.1,
    seed: int = 0,
) -> Run:
    """Planes of a frozen shared space through one latent and the image codec's hyperprior, at every rate.

    Command: ``smalto train neural-space-codec --data CID22/training --minutes 60 --set space=runs/neural-space``
    Time: see docs/results/neural-space.md.
    Score: measured with ``smalto bench neural-space``: task loss against bits per pixel.

    Args:
        space: folder of a ``neural-space`` run, its ``space.safetensors``, or an installed system's name.
        heads: folders of runs of heads whose answers count, separated by commas.
        trained: ``synthesis`` keeps the image codec's analysis and hyperprior, ``all`` trains them too.
        learning_rate: peak rate.
        batch_size: crops a step and device.
        crop_px: side of a crop, a multiple of 64.
        method: optimiser.
        plane_weight: of the planes' whitened error beside the picture's squared error.
        task_weight: of each head's error beside it.
        seed: of crops and initialisation.
    """
    config = PlaneCodecConfig(plane_weight=plane_weight, task_weight=task_weight, trained=trained)
    runs = [run for run in heads.split(",") if run]
    return Run(
        name="neural-space-codec",
        objective=lambda: PlaneCodecObjective(lambda: space_networks(space), config, lambda: heads_of(runs)),
        crops=CropConfig(size_px=crop_px, seed=seed, max_downscale=2.0, is_rotated=True),
        batch_size=batch_size,
        optimisation=Optimisation(
            learning_rate=learning_rate, method=method, betas=_BETAS[method], slow_names=(".linear.",)
        ),
        publish=publish_latent,
        settings={
            "space": space,
            "heads": heads,
            "trained": trained,
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "crop_px": crop_px,
            "method": method,
            "plane_weight": plane_weight,
            "task_weight": task_weight,
            "seed": seed,
        },
    )
