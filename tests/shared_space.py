"""What tests of the shared neural space share: multiply-adds by both conventions, seeded networks, smooth pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.encoders.shared_cnn import SharedEncoder
from smalto.heads.shared_decoder import SharedDecoder

torch.set_num_threads(1)


def multiply_adds(network: nn.Module, *inputs: object, over_output: bool) -> int:
    """Multiply-adds of the convolutions of one call; works on the meta device.

    Args:
        network: called with the inputs.
        inputs: what it takes.
        over_output: count a transposed convolution once per kernel element and output cell, as the counter does whose
            figures are published; otherwise per input cell, which is what is computed.
    """
    counts: list[int] = []

    def count(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        if isinstance(layer, nn.ConvTranspose2d):
            kernel = layer.kernel_size[0] * layer.kernel_size[1]
            cells = out[0, 0].numel() if over_output else given[0][0, 0].numel()
            counts.append(len(out) * cells * kernel * layer.in_channels * layer.out_channels // layer.groups)
        elif isinstance(layer, nn.Conv2d):
            counts.append(out.numel() * layer.weight[0].numel())

    hooks = [layer.register_forward_hook(count) for layer in network.modules()]
    with torch.no_grad():
        network(*inputs)
    for hook in hooks:
        hook.remove()
    return sum(counts)


def seeded_networks(channels_in: int = 3) -> tuple[SharedEncoder, SharedDecoder]:
    """An encoder and a decoder whose random weights depend on nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder, decoder = SharedEncoder(channels_in), SharedDecoder()
    return encoder.eval(), decoder.eval()


def smooth_pictures(num: int = 2, side: int = 64, seed: int = 0, channels: int = 3) -> Tensor:
    """(num, channels, side, side) in [0, 1]: noise at an eighth of the size, enlarged."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(num, channels, max(side // 8, 2), max(side // 8, 2), generator=generator)
    return F.interpolate(coarse, size=side, mode="bicubic", align_corners=False).clamp(0, 1)
