"""Where training of the shared space's codec starts: see ``smalto.systems.plane_base``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.encoders.shared_cnn import MIDDLE
from smalto.errors import UsageError
from smalto.layers.shared_planes import SharedPlanes
from smalto.systems.plane_base import base_transform
from smalto.systems.plane_latent import image_arrays, image_networks
from smalto.train.release import load_hyperprior

if TYPE_CHECKING:
    from smalto.train.plane_codec import PlaneCodecObjective

_BLOCK = 2  # pixels along each side of a block that one cell of z_b covers
_RIDGE = 1e-6


@torch.no_grad()
def start_from_image_codec(objective: PlaneCodecObjective, pictures: Tensor, planes: SharedPlanes) -> None:
    """Fill analysis, hyperprior and synthesis from the installed image codec and the space.

    Args:
        objective: of the same widths as the image codec.
        pictures: (B, 3, H, W) in [0, 1], to fit the linear reading of z_b on.
        planes: theirs.

    Raises:
        UsageError: the image codec is of other widths.
    """
    image = image_networks()
    try:
        analysis, synthesis = base_transform(image.encoder, image.decoder, objective.space.encoder)
        objective.analysis.load_state_dict(analysis.state_dict())
        objective.synthesis.load_state_dict(synthesis.state_dict())
        load_hyperprior(objective.codec, image_arrays())
    except (RuntimeError, KeyError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise UsageError(f"the image codec is of other widths than the codec of planes ({line})") from error
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
