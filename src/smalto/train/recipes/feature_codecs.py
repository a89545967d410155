"""Recipes of the learned feature codecs: planes of transform indexes, all rates in one model or one lambda."""

from __future__ import annotations

from smalto.data.crops import CropConfig
from smalto.train.index_planes import IndexPlaneObjective, IndexPlaneObjectiveConfig
from smalto.train.release_planes import publish_index_planes
from smalto.train.run import Optimisation, Run

_MIDDLE = 128


def feature_hyperprior(
    learning_rate: float = 5e-4,
    batch_size: int = 8,
    crop_px: int = 256,
    rate_lambda: float | None = None,
    seed: int = 0,
) -> Run:
    """The universal feature codec, one channel, (N, M) = (128, 192).

    Command: ``smalto train feature-hyperprior --data PLANES.tar --minutes 60``, with planes of one model's features
    (specific training) or of several models' (hybrid).
    Time: see the log of docs/results/features.md. Score: see there.

    Args:
        learning_rate: peak rate.
        batch_size: patches a step and device.
        crop_px: side of a patch, a multiple of 64.
        rate_lambda: train one rate with this weight of the squared error (the paper's five: 0.001 to 0.02); None trains
            0.0005 to 0.05 at once.
        seed: of patches, noise and initialisation.
    """
    config = IndexPlaneObjectiveConfig()
    if rate_lambda is not None:
        config = IndexPlaneObjectiveConfig(lambdas=(rate_lambda, rate_lambda), fixed_q=_MIDDLE)
    return Run(
        name="feature-hyperprior",
        objective=lambda: IndexPlaneObjective(config),
        crops=CropConfig(size_px=crop_px, seed=seed, is_flipped=False),
        batch_size=batch_size,
        optimisation=Optimisation(learning_rate=learning_rate, method="soap", betas=(0.95, 0.95)),
        publish=publish_index_planes,
        settings={
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "crop_px": crop_px,
            "rate_lambda": rate_lambda,
            "seed": seed,
        },
    )
