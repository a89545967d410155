"""An ELIC model small enough for unit tests: the shipped code with a narrow configuration and seeded random weights."""

from __future__ import annotations

import functools
from dataclasses import replace

import torch

from smalto.codecs.elic import Elic
from smalto.codecs.elic_context import ElicConfig
from smalto.codecs.elic_freeze import freeze_elic
from smalto.codecs.elic_frozen import FrozenElic
from smalto.codecs.elic_planes import ElicPlaneCodec, ElicPlaneConfig
from smalto.codecs.scale_path import BIAS_UNIT
from tests.tiny_models import seeded

TINY_ELIC = ElicConfig(
    groups=(1, 2, 5),
    hyper_channels=4,
    analysis_widths=(8, 8),
    analysis_kernels=(3, 3, 3),
    mean_widths=(8, 6, 10),
    channel_widths=(8, 6),
    gather_widths=(12, 10),
    scale_widths=(8, 6, 7),
    scale_context_widths=(6, 5),
    scale_gather_widths=(10, 8),
)
NUM_STEPS = 2 * len(TINY_ELIC.groups)


@functools.cache
def tiny_elic_trained(config: ElicConfig = TINY_ELIC) -> Elic:
    """The training form, with indexes and gains that differ between channels; for ``tests.tiny_models.latent``."""
    codec = seeded(Elic, config, 2)
    assert isinstance(codec, Elic)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        codec.gain.log_gain.add_(0.2 * torch.randn(config.latent_channels))
        codec.inverse_gain.log_gain.copy_(-codec.gain.log_gain + 0.02 * torch.randn(config.latent_channels))
        for gather in codec.scale_path.gather:
            gather.weights[-1].mul_(0.3)
            gather.biases[-1].add_(7 * 16 / BIAS_UNIT)
    return codec


@functools.cache
def tiny_elic(config: ElicConfig = TINY_ELIC) -> FrozenElic:
    """The coding form."""
    return freeze_elic(tiny_elic_trained(config))


TINY_ELIC_PLANES = ElicPlaneConfig(filters=8, num_blocks=1, codec=replace(TINY_ELIC, gain_range=(4.0, 40.0)))


def tiny_elic_planes() -> ElicPlaneCodec:
    """The training form of a one-channel codec."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return ElicPlaneCodec(TINY_ELIC_PLANES).eval()
