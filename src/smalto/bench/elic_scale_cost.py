"""What it costs ELIC that its tables are chosen by an integer network which reads symbols alone.

The same trained model, the same means and so the same symbols; only the network that predicts their scales differs:

- ``coded``: the scale path as it codes.
- ``symbols``: float32 layers of the mean path's size that read what the scale path reads, freed of the gain.
- ``values``: the same layers reading y_hat and z_hat, as ELIC was published. No exact decoder can be built on it.

``coded`` over ``values`` is the price of exact decoding; ``symbols`` between them tells how much of it is information
and how much is arithmetic and size. Scales of the float networks are not even quantised to tables: all in their favour.
Train both for as long as the model itself; a network trained for less would understate the price.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from smalto.codecs.elic import Elic
from smalto.codecs.elic_context import ElicConfig, ElicMeanPath, Step
from smalto.codecs.hyperprior import LOG_STEP, MIN_SCALE, NUM_SCALES, gaussian_bits
from smalto.layers import straight_through

Reads = Literal["values", "symbols"]
_FIRST_INDEX = 20.0
_INDEX_UNIT = 8.0  # table steps a unit of the network's output, so that it learns as fast as a mean


@dataclass(frozen=True)
class ScaleCost:
    """Bits a main symbol on the same symbols.

    Args:
        level: quality level q.
        coded: by the integer scale path.
        floats: by each float network.
        hyper: of the hyper-symbols, spread over the main symbols.
    """

    level: int
    coded: float
    floats: dict[str, float]
    hyper: float

    def excess(self, name: str) -> float:
        """Whole rate as coded over the rate with a float network's scales, less one."""
        return (self.coded + self.hyper) / (self.floats[name] + self.hyper) - 1


@dataclass(frozen=True)
class _Coded:
    """What the model gives for a batch, without gradients."""

    z_hat: Tensor
    gain: Tensor
    y_hat: Tensor
    symbols: Tensor
    bits: Tensor
    hyper_bits: Tensor


class FloatScale(nn.Module):
    """Scales from ELIC's own layers in float32; for measuring only.

    Args:
        config: of the model whose scales it predicts.
        reads: ``values`` (y_hat) or ``symbols`` (divided by the gain).
    """

    def __init__(self, config: ElicConfig, reads: Reads) -> None:
        super().__init__()
        self.reads = reads
        self.path = ElicMeanPath(config)

    def bits(self, coded: _Coded) -> Tensor:
        """Bits of the symbols, (B,)."""
        known = coded.y_hat if self.reads == "values" else coded.symbols / coded.gain
        flat = known.flatten(2)

        def known_at(step: Step, _: Tensor) -> Tensor:
            return flat[:, step.channels].index_select(2, step.cells)

        out, _ = self.path(self.path.features(coded.z_hat), known_at)
        index = _FIRST_INDEX + _INDEX_UNIT * out + coded.gain.log() / LOG_STEP
        sigma = MIN_SCALE * torch.exp(LOG_STEP * straight_through.clamp(index, 0, NUM_SCALES - 1))
        return gaussian_bits(coded.symbols, sigma).sum(dim=(1, 2, 3))


@torch.no_grad()
def _code(codec: Elic, y: Tensor, q: Tensor) -> _Coded:
    """Symbols of a batch, and what the model's own scale path asks for them."""
    z_hat, _, step = codec.hyper(y, q)
    gain = codec.gain(q)
    mean, y_hat = codec.values(y, z_hat, gain, codec.inverse_gain(q))
    symbols = torch.floor((y - mean) * gain + 0.5)
    sigma = codec.scales(codec.indexes(symbols, z_hat, gain), gain)
    bits = gaussian_bits(symbols, sigma).sum(dim=(1, 2, 3))
    return _Coded(z_hat, gain, y_hat, symbols, bits, codec.prior.bits(z_hat, step))


def fit_float_scale(
    codec: Elic, batches: Callable[[], tuple[Tensor, Tensor]], reads: Reads, num_steps: int, learning_rate: float = 1e-4
) -> FloatScale:
    """Train a float scale network for a trained model, which stays as it is.

    Args:
        codec: the model.
        batches: gives a batch of latents (B, M, h, w), sides multiples of 4, and their quality levels (B,).
        reads: what it may read.
        num_steps: of Adam, the learning rate falling to zero along a cosine.
        learning_rate: at the start.
    """
    scale = FloatScale(codec.config, reads).to(next(codec.parameters()).device)
    optimizer = torch.optim.Adam(scale.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(num_steps, 1))
    for _ in range(num_steps):
        y, q = batches()
        loss = scale.bits(_code(codec, y, q)).sum() / y.numel()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(scale.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return scale.eval()


@torch.no_grad()
def scale_cost(codec: Elic, floats: dict[str, FloatScale], latents: Iterable[Tensor], level: int) -> ScaleCost:
    """Rates on the same symbols.

    Args:
        codec: the trained model.
        floats: float networks by name.
        latents: (B, M, h, w) each, sides multiples of 4.
        level: quality level 0..255.
    """
    sums, num_symbols = dict.fromkeys(("coded", "hyper", *floats), 0.0), 0
    for y in latents:
        coded = _code(codec, y, torch.full((len(y),), level, device=y.device))
        sums["coded"] += float(coded.bits.sum())
        sums["hyper"] += float(coded.hyper_bits.sum())
        for name, scale in floats.items():
            sums[name] += float(scale.bits(coded).sum())
        num_symbols += y.numel()
    mean = {name: total / max(num_symbols, 1) for name, total in sums.items()}
    return ScaleCost(level, mean.pop("coded"), {name: mean[name] for name in floats}, mean["hyper"])
