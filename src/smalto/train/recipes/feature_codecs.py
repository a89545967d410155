"""Recipes of the learned feature codecs: planes of transform indexes, all rates in one model or one lambda."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

from smalto.codecs.elic_planes import ElicPlaneConfig
from smalto.codecs.index_planes import IndexPlaneConfig
from smalto.data.crops import CropConfig
from smalto.train.index_planes import IndexPlaneObjective, IndexPlaneObjectiveConfig
from smalto.train.release_planes import publish_index_planes
from smalto.train.run import Optimisation, Run, Validation

Schedule = Literal["cosine", "plateau"]
_MIDDLE = 128
_OPTIMISATIONS: dict[str, Optimisation] = {
    "cosine": Optimisation(learning_rate=5e-4, method="soap", betas=(0.95, 0.95)),
    "plateau": Optimisation(learning_rate=1e-4, method="adam", betas=(0.9, 0.999), warmup_steps=0, schedule="plateau"),
}


@dataclass(frozen=True)
class _Settings:
    """The arguments of either recipe."""

    learning_rate: float | None
    batch_size: int
    crop_px: int
    rate_lambda: float | None
    schedule: Schedule
    seed: int


def feature_hyperprior(
    learning_rate: float | None = None,
    batch_size: int = 8,
    crop_px: int = 256,
    rate_lambda: float | None = None,
    schedule: Schedule = "cosine",
    seed: int = 0,
) -> Run:
    """The universal feature codec, one channel, (N, M) = (128, 192).

    Command: ``smalto train feature-hyperprior --data PLANES.tar --minutes 60``, with planes of one model's features
    (specific training) or of several models' (hybrid), as ``smalto features planes`` makes them.
    Time: 0.54 s a step of eight 128 px patches on one Zen 4 core (bfloat16, ``--set crop_px=128``), 2.5 s at 256 px.
    Score: docs/results/features.md, after 11,042 such steps.

    Hybrid, specific and cross-source training, and features of a model that was never trained on::

        smalto features planes --sources default -o hybrid.tar                  # every reachable model but SqueezeNet
        smalto features planes --sources mobilefacenet -o faces.tar             # one model
        smalto features planes --sources minilm -o texts.tar
        smalto train feature-hyperprior --data hybrid.tar --minutes 100 -o runs/hybrid
        smalto train feature-hyperprior --data faces.tar --minutes 15 -o runs/faces
        smalto train feature-hyperprior --data texts.tar --minutes 15 -o runs/texts

    Each run's codec is ``weights/planes.safetensors`` (``elic.safetensors`` for feature-elic), which
    ``smalto.systems.feature_networks.codec_of_file`` reads. Hybrid against specific: hybrid and faces, both on faces.
    Cross-source (DT-UFC, figure 5): faces on texts, texts on faces. Unseen (its table 6): hybrid on SqueezeNet.

    The paper's own training, one model a lambda, Adam from 1e-4 until the validation loss stands still at 1e-8::

        for L in 0.001 0.004 0.007 0.01 0.02; do
          smalto train feature-hyperprior --data hybrid.tar --minutes 600 --set rate_lambda=$L --set schedule=plateau
        done

    Args:
        learning_rate: peak rate; 5e-4 with the cosine, 1e-4 with the plateau by default.
        batch_size: patches a step and device.
        crop_px: side of a patch, a multiple of 64.
        rate_lambda: train one rate with this weight of the squared error (the paper's five: 0.001 to 0.02); None trains
            0.0005 to 0.05 at once.
        schedule: ``cosine`` over the time budget, with SOAP; or ``plateau`` as in the paper: Adam, the rate falls when
            the loss on planes held out stands still, and the weights of the least such loss are published.
        seed: of patches, noise and initialisation.
    """
    settings = _Settings(learning_rate, batch_size, crop_px, rate_lambda, schedule, seed)
    return _run("feature-hyperprior", IndexPlaneConfig(), settings)


def feature_elic(
    learning_rate: float | None = None,
    batch_size: int = 8,
    crop_px: int = 256,
    rate_lambda: float | None = None,
    schedule: Schedule = "cosine",
    seed: int = 0,
) -> Run:
    """The universal feature codec with ELIC, one channel, N = 192, M = 320: 37.5 M parameters.

    Command: ``smalto train feature-elic --data PLANES.tar --minutes 600 --device cuda``, with the planes and in the
    sequences of feature-hyperprior. What its scale path costs in rate: ``smalto.bench.elic_scale_cost``.
    Time: not trained to the end yet. Score: not measured yet.

    Args:
        learning_rate: peak rate; 5e-4 with the cosine, 1e-4 with the plateau by default.
        batch_size: patches a step and device.
        crop_px: side of a patch, a multiple of 64.
        rate_lambda: train one rate with this weight of the squared error (the paper's five: 0.001 to 0.02); None trains
            0.0005 to 0.05 at once.
        schedule: as for feature-hyperprior.
        seed: of patches, noise and initialisation.
    """
    settings = _Settings(learning_rate, batch_size, crop_px, rate_lambda, schedule, seed)
    return _run("feature-elic", ElicPlaneConfig(), settings)


def _run(name: str, codec: IndexPlaneConfig | ElicPlaneConfig, settings: _Settings) -> Run:
    config = IndexPlaneObjectiveConfig(codec)
    if settings.rate_lambda is not None:
        config = IndexPlaneObjectiveConfig(codec, (settings.rate_lambda, settings.rate_lambda), _MIDDLE)
    optimisation = _OPTIMISATIONS[settings.schedule]
    if settings.learning_rate is not None:
        optimisation = replace(optimisation, learning_rate=settings.learning_rate)
    return Run(
        name=name,
        objective=lambda: IndexPlaneObjective(config),
        crops=CropConfig(size_px=settings.crop_px, seed=settings.seed, is_flipped=False),
        batch_size=settings.batch_size,
        optimisation=optimisation,
        validation=Validation() if settings.schedule == "plateau" else None,
        publish=publish_index_planes,
        settings=asdict(settings),
    )
