"""Recipes at one rate, for those who study codecs: fixed lambda, or a rate to hold."""

from __future__ import annotations

from typing import Literal

from smalto.data.crops import CropConfig
from smalto.train.image_codec import CodecObjective, CodecObjectiveConfig
from smalto.train.release import publish_codec
from smalto.train.run import Optimisation, Run

_MIDDLE = 128


def fixed_lambda_mse(
    rate_lambda: float = 0.0130, target_bpp: float | None = None, learning_rate: float = 5e-4, batch_size: int = 8
) -> Run:
    """One rate, squared error: ``R + lambda 255^2 MSE`` as in the CompressAI zoo.

    Command: ``smalto train fixed-lambda-mse --data PICTURES --minutes 120 --set rate_lambda=0.013``
    Time: as image-codec. Score: not trained to the end yet.

    Args:
        rate_lambda: weight of the squared error on a 0..255 scale; the zoo's eight are 0.0018 to 0.18.
        target_bpp: hold this rate by switching the rate's weight between 4 and 1/16 (HiFiC's rule).
        learning_rate: peak rate.
        batch_size: crops a step and device.
    """
    return _fixed("fixed-lambda-mse", "mse", rate_lambda, target_bpp, learning_rate, batch_size)


def fixed_lambda_ms_ssim(
    rate_lambda: float = 16.64, target_bpp: float | None = None, learning_rate: float = 5e-4, batch_size: int = 8
) -> Run:
    """One rate, MS-SSIM: ``R + lambda (1 - MS-SSIM)`` as in the CompressAI zoo.

    Command: ``smalto train fixed-lambda-ms-ssim --data PICTURES --minutes 120 --set rate_lambda=16.64``
    Time: as image-codec, half as much again for MS-SSIM. Score: not trained to the end yet.

    Args:
        rate_lambda: weight of 1 - MS-SSIM; the zoo's eight are 2.40 to 220.
        target_bpp: hold this rate by switching the rate's weight between 4 and 1/16 (HiFiC's rule).
        learning_rate: peak rate.
        batch_size: crops a step and device.
    """
    return _fixed("fixed-lambda-ms-ssim", "ms-ssim", rate_lambda, target_bpp, learning_rate, batch_size)


def _fixed(
    name: str,
    distortion: Literal["mse", "ms-ssim"],
    rate_lambda: float,
    target_bpp: float | None,
    learning_rate: float,
    batch_size: int,
) -> Run:
    config = CodecObjectiveConfig(
        distortion=distortion, lambdas=(rate_lambda, rate_lambda), fixed_q=_MIDDLE, target_bpp=target_bpp
    )
    return Run(
        name=name,
        objective=lambda: CodecObjective(config),
        crops=CropConfig(size_px=192, max_downscale=2.0, is_rotated=True),
        batch_size=batch_size,
        optimisation=Optimisation(
            learning_rate=learning_rate, method="soap", betas=(0.95, 0.95), slow_names=(".linear.",)
        ),
        publish=publish_codec,
        settings={"rate_lambda": rate_lambda, "target_bpp": target_bpp, "learning_rate": learning_rate},
    )
