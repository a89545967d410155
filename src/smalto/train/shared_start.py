"""Where training of the shared neural space starts: an encoder and a decoder that hand the picture through.

The picture's 2 x 2 blocks become twelve Haar coefficients; rectifiers pass each as two channels, one of either sign.
The other channels start at random and reach neither those coefficients nor the picture, until training lets them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from smalto.encoders.shared_cnn import SharedEncoder
from smalto.heads.shared_decoder import SharedDecoder
from smalto.layers.shared_blocks import NarrowStage

PLANE_GAIN = 0.25  # of random planes: brings them to the size of the pixels handed through
_SMOOTH_SHARE = 0.8  # of a random kernel's variance
_SMOOTH = {1: (1.0,), 3: (0.25, 0.5, 0.25), 4: (0.125, 0.375, 0.375, 0.125)}  # binomial, sums of one
_SIGNS = torch.tensor(
    [[[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [-1.0, -1.0]], [[1.0, -1.0], [1.0, -1.0]], [[1.0, -1.0], [-1.0, 1.0]]]
)


@torch.no_grad()
def start_passing(encoder: SharedEncoder, decoder: SharedDecoder) -> None:
    """Set weights so that the decoder gives back what the encoder saw.

    Args:
        encoder: of any number of channels, one for a mosaic.
        decoder: its pictures have three channels; with an encoder of one, each repeats the mosaic.
    """
    for network in (encoder, decoder):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                _spread(layer)
    for plane in (encoder.to_t, encoder.to_b):
        plane.weight.mul_(PLANE_GAIN)
    num = 4 * encoder.channels_in
    _analyse(encoder.enc_b[0], encoder.channels_in)  # type: ignore[arg-type]
    _hand_on(encoder.enc_b[2], torch.eye(2 * num))  # type: ignore[arg-type]
    pairs = torch.zeros(num, 2 * num)
    pairs[range(num), range(0, 2 * num, 2)], pairs[range(num), range(1, 2 * num, 2)] = 1.0, -1.0
    encoder.to_b.weight[:num] = 0
    structure = encoder.to_b.in_channels - encoder.enc_b[2].conv.out_channels  # type: ignore[union-attr]
    encoder.to_b.weight[:num, structure : structure + 2 * num, 0, 0] = pairs
    split = torch.zeros(2 * num, decoder.stage.conv.in_channels)
    structure = decoder.up.out_channels
    split[:, structure : structure + num] = pairs.T
    _hand_on(decoder.stage, split)
    _synthesise(decoder.out, encoder.channels_in)


def _spread(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Random weights that keep the variance through a rectifier (He et al. 2015), no bias.

    Most of the variance is that of smooth kernels, whose answers move with the picture; kernels of transposed
    convolutions are wholly smooth, for random ones print their own pattern on every plane.
    """
    smooth = torch.tensor(_SMOOTH[layer.kernel_size[0]])
    kernel = torch.outer(smooth, smooth)
    mix = torch.randn(*layer.weight.shape[:2], 1, 1) * math.sqrt(2 / layer.in_channels)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    if isinstance(layer, nn.ConvTranspose2d):
        layer.weight.copy_(mix * kernel * layer.stride[0] * layer.stride[1])
        return
    rough = torch.randn(layer.weight.shape) * math.sqrt(2 / layer.weight[0].numel())
    layer.weight.copy_(math.sqrt(_SMOOTH_SHARE) * mix * kernel + math.sqrt(1 - _SMOOTH_SHARE) * rough)


def _analyse(layer: nn.Conv2d, channels: int) -> None:
    """The first 8 outputs a channel: Haar coefficients of its 2 x 2 blocks and their negatives in turn."""
    layer.weight[: 8 * channels] = 0
    for channel in range(channels):
        for k, signs in enumerate(_SIGNS):
            first = 2 * (4 * channel + k)
            layer.weight[first, channel, 1:3, 1:3] = signs / 4
            layer.weight[first + 1, channel, 1:3, 1:3] = -signs / 4


def _hand_on(stage: NarrowStage, matrix: Tensor) -> None:
    """The first outputs of a stage are the matrix times its input, rectified; its blocks add nothing to them."""
    rows, columns = matrix.shape
    stage.conv.weight[:rows] = 0
    stage.conv.weight[:rows, :columns, 1, 1] = matrix
    for block in stage.blocks:
        block.widen.weight.mul_(0.1)  # type: ignore[operator]
        block.widen.weight[:rows] = 0  # type: ignore[index]


def _synthesise(layer: nn.ConvTranspose2d, channels: int) -> None:
    """The picture from pairs of rectified Haar coefficients; other inputs do nothing yet."""
    layer.weight.zero_()
    for channel in range(layer.out_channels):
        for k, signs in enumerate(_SIGNS):
            first = 2 * (4 * (channel % channels) + k)
            layer.weight[first, channel, 1:3, 1:3] = signs
            layer.weight[first + 1, channel, 1:3, 1:3] = -signs
