"""Recipe of segmentation in the shared neural space, and of the same network on pixels beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from smalto.data.crops import CropConfig
from smalto.data.labelled_crops import LabelledCrops, cache_labelled
from smalto.errors import UsageError
from smalto.train.release_heads import publish_segment
from smalto.train.release_raw_space import space_networks
from smalto.train.run import Optimisation, Run
from smalto.train.segmentation import SegmentConfig, SegmentObjective
from smalto.train.space_head import PIXELS

_BETAS = {"soap": (0.95, 0.95), "adam": (0.9, 0.98)}


def neural_space_segment(
    space: str = "neural-space",
    size: Literal["s", "m", "l"] = "s",
    learning_rate: float = 1e-3,
    batch_size: int = 8,
    crop_px: int = 320,
    method: Literal["soap", "adam"] = "adam",
    min_scale: float = 0.75,
    max_scale: float = 2.0,
    balance: float = 0.0,
    boundary_weight: float = 0.0,
    seed: int = 0,
) -> Run:
    """PIDNet on the detail plane of a finished ``neural-space`` run that stays frozen, in CamVid's eleven classes.

    Command: ``smalto train neural-space-segment --data CamVid --minutes 60 --set space=runs/neural-space``
    Time: size s, a step of eight 320 px crops on one core in float32: 4.3 s on planes, 1.9 s on pixels (the
        frozen encoder is the difference). Give both kinds the same steps or minutes.
    Score: measured with ``smalto.bench.segmentation``; to reach: mean IoU of .50 on CamVid's test split in size s.

    ``--set space=pixels`` trains the same network on pixels from the same crops. ``--data`` is CamVid in the SegNet
    split, Cityscapes (the paper's setting: train there, test on CamVid; ``--set size=l``), or a .tar of either, as
    ``smalto.data.archive.pack`` makes one; their ``train`` part is used.

    Args:
        space: folder of a ``neural-space`` run, its ``space.safetensors``, an installed system's name, or ``pixels``.
        size: of PIDNet.
        learning_rate: peak rate.
        batch_size: crops a step and device, 2 or more: norms need several.
        crop_px: side of a crop, a multiple of 4, no longer than the pictures' shorter side.
        method: optimiser.
        min_scale: pictures are reduced by up to this.
        max_scale: they are enlarged by up to this.
        balance: a class weighs (1 / its share) to this power; 0 weighs all pixels alike.
        boundary_weight: of PIDNet's losses of its detail and boundary branches; 0 leaves them out, as the paper.
        seed: of crops and initialisation.
    """
    if batch_size < 2:
        raise UsageError(f"batch_size={batch_size}: segmentation needs 2 or more")
    config = SegmentConfig(size, balance, boundary_weight)
    networks = None if space == PIXELS else (lambda: space_networks(space))

    def labelled(data: Path, cache: Path, crops: CropConfig) -> LabelledCrops:
        return LabelledCrops(cache_labelled(data, cache), crops, (min_scale, max_scale))

    return Run(
        name="neural-space-segment",
        objective=lambda: SegmentObjective(networks, config),
        crops=CropConfig(size_px=crop_px, seed=seed),
        batch_size=batch_size,
        optimisation=Optimisation(learning_rate=learning_rate, method=method, betas=_BETAS[method]),
        publish=publish_segment,
        settings={
            "space": space,
            "size": size,
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "crop_px": crop_px,
            "method": method,
            "min_scale": min_scale,
            "max_scale": max_scale,
            "balance": balance,
            "boundary_weight": boundary_weight,
            "seed": seed,
        },
        source=labelled,
    )
