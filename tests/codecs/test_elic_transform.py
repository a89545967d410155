"""ELIC's transforms: sizes, strides, learning."""

from __future__ import annotations

import pytest
import torch

from smalto.codecs.elic_transform import (
    ELIC_PICTURE,
    ELIC_PLANE,
    STRIDE,
    ElicAnalysis,
    ElicSynthesis,
    ElicTransformConfig,
)
from tests.tiny_models import num_parameters, seeded

TINY = ElicTransformConfig(plane_channels=2, width=16, latent_channels=12, num_blocks=1)


@pytest.mark.parametrize(
    ("config", "analysis", "synthesis"),
    [(ELIC_PICTURE, 7_337_792, 7_337_475), (ELIC_PLANE, 7_328_192, 7_327_873)],
)
def test_parameters_of_the_paper(config: ElicTransformConfig, analysis: int, synthesis: int) -> None:
    with torch.device("meta"):
        assert num_parameters(ElicAnalysis(config)) == analysis
        assert num_parameters(ElicSynthesis(config)) == synthesis


@pytest.mark.parametrize("config", [ELIC_PICTURE, ELIC_PLANE])
def test_latents_are_a_sixteenth_of_the_sides(config: ElicTransformConfig) -> None:
    with torch.device("meta"):
        x = torch.empty(2, config.plane_channels, 64, 96)
        y = ElicAnalysis(config)(x)
        assert y.shape == (2, 320, 64 // STRIDE, 96 // STRIDE)
        assert ElicSynthesis(config)(y).shape == x.shape


def test_every_weight_learns() -> None:
    analysis, synthesis = seeded(ElicAnalysis, TINY), seeded(ElicSynthesis, TINY, 1)
    x = torch.randn(2, 2, 64, 80, generator=torch.Generator().manual_seed(0))
    (synthesis(analysis(x)) - x).square().sum().backward()
    for network in (analysis, synthesis):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert float(parameter.grad.abs().sum()) > 0, name
