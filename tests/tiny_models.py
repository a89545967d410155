"""Networks small enough for unit tests: the shipped code with narrow configurations and seeded random weights."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from smalto.codecs.freeze import freeze
from smalto.codecs.hific_hyperprior import HificHyperprior, HificHyperpriorConfig, freeze_hific
from smalto.codecs.hyperprior import HyperpriorConfig, MeanScaleHyperprior
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.codecs.scale_path import BIAS_UNIT
from smalto.encoders.hific import HIFIC as HIFIC_ENCODER
from smalto.encoders.hific import LITE as LITE_ENCODER
from smalto.encoders.hific import Encoder, EncoderConfig
from smalto.heads.image import HIFIC as HIFIC_DECODER
from smalto.heads.image import LITE as LITE_DECODER
from smalto.heads.image import Decoder, DecoderConfig
from smalto.heads.super_resolve import SuperResolver, SuperResolverConfig
from smalto.systems.engine import Engine
from smalto.systems.multitask_codec import codec_digest, decoder_digest
from smalto.systems.system import Parts, System
from smalto.types import LatentSpec, PlaneSpec

torch.set_num_threads(1)  # networks this small only lose time to a pool of threads

CHANNELS = 8
TINY_ENCODER = replace(LITE_ENCODER, widths=(12, 16), blocks=(1, 1), latent_channels=CHANNELS)
TINY_DECODER = replace(LITE_DECODER, latent_channels=CHANNELS, width=16, trunk_blocks=1, widths=(12,), blocks=(1,))
TINY_CODEC = HyperpriorConfig(
    latent_channels=CHANNELS, hyper_channels=4, analysis_widths=(8, 8), mean_widths=(8, 6), scale_widths=(8, 6)
)
TINY_SUPER = SuperResolverConfig(decoder=TINY_DECODER, num_blocks=2, filters=8)
NARROW_HIFIC_ENCODER: EncoderConfig = replace(HIFIC_ENCODER, widths=(4, 6, 8, 10, 12), latent_channels=CHANNELS)
NARROW_HIFIC_DECODER: DecoderConfig = replace(
    HIFIC_DECODER, latent_channels=CHANNELS, width=16, trunk_blocks=2, widths=(12, 10, 8, 6)
)
NARROW_HIFIC_CODEC = HificHyperpriorConfig(latent_channels=CHANNELS, hyper_channels=6)


def seeded(build: type[nn.Module], config: object, seed: int = 0) -> nn.Module:
    """A network whose random weights depend on the seed alone; every bias and gain is away from its neutral start."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build(config)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if parameter.dim() == 1 or name.endswith(("gamma", "beta")):
                    parameter.add_(0.1 * torch.randn_like(parameter))
            if isinstance(network, Encoder | Decoder) and network.linear is not None:
                network.out.weight.mul_(25.0)  # started near zero: let the network's own part show
    return network.eval()


@functools.cache
def tiny_encoder() -> Encoder:
    """A lite encoder whose latent is several symbols wide."""
    encoder = seeded(Encoder, TINY_ENCODER, 1)
    with torch.no_grad():
        encoder.linear.weight.mul_(12.0)
    return encoder


@functools.cache
def tiny_trained() -> MeanScaleHyperprior:
    """The training form of the tiny codec, with indexes and gains that differ between channels."""
    codec = seeded(MeanScaleHyperprior, TINY_CODEC, 2)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        codec.gain.log_gain.add_(0.2 * torch.randn(CHANNELS))
        codec.inverse_gain.log_gain.copy_(-codec.gain.log_gain + 0.02 * torch.randn(CHANNELS))
        codec.scale_path.weights[-1].mul_(0.3)
        codec.scale_path.biases[-1].add_(7 * 16 / BIAS_UNIT)  # near the scale of ``latent`` below
    return codec


@functools.cache
def tiny_codec() -> FrozenHyperprior:
    """The coding form of the tiny codec."""
    return freeze(tiny_trained())


@functools.cache
def tiny_hific_trained(config: HificHyperpriorConfig = NARROW_HIFIC_CODEC) -> HificHyperprior:
    """The training form of a narrow HiFiC hyperprior whose scales differ from cell to cell."""
    codec = seeded(HificHyperprior, config, 11)
    with torch.no_grad():
        codec.analysis.conv3.weight.mul_(8.0)
        codec.scale_synthesis.out.weight.mul_(30.0)
        codec.scale_synthesis.out.bias.fill_(27.0 if config.scale_output == "index" else 3.0)
    return codec


@functools.cache
def tiny_hific_codec(config: HificHyperpriorConfig = NARROW_HIFIC_CODEC) -> FrozenHyperprior:
    """The coding form of the narrow HiFiC hyperprior."""
    trained = tiny_hific_trained(config)
    with torch.no_grad():
        z = torch.floor(trained.analysis(latent(64, 64, 99)) + 0.5)
    return freeze_hific(trained, z)


@functools.cache
def tiny_system(window_px: int = 1536, upscale: bool = True) -> System:
    """A whole system in float32, called ``tiny-0``."""
    decoder = seeded(Decoder, TINY_DECODER, 4)
    heads: dict[str, nn.Module] = {"reconstruct": decoder}
    if upscale:
        heads["upscale"] = seeded(SuperResolver, TINY_SUPER, 5)
    spec = LatentSpec("tiny-0", (PlaneSpec("y", "grid", CHANNELS, 16),))
    encoders = {"base": tiny_encoder(), "other": seeded(Encoder, TINY_ENCODER, 6)}
    parts = Parts(spec, encoders, tiny_codec(), heads, decoder_digest(decoder), codec_digest(tiny_codec()))
    return System("tiny-0", parts, Engine(torch.device("cpu"), torch.float32, window_px))


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with smooth areas, edges and a little noise, (H, W, 3) uint8."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / 48.0
    phase = generator.uniform(0, 6, 3)
    smooth = np.stack(
        [np.sin(rows * (1 + k) + phase[k]) * np.cos(columns * (2 - k) - phase[k]) for k in range(3)], axis=2
    )
    edges = ((rows + 2 * columns).astype(int) % 3 == 0)[:, :, None] * 0.4
    noise = generator.normal(0, 0.03, (height, width, 3))
    return np.clip((smooth + edges + noise) * 80 + 128, 0, 255).astype(np.uint8)


def latent(height: int, width: int, seed: int = 0, channels: int = CHANNELS) -> Tensor:
    """A random latent of a few symbols' width, (1, channels, height, width)."""
    return 3 * torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


def reach(network: nn.Module, x: Tensor, row: int, column: int) -> tuple[int, int, int, int]:
    """Input rows and columns (first, last of each) that the outputs at (row, column) depend on, by gradient.

    Biases keep most rectifiers open and inputs are random, so a weight on every path shows.
    """
    x = x.clone().requires_grad_()
    network(x)[:, :, row, column].square().sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum(dim=(0, 1)) > 0
    rows, columns = torch.nonzero(seen.any(1)).flatten(), torch.nonzero(seen.any(0)).flatten()
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def num_parameters(network: nn.Module) -> int:
    """Trainable values of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def macs_per_pixel(network: nn.Module, x: Tensor, pixels: int) -> float:
    """Multiplications per pixel of convolutions and matrix products; works on the meta device."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x)
    return counter.get_total_flops() / 2 / pixels


def tiny_hific_config_with_sigma() -> HificHyperpriorConfig:
    """The narrow HiFiC hyperprior as public weights have it: sigma from the synthesis, reflection in the analysis."""
    return replace(NARROW_HIFIC_CODEC, reflects=True, scale_output="sigma", last_factor=True)
