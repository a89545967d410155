"""Transposed convolutions as what the scale path can do: a 3x3 convolution and a pixel shuffle, in integers.

::

    h_s in float:    z ─► 5x5 up ─► ReLU ─► 5x5 up ─► ReLU ─► 3x3 ─► index or sigma
    in integers:     z ─► [3x3 to 4 C, shift, clamp 0..255, shuffle x2] x2 ─► 3x3, shift ─► index in 1/16, or 2^12 sigma
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.codecs.hyperprior import INDEX_STEPS, LOG_STEP, MIN_SCALE, NUM_SCALES
from smalto.codecs.scale_path import ACTIVATION_LIMIT, INPUT_LIMIT, IntegerScalePath, ScaleLayer
from smalto.errors import WeightsError

NUM_THRESHOLDS = (NUM_SCALES - 1) * INDEX_STEPS
SIGMA_UNIT = 2.0**-12
MAX_SHIFT = 24
_MAX_WEIGHT = 2**15 - 1
_MAX_BIAS = 2**31 - 1
_HEADROOM = 1.125  # activations may grow by an eighth over the calibrated range before they are cut
_LEAST_SHARE = 1 / 64  # a channel's range is at least this share of its layer's, so that quiet channels keep the shift


class Synthesis(Protocol):
    """A hyper-synthesis: two transposed 5x5 convolutions of stride 2, each rectified, and a 3x3 convolution."""

    slope: float
    up1: nn.ConvTranspose2d
    up2: nn.ConvTranspose2d
    out: nn.Conv2d


def as_convolution(weight: Tensor) -> Tensor:
    """The 3x3 kernel that, followed by a pixel shuffle, is a transposed 5x5 convolution of stride 2.

    Math: output ``o = 2 p + r`` takes ``in[p + d]`` through tap ``r + 2 - 2 d``, d in -1..1, where that tap exists.

    Args:
        weight: (Cin, Cout, 5, 5), of padding 2 and output padding 1.

    Returns:
        (4 Cout, Cin, 3, 3); row ``4 c + 2 r_y + r_x`` is channel c at that place of the 2x2 block.
    """
    kernel = weight.new_zeros(weight.shape[1], 2, 2, weight.shape[0], 3, 3)
    for row in range(2):
        for column in range(2):
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    tap = (row + 2 - 2 * down, column + 2 - 2 * right)
                    if max(tap) < 5:
                        kernel[:, row, column, :, down + 1, right + 1] = weight[:, :, tap[0], tap[1]].T
    return kernel.reshape(-1, weight.shape[0], 3, 3)


def sigma_thresholds() -> Tensor:
    """(1008,) int64: the least integer of SIGMA_UNIT at which the index in 1/16 steps is 1, 2, ... 1008.

    Math: index = floor(16 log(sigma / 0.11) / step + 1/2), so threshold k is 0.11 exp(step (k - 1/2) / 16) / unit.
    """
    levels = [MIN_SCALE * math.exp(LOG_STEP * (k - 0.5) / INDEX_STEPS) for k in range(1, NUM_THRESHOLDS + 1)]
    return torch.tensor([math.ceil(level / SIGMA_UNIT) for level in levels])


def _ranges(x: Tensor) -> Tensor:
    """(C,) value of one integer step of each channel of activations x (n, C, h, w), so that 255 steps hold them."""
    largest = x.amax(dim=(0, 2, 3)).clamp_min(0)
    floor = max(float(largest.max()) * _LEAST_SHARE, 1e-6)
    return largest.clamp_min(floor) * _HEADROOM / ACTIVATION_LIMIT[1]


def _integers(kernel: Tensor, bias: Tensor, name: str) -> tuple[Tensor, Tensor, int]:
    """Weights and biases times the largest power of two that keeps them within 16 and 32 bits, and its exponent."""
    largest, largest_bias = float(kernel.abs().max()), float(bias.abs().max())
    shift = MAX_SHIFT
    while shift > 0 and (largest * 2**shift > _MAX_WEIGHT or largest_bias * 2**shift > _MAX_BIAS):
        shift -= 1
    weight = torch.floor(kernel * 2**shift + 0.5).permute(2, 3, 1, 0).flatten(0, 2)  # (k k Cin, Cout up^2)
    if float(weight.abs().max()) > _MAX_WEIGHT:
        raise WeightsError(f"{name}: weights up to {largest:.3g} do not fit 16 bits; calibrate with other pictures")
    return weight.to(torch.int64), torch.floor(bias * 2**shift + 0.5).to(torch.int64), shift


@torch.no_grad()
def integer_scale_path(synthesis: Synthesis, z: Tensor, sigma: bool) -> IntegerScalePath:
    """The integer scale path nearest to a float scale synthesis.

    Every activation channel gets the step that its range on the calibration set asks for, every layer the largest shift
    that its weights allow; both are absorbed into integer weights.

    Args:
        synthesis: gives the table index, or sigma.
        z: (n, Cz, hz, wz) rounded hyper-latents for calibration.
        sigma: which of the two.

    Raises:
        WeightsError: a layer does not fit, or the rectifiers are leaky.
    """
    if synthesis.slope:
        raise WeightsError("the scale synthesis has leaky rectifiers; integer activations need plain ones")
    x = z.double().clamp(*INPUT_LIMIT)
    step = torch.ones(x.shape[1], dtype=torch.float64, device=x.device)
    layers: list[ScaleLayer] = []
    weights, biases = [], []
    for name, up in (("up1", synthesis.up1), ("up2", synthesis.up2)):
        kernel, bias = as_convolution(up.weight.double()), up.bias.double().repeat_interleave(4)  # type: ignore[union-attr]
        x = F.pixel_shuffle(torch.relu(F.conv2d(x, kernel, bias, padding=1)), 2)
        next_step = _ranges(x)
        unit = next_step.repeat_interleave(4)
        scaled = kernel * step[None, :, None, None] / unit[:, None, None, None]
        weight, integer_bias, shift = _integers(scaled, bias / unit, f"scale synthesis, {name}")
        layers.append(ScaleLayer(3, kernel.shape[1], kernel.shape[0] // 4, 2, shift))
        weights.append(weight)
        biases.append(integer_bias)
        step = next_step
    unit_out = SIGMA_UNIT if sigma else 1 / INDEX_STEPS
    scaled = synthesis.out.weight.double() * step[None, :, None, None] / unit_out
    weight, integer_bias, shift = _integers(scaled, synthesis.out.bias.double() / unit_out, "scale synthesis, out")  # type: ignore[union-attr]
    layers.append(ScaleLayer(3, scaled.shape[1], scaled.shape[0], 1, shift))
    path = IntegerScalePath(tuple(layers), NUM_THRESHOLDS if sigma else 0).to(z.device)
    path.load_integers([*weights, weight], [*biases, integer_bias])
    if sigma:
        path.thresholds.copy_(sigma_thresholds())
    return path
