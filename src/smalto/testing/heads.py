"""What a head that answers with a picture must keep."""

from __future__ import annotations

import torch
from torch import nn

from smalto.heads.denoise import Denoiser, LightDenoiser
from smalto.layers.shared_planes import FOLDED_CHANNELS, TOP_STRIDE
from smalto.systems.neural_space import FoldedPictureHead
from smalto.testing.rules import check_reach, close, normal, number, require


@torch.no_grad()
def check_head(head: nn.Module, channels: int, stride: int = 16) -> None:
    """Check a network that turns a grid plane into a picture.

    Args:
        head: (B, channels, h, w) -> (B, 3, scale stride h, scale stride w) around [0, 1]; ``scale`` is its enlargement,
            ``halo_cells`` how many cells away one output pixel can see.
        channels: M of the plane it takes.
        stride: pixels per cell of the plane.

    Raises:
        ConformanceError: a rule is broken.

    Example:
        >>> from dataclasses import replace
        >>> from smalto.heads.image import LITE, Decoder
        >>> config = replace(LITE, latent_channels=4, width=8, trunk_blocks=1, widths=(8,), blocks=(1,))
        >>> check_head(Decoder(config), channels=4)
    """
    head = head.eval()
    scale, halo = number(head, "scale", 1, "head"), number(head, "halo_cells", 0, "head")
    y = normal(2, channels, 4, 5)
    kept = y.clone()
    x = head(y)
    require(torch.equal(y, kept), "head: it writes into its input")
    wanted = (2, 3, 4 * stride * scale, 5 * stride * scale)
    require(tuple(x.shape) == wanted, f"head: 4 x 5 cells gave {tuple(x.shape)}, not {wanted}")
    require(x.dtype == torch.float32, f"head: the answer is {x.dtype}, not float32")
    require(bool(torch.isfinite(x).all()), "head: the answer to a random latent is not finite")
    require(torch.equal(head(y), x), "head: the same latent gives another answer the second time")
    require(close(head(y[1:]), x[1:]), "head: a latent's answer depends on the others in its batch")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = head(y)
    require(rough.dtype == torch.float32, f"head: under bfloat16 the answer is {rough.dtype}, not float32")
    require(bool(torch.isfinite(head(1000 * y)).all()), "head: the answer to a far too large latent is not finite")
    strip = normal(1, channels, 4, 2 * halo + 3)
    check_reach(head, strip, halo, (stride * scale, 1), "head: halo_cells")


def check_picture_head(head: nn.Module, before: Denoiser | LightDenoiser | None = None) -> None:
    """Check a network that turns the planes of the shared space into a picture, as ``check_head`` does for one plane.

    Args:
        head: ``SharedPlanes`` -> (B, 3, H, W) around [0, 1]; ``halo_cells`` counts cells of z_t.
        before: a head that cleans the planes first.

    Raises:
        ConformanceError: a rule is broken.

    Example:
        >>> from smalto.heads.shared_decoder import SharedDecoder
        >>> check_picture_head(SharedDecoder())
    """
    number(head, "halo_cells", 0, "head")
    check_head(FoldedPictureHead(head, before), FOLDED_CHANNELS, TOP_STRIDE)  # type: ignore[arg-type]
