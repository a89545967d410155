"""Where training of the shared space's codec starts: the image codec around a linear reading of pictures from z_b.

Analysis reads the 2 x 2 blocks of the picture from z_b by least squares and goes on as the image encoder; synthesis is
the image decoder, whose blocks of pixels then go through a copy of the space's encoder. What else the networks can do
starts at zero or at random beside it, and training joins the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.codecs.plane_transform import PlaneAnalysis, PlaneSynthesis
from smalto.encoders.hific import Encoder
from smalto.encoders.shared_cnn import MIDDLE, SharedEncoder
from smalto.errors import UsageError
from smalto.heads.image import Decoder
from smalto.layers.shared_planes import SharedPlanes
from smalto.train.release import load_hyperprior
from smalto.weights import system_record
from smalto.weights.store import read_installed

if TYPE_CHECKING:
    from smalto.train.plane_codec import PlaneCodecObjective

_BLOCK = 2  # pixels along each side of a block that one cell of z_b covers
_RIDGE = 1e-6


@torch.no_grad()
def start_from_image_codec(objective: PlaneCodecObjective, system: str, pictures: Tensor, planes: SharedPlanes) -> None:
    """Fill analysis, hyperprior and synthesis.

    Args:
        objective: of the same widths as the image codec.
        system: installed image system.
        pictures: (B, 3, H, W) in [0, 1], to fit the linear reading on.
        planes: theirs.

    Raises:
        UsageError: the system is no image codec of these widths.
    """
    from smalto.systems import load

    parts = load(system, dtype=torch.float32).parts
    encoder, decoder = next(iter(parts.encoders.values())), parts.heads["reconstruct"]
    if not (isinstance(encoder, Encoder) and isinstance(decoder, Decoder)):
        raise UsageError(f"system {system}: not an image codec; leave its name out with --set start=none")
    try:
        _start_analysis(objective.analysis, encoder)
        _start_synthesis(objective.synthesis, decoder)
        load_hyperprior(objective.codec, read_installed(system_record(system).files["codec"]))
    except (RuntimeError, KeyError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise UsageError(f"system {system}: of other widths than the codec ({line}); use --set start=none") from error
    _copy_space(objective.synthesis, objective.space.encoder)
    _read_blocks(objective.analysis.detail, pictures, planes.z_b)


def _read_blocks(layer: nn.Conv2d, pictures: Tensor, z_b: Tensor) -> None:
    """Least squares from the channels of z_b to the 2 x 2 blocks of x - 0.5: the layer's first twelve outputs."""
    blocks = F.pixel_unshuffle(pictures - MIDDLE, _BLOCK)  # (B, 12, H/2, W/2)
    rows = z_b.permute(0, 2, 3, 1).reshape(-1, z_b.shape[1]).double()
    rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
    wanted = blocks.permute(0, 2, 3, 1).reshape(-1, blocks.shape[1]).double()
    gram = rows.T @ rows
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    solution = torch.linalg.solve(gram, rows.T @ wanted).T.float()  # (12, 65)
    num = blocks.shape[1]
    layer.weight[:num, :, 0, 0] = solution[:, :-1]
    layer.bias[:num] = solution[:, -1]  # type: ignore[index]


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
    analysis.stem.weight.zero_()
    analysis.stem.weight[:, :num] = stem[:, order]
    analysis.stem.bias.copy_(encoder.stem.bias)  # type: ignore[union-attr, arg-type]
    analysis.fine_blocks.load_state_dict(encoder.stages[0].state_dict())
    analysis.down.load_state_dict(encoder.stages[1][0].conv.state_dict())  # type: ignore[index]
    _copy_blocks(analysis.coarse_blocks, encoder.stages[1])
    analysis.out.load_state_dict(encoder.out.state_dict())
    folded = F.pixel_unshuffle(linear.flatten(0, 1)[:, None], patch)  # (M 3, patch^2, 2, 2)
    folded = folded.reshape(linear.shape[0], num, *folded.shape[2:])[:, order]
    analysis.linear.weight.zero_()
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
    layer.weight.zero_()
    layer.weight[:, : folded.shape[1]] = folded
    layer.bias.copy_(first.bias)  # type: ignore[union-attr, arg-type]
    synthesis.enc_b[2].load_state_dict(encoder.enc_b[2].state_dict())
    for name in ("enc_t", "to_t", "dec_t", "to_b"):
        getattr(synthesis, name).load_state_dict(getattr(encoder, name).state_dict())
