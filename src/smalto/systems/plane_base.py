"""What the codec of the shared space's planes is made over: the image codec's networks and the space's own encoder.

Analysis reads the 2 x 2 blocks of the picture from z_b and goes on as the image encoder; synthesis is the image
decoder, whose blocks of pixels then go through the space's encoder. Training starts here, and the codec's file holds
only what training changed: the rest is taken from the files that are installed anyway.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.codecs.plane_transform import PlaneAnalysis, PlaneSynthesis, PlaneTransformConfig
from smalto.encoders.hific import Encoder
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.heads.image import Decoder

_BLOCK = 2  # pixels along each side of a block that one cell of z_b covers


@torch.no_grad()
def base_transform(encoder: Encoder, decoder: Decoder, space: SharedEncoder) -> tuple[PlaneAnalysis, PlaneSynthesis]:
    """Analysis and synthesis before any training; what neither network says is zero.

    Args:
        encoder: of the image codec.
        decoder: of the image codec.
        space: encoder of the shared space.

    Raises:
        RuntimeError, ValueError: the image codec is of other widths.
    """
    config = PlaneTransformConfig(
        latent_channels=encoder.config.latent_channels,
        widths=(encoder.config.widths[0], encoder.config.widths[1]),
        analysis_blocks=(encoder.config.blocks[0], encoder.config.blocks[1]),
        synthesis_blocks=(decoder.config.trunk_blocks, decoder.config.blocks[0]),
    )
    analysis, synthesis = PlaneAnalysis(config), PlaneSynthesis(config)
    for part in (analysis, synthesis):
        for parameter in part.parameters():
            parameter.zero_()
    _start_analysis(analysis, encoder)
    _start_synthesis(synthesis, decoder)
    _copy_space(synthesis, space)
    return analysis, synthesis


def block_order(side: int) -> Tensor:
    """Where 2 x 2 blocks, folded by side / 2, hold the pixels of a picture folded by ``side``.

    Math: pixel (dy, dx) of colour c stands at ``c side^2 + dy side + dx`` of the one, and at
    ``(4 c + 2 (dy % 2) + dx % 2) (side/2)^2 + (dy // 2)(side/2) + dx // 2`` of the other.

    Returns:
        (3 side^2,) int64: for each channel of the other the channel of the one.
    """
    order = torch.arange(3 * side * side).reshape(1, 3 * side * side, 1, 1)
    picture = F.pixel_shuffle(order.float(), side)  # (1, 3, side, side)
    return F.pixel_unshuffle(F.pixel_unshuffle(picture, _BLOCK), side // _BLOCK).flatten().long()


def _copy_blocks(blocks: nn.Sequential, stage: nn.Module) -> None:
    """A stage's blocks, which follow its change of resolution."""
    for own, other in zip(blocks, list(stage.children())[1:], strict=True):
        own.load_state_dict(other.state_dict())


def _start_analysis(analysis: PlaneAnalysis, encoder: Encoder) -> None:
    patch = encoder.config.patch
    order = block_order(patch)
    stem, linear = encoder.stem.weight, encoder.linear.weight  # type: ignore[union-attr]
    num = len(order)
    analysis.stem.weight[:, :num] = stem[:, order]
    analysis.stem.bias.copy_(encoder.stem.bias)  # type: ignore[union-attr, arg-type]
    analysis.fine_blocks.load_state_dict(encoder.stages[0].state_dict())
    analysis.down.load_state_dict(encoder.stages[1][0].conv.state_dict())  # type: ignore[index]
    _copy_blocks(analysis.coarse_blocks, encoder.stages[1])
    analysis.out.load_state_dict(encoder.out.state_dict())
    folded = F.pixel_unshuffle(linear.flatten(0, 1)[:, None], patch)  # (M 3, patch^2, 2, 2)
    folded = folded.reshape(linear.shape[0], num, *folded.shape[2:])[:, order]
    analysis.linear.weight[:, :num] = folded
    analysis.linear.bias.copy_(encoder.linear.bias)  # type: ignore[union-attr]


def _start_synthesis(synthesis: PlaneSynthesis, decoder: Decoder) -> None:
    order = block_order(decoder.config.patch)
    num, side = len(order), decoder.config.stride
    synthesis.head.load_state_dict(decoder.head.state_dict())
    synthesis.coarse_blocks.load_state_dict(decoder.trunk.state_dict())
    synthesis.up.load_state_dict(decoder.stages[0][0].conv.state_dict())  # type: ignore[index]
    _copy_blocks(synthesis.fine_blocks, decoder.stages[0])
    synthesis.out.weight[:num] = decoder.out.weight[order]
    synthesis.out.bias[:num] = decoder.out.bias[order]  # type: ignore[index]
    drawn = decoder.linear.weight.flatten(1)  # type: ignore[union-attr]  # (M, 3 side^2)
    order = block_order(side)
    synthesis.linear.weight.copy_(drawn[:, order].T[:, :, None, None])
    bias = decoder.linear.bias.repeat_interleave(side * side)  # type: ignore[union-attr]
    synthesis.linear.bias.copy_(bias[order])  # type: ignore[union-attr]


def _copy_space(synthesis: PlaneSynthesis, encoder: SharedEncoder) -> None:
    """Planes are made of the first twelve carried channels as the space's encoder makes them of a picture."""
    first: nn.Conv2d = encoder.enc_b[0]  # type: ignore[assignment]  # (64, 3, 4, 4), stride 2, one pixel before
    cells = F.pad(first.weight, (1, 1, 1, 1))  # (64, 3, 6, 6): the three cells that it sees, whole
    folded = F.pixel_unshuffle(cells, _BLOCK)  # (64, 12, 3, 3)
    layer: nn.Conv2d = synthesis.enc_b[0]  # type: ignore[assignment]
    layer.weight[:, : folded.shape[1]] = folded
    layer.bias.copy_(first.bias)  # type: ignore[union-attr, arg-type]
    synthesis.enc_b[2].load_state_dict(encoder.enc_b[2].state_dict())
    for name in ("enc_t", "to_t", "dec_t", "to_b"):
        getattr(synthesis, name).load_state_dict(getattr(encoder, name).state_dict())
