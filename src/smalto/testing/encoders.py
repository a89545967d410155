"""What an encoder must keep."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smalto.layers.shared_planes import TOP_STRIDE, SharedPlanes
from smalto.systems.neural_space import FoldedEncoder
from smalto.systems.shared_space import SPEC
from smalto.testing.rules import check_reach, close, number, require, uniform


@torch.no_grad()
def check_encoder(encoder: nn.Module, stride: int = 16, channels: int = 3) -> None:
    """Check a network that turns pictures, or RAW mosaics, into a grid plane or the planes of the shared space.

    Args:
        encoder: (B, channels, H, W) in [0, 1] with sides that are multiples of ``stride`` -> (B, M, H / stride,
            W / stride) or ``SharedPlanes``; ``halo_px`` says how far one latent cell can see beyond its own pixels.
        stride: pixels per cell, of the coarsest plane.
        channels: of the picture; 1 for mosaics.

    Raises:
        ConformanceError: a rule is broken.

    Example:
        >>> from dataclasses import replace
        >>> from smalto.encoders.hific import LITE, Encoder
        >>> check_encoder(Encoder(replace(LITE, widths=(8, 8), blocks=(1, 1), latent_channels=4)))
    """
    encoder = encoder.eval()
    halo = number(encoder, "halo_px", 0, "encoder")
    require(halo % stride == 0, f"encoder: halo_px {halo} is not a multiple of the stride {stride}")
    x = uniform(2, channels, 4 * stride, 5 * stride)
    given = encoder(x)
    if isinstance(given, SharedPlanes):
        _check_planes(given, x, stride)
        encoder = FoldedEncoder(encoder).eval()  # type: ignore[arg-type]
    kept = x.clone()
    y = encoder(x)
    require(torch.equal(x, kept), "encoder: it writes into its input")
    require(y.dim() == 4 and y.shape[0] == 2, f"encoder: output {tuple(y.shape)} is not (B, M, h, w)")
    require(tuple(y.shape[2:]) == (4, 5), f"encoder: a 4 x 5 cell picture gave {tuple(y.shape[2:])} cells")
    require(y.dtype == torch.float32, f"encoder: the latent is {y.dtype}, not float32")
    require(bool(torch.isfinite(y).all()), "encoder: the latent of a random picture is not finite")
    require(torch.equal(encoder(x), y), "encoder: the same picture gives another latent the second time")
    require(close(encoder(x[1:]), y[1:]), "encoder: a picture's latent depends on the others in its batch")
    for level in (0.0, 1.0):
        flat = encoder(torch.full((1, channels, 4 * stride, 4 * stride), level))
        require(
            bool(torch.isfinite(flat).all()),
            f"encoder: a picture of {level} everywhere gives values that are not finite",
        )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = encoder(x)
    require(rough.dtype == torch.float32, f"encoder: under bfloat16 the latent is {rough.dtype}, not float32")
    require(bool(torch.isfinite(rough).all()), "encoder: under bfloat16 the latent is not finite")
    check_reach(encoder, uniform(1, channels, 4 * stride, 2 * halo + 3 * stride), halo, (1, stride), "encoder: halo_px")
    with torch.enable_grad():
        x = x.requires_grad_()
        encoder(x).square().sum().backward()
    require(x.grad is not None and float(x.grad.abs().sum()) > 0, "encoder: no gradient reaches the picture")


def _check_planes(planes: SharedPlanes, x: Tensor, stride: int) -> None:
    """What every plane must be before they are joined in one tensor."""
    require(stride == TOP_STRIDE, f"encoder: its planes are of the shared space; check it with stride {TOP_STRIDE}")
    for spec in SPEC.planes:
        plane: Tensor = getattr(planes, spec.name)
        shape = (len(x), spec.channels, *spec.grid(x.shape[2], x.shape[3]))
        require(tuple(plane.shape) == shape, f"encoder: {spec.name} is {tuple(plane.shape)}, not {shape}")
        require(plane.dtype == torch.float32, f"encoder: {spec.name} is {plane.dtype}, not float32")
