"""The scale path: decoded hyper-symbols to table indexes, defined in integers (docs/format.md, "Scale path").

::

    z symbols x z gain ─► clamp -128..127 ─► [3x3, shift, clamp 0..255, shuffle x2] x2 ─► 3x3, shift ─► index in 1/16

Every product and sum is an integer below 2^53, so float64 matrix products give it exactly on every machine, in any
order of summation. Nothing here calls a convolution: neighbours are gathered by slicing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.errors import WeightsError
from smalto.layers import straight_through

SHIFT_BITS = 8
BIAS_UNIT = 64.0
INPUT_LIMIT = (-128, 127)
ACTIVATION_LIMIT = (0, 255)
INDEX_LIMIT = (-(2**20), 2**20)


@dataclass(frozen=True)
class ScaleLayer:
    """One layer: kernel side (1 or 3), input and output channels, factor of its pixel shuffle, bits of its shift."""

    kernel: int
    channels_in: int
    channels_out: int
    up: int
    shift: int = SHIFT_BITS


def scale_layers(
    hyper_channels: int, widths: tuple[int, int], latent_channels: int, kernel: int = 3
) -> tuple[ScaleLayer, ...]:
    """The three layers of a scale path that goes from z at 1/64 to indexes at 1/16."""
    return (
        ScaleLayer(3, hyper_channels, widths[0], 2),
        ScaleLayer(3, widths[0], widths[1], 2),
        ScaleLayer(kernel, widths[1], latent_channels, 1),
    )


class ScalePath(nn.Module):
    """The trainable form: float weights that are rounded in the forward pass, gradients straight through.

    Args:
        layers: from hyper-symbols to indexes.
        first_index: the index at the start of training, in whole table steps.
        input_gain: weights of the first layer start this much larger, since symbols are small numbers.
    """

    def __init__(self, layers: tuple[ScaleLayer, ...], first_index: float = 20.0, input_gain: float = 12.0) -> None:
        super().__init__()
        self.layers = layers
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for k, layer in enumerate(layers):
            fan_in = layer.channels_in * layer.kernel**2
            shape = (layer.channels_out * layer.up**2, layer.channels_in, layer.kernel, layer.kernel)
            gain = input_gain if k == 0 else 1.0
            self.weights.append(nn.Parameter(torch.randn(shape) * gain * fan_in**-0.5))
            start = first_index * 16 / BIAS_UNIT if k == len(layers) - 1 else 0.75
            self.biases.append(nn.Parameter(torch.full((shape[0],), start)))

    def forward(self, z: Tensor) -> Tensor:
        """(B, Cz, hz, wz) integers as floats -> index in 1/16 table steps (B, C, 4 hz, 4 wz), integers as floats."""
        x = z.clamp(*INPUT_LIMIT)
        unit = 2.0**-SHIFT_BITS
        for k, layer in enumerate(self.layers):
            weight = straight_through.round_half_up(self.weights[k] / unit) * unit
            bias = straight_through.round_half_up(self.biases[k] * BIAS_UNIT / unit) * unit
            x = straight_through.round_half_up(F.conv2d(x, weight, bias, padding=layer.kernel // 2))
            if k < len(self.layers) - 1:
                x = straight_through.clamp(x, *ACTIVATION_LIMIT)
            if layer.up > 1:
                x = F.pixel_shuffle(x, layer.up)
        return x

    @torch.no_grad()
    def frozen(self) -> IntegerScalePath:
        """The integer form of the current weights."""
        unit = 2**SHIFT_BITS
        weights = [torch.floor(w.double() * unit + 0.5).permute(2, 3, 1, 0).flatten(0, 2) for w in self.weights]
        biases = [torch.floor(b.double() * BIAS_UNIT * unit + 0.5) for b in self.biases]
        if max(float(w.abs().max()) for w in weights) > 2**15 - 1:
            raise WeightsError("a weight of the scale path does not fit 16 bits; train with a smaller learning rate")
        path = IntegerScalePath(self.layers)
        path.load_integers([w.to(torch.int64) for w in weights], [b.to(torch.int64) for b in biases])
        return path.to(self.weights[0].device)


class IntegerScalePath(nn.Module):
    """The frozen form: integer weights held in float64, exact in eager, compiled and exported execution.

    Args:
        layers: from hyper-symbols to indexes.
        num_thresholds: for a path whose last layer gives scales instead of indexes: the index is then the number of
            thresholds that the last layer's integer has reached. 0 for a path that gives indexes.
    """

    thresholds: Tensor

    def __init__(self, layers: tuple[ScaleLayer, ...], num_thresholds: int = 0) -> None:
        super().__init__()
        self.layers = layers
        self.num_thresholds = num_thresholds
        self.register_buffer("thresholds", torch.zeros(num_thresholds, dtype=torch.float64))
        for k, layer in enumerate(layers):
            rows = layer.channels_in * layer.kernel**2
            self.register_buffer(f"weight{k}", torch.zeros(rows, layer.channels_out * layer.up**2, dtype=torch.float64))
            self.register_buffer(f"bias{k}", torch.zeros(layer.channels_out * layer.up**2, dtype=torch.float64))

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Move between devices only: casting to another dtype would lose exactness."""

        def keep_double(t: Tensor) -> Tensor:
            moved = fn(t)
            return moved if moved.dtype == torch.float64 else t.to(moved.device)

        return super()._apply(keep_double, recurse)

    def load_integers(self, weights: list[Tensor], biases: list[Tensor]) -> None:
        """Set the layers.

        Args:
            weights: (k k Cin, Cout up^2) int64, rows in the order kernel row, kernel column, input channel.
            biases: (Cout up^2,) int64.

        Raises:
            WeightsError: a sum could reach 2^53, where float64 stops being exact.
        """
        for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            limit = -INPUT_LIMIT[0] if k == 0 else ACTIVATION_LIMIT[1]
            worst = int((weight.abs().sum(0) * limit + bias.abs()).max())
            if worst >= 2**52:
                raise WeightsError(
                    f"scale path layer {k}: sums up to {worst} are not exact in float64; load other weights"
                )
            getattr(self, f"weight{k}").copy_(weight)
            getattr(self, f"bias{k}").copy_(bias)

    def forward(self, z: Tensor) -> Tensor:
        """(B, Cz, hz, wz) integers of any dtype -> index in 1/16 table steps, float64 integers (B, C, 4 hz, 4 wz)."""
        x = z.to(torch.float64).clamp(*INPUT_LIMIT)
        for k, layer in enumerate(self.layers):
            height, width = x.shape[2], x.shape[3]
            if layer.kernel == 3:
                padded = F.pad(x, (1, 1, 1, 1))
                slices = [padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)]
                x = torch.cat(slices, dim=1)  # (B, 9 Cin, h, w)
            rows = x.permute(0, 2, 3, 1)  # (B, h, w, k k Cin)
            sums = torch.matmul(rows, getattr(self, f"weight{k}")) + getattr(self, f"bias{k}")
            x = torch.floor(sums * 2.0**-layer.shift + 0.5).permute(0, 3, 1, 2)  # (B, Cout up^2, h, w)
            last = k == len(self.layers) - 1
            x = x.clamp(*(INDEX_LIMIT if last else ACTIVATION_LIMIT))
            if layer.up > 1:
                x = F.pixel_shuffle(x, layer.up)
        if self.num_thresholds:
            x = torch.searchsorted(self.thresholds, x.contiguous(), right=True).to(torch.float64)
        return x

    def arrays(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Weights (k k Cin, Cout up^2) and biases as int64 arrays."""
        weights = [getattr(self, f"weight{k}").cpu().numpy().astype(np.int64) for k in range(len(self.layers))]
        biases = [getattr(self, f"bias{k}").cpu().numpy().astype(np.int64) for k in range(len(self.layers))]
        return weights, biases


def reference_indexes(path: IntegerScalePath, z: np.ndarray) -> np.ndarray:
    """The definition in NumPy int64, loop by loop: the oracle every executor is compared with.

    Args:
        path: a frozen scale path.
        z: (B, Cz, hz, wz) integers.

    Returns:
        (B, C, 4 hz, 4 wz) int64, index in 1/16 table steps.
    """
    x = np.clip(z.astype(np.int64), *INPUT_LIMIT)
    weights, biases = path.arrays()
    for k, layer in enumerate(path.layers):
        batch, channels, height, width = x.shape
        side, reach = layer.kernel, layer.kernel // 2
        padded = np.pad(x, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
        sums = np.broadcast_to(biases[k][None, :, None, None], (batch, len(biases[k]), height, width)).copy()
        for i in range(side):
            for j in range(side):
                block = weights[k][(i * side + j) * channels : (i * side + j + 1) * channels]  # (Cin, Cout up^2)
                window = padded[:, :, i : i + height, j : j + width]
                sums += np.einsum("bchw,co->bohw", window, block)
        x = (sums + (1 << layer.shift >> 1)) >> layer.shift
        last = k == len(path.layers) - 1
        x = np.clip(x, *(INDEX_LIMIT if last else ACTIVATION_LIMIT))
        if layer.up > 1:
            up = layer.up
            x = x.reshape(batch, layer.channels_out, up, up, height, width).transpose(0, 1, 4, 2, 5, 3)
            x = x.reshape(batch, layer.channels_out, height * up, width * up)
    if path.num_thresholds:
        x = np.searchsorted(path.thresholds.cpu().numpy().astype(np.int64), x, side="right")
    return x
