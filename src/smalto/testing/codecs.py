"""What a codec must keep, in its training form and its coding form, and what a learned transform around one."""

from __future__ import annotations

import itertools
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from smalto.errors import DamagedPacket, PacketError, UsageError
from smalto.systems.coding import PlaneTransform
from smalto.testing.archive import ArchivingCodec, check_archive
from smalto.testing.rules import ConformanceError, check_reach, check_repeats, close, normal, number, refuses, require


@runtime_checkable
class TrainingCodec(Protocol):
    """The training form of a codec."""

    config: Any

    def estimate(self, y: Tensor, q: Tensor) -> Any:
        """y (B, M, h, w), q (B,) -> an object with ``y_hat`` (B, M, h, w), ``y_bits`` (B,) and ``z_bits`` (B,)."""
        ...


@runtime_checkable
class CodingCodec(Protocol):
    """The coding form of a codec.

    ``has_context``: symbols are coded from others of their tile, so that tiles change what is rounded to what.
    """

    config: Any
    has_context: bool

    def encode(self, y: Tensor, q: int, tile_cells: int = 64, z: Tensor | None = None) -> Any:
        """y (1, M, h, w) -> an object with ``q``, ``hyper`` bytes and ``main``, a tuple of bytes, one a tile."""
        ...

    def decode(self, code: Any, height: int, width: int, tile_cells: int = 64) -> Tensor:
        """The latent (1, M, height, width) of what ``encode`` gave."""
        ...


def check_codec(codec: nn.Module | ArchivingCodec) -> None:
    """Check a codec of one grid plane, in its training form, its coding form, or both when one object is both.

    Args:
        codec: has ``config.latent_channels`` and ``estimate`` (see ``TrainingCodec``) or ``encode`` and ``decode`` (see
            ``CodingCodec``); or ``plane_names`` with ``encode`` and ``decode`` for the planes of the shared space (see
            ``ArchivingCodec``).

    Raises:
        ConformanceError: a rule is broken, or it is none of these forms.
    """
    if isinstance(codec, ArchivingCodec):
        check_archive(codec)
        return
    codec = codec.eval()
    trains, codes = isinstance(codec, TrainingCodec), isinstance(codec, CodingCodec)
    require(trains or codes, "codec: it has neither estimate(y, q) nor encode(y, q) and decode(code, height, width)")
    if isinstance(codec, TrainingCodec):
        _check_estimate(codec)
    if isinstance(codec, CodingCodec):
        with torch.no_grad():
            _check_round_trips(codec)
            _check_refusals(codec)


def _check_estimate(codec: TrainingCodec) -> None:
    y = normal(2, codec.config.latent_channels, 8, 12).requires_grad_()
    estimate = codec.estimate(y, torch.tensor([40, 200]))
    require(estimate.y_hat.shape == y.shape, f"codec: y_hat is {tuple(estimate.y_hat.shape)} for y {tuple(y.shape)}")
    for name, bits in (("y_bits", estimate.y_bits), ("z_bits", estimate.z_bits)):
        require(bits.shape == (2,), f"codec: {name} is {tuple(bits.shape)}, not one number a picture")
        require(bool(torch.isfinite(bits).all() and (bits >= 0).all()), f"codec: {name} {bits.tolist()} is no size")
    require(bool((estimate.y_bits > 0).all()), "codec: a random latent is said to cost nothing")
    (estimate.y_bits.sum() + estimate.z_bits.sum()).backward()
    require(y.grad is not None and float(y.grad.abs().sum()) > 0, "codec: the rate gives y no gradient")


def _size(code: Any) -> int:
    return len(code.hyper) + sum(map(len, code.main))


def _check_round_trips(codec: CodingCodec) -> None:
    channels = codec.config.latent_channels
    for height, width in ((4, 4), (8, 12), (20, 4)):
        y = normal(1, channels, height, width)
        errors, sizes = [], []
        for q in (0, 128, 255):
            code = codec.encode(y, q)
            require(code.q == q, f"codec: asked for level {q}, the code says {code.q}")
            require(codec.encode(y, q) == code, "codec: the same latent gives other bytes the second time")
            back = codec.decode(code, height, width)
            require(back.shape == y.shape, f"codec: {tuple(y.shape)} came back as {tuple(back.shape)}")
            require(back.dtype == torch.float32, f"codec: the latent comes back as {back.dtype}, not float32")
            require(torch.equal(codec.decode(code, height, width), back), "codec: decoding twice gives two latents")
            errors.append(float((back - y).square().mean()))
            sizes.append(_size(code))
        require(sizes == sorted(sizes), f"codec: levels 0, 128, 255 cost {sizes} bytes; size must rise with quality")
        falls = all(b <= a * 1.001 for a, b in itertools.pairwise(errors))
        require(falls, f"codec: levels 0, 128, 255 err by {errors}; error must fall with quality")
    y = normal(1, channels, 12, 20)
    cut, whole = codec.encode(y, 128, 8), codec.encode(y, 128, 64)
    require(len(cut.main) == 6, f"codec: 12 x 20 cells in tiles of 8 are 6 chunks, found {len(cut.main)}")
    in_tiles, at_once = codec.decode(cut, 12, 20, 8), codec.decode(whole, 12, 20, 64)
    if codec.has_context:
        errors = [float((back - y).square().mean()) for back in (in_tiles, at_once)]
        require(
            abs(errors[0] - errors[1]) <= 0.1 * errors[1], f"codec: in tiles it errs by {errors[0]}, else {errors[1]}"
        )
    else:
        require(
            close(in_tiles, at_once),
            "codec: cutting into tiles changes the latent; a codec with context says has_context",
        )
    wild = normal(1, channels, 4, 4)
    wild[0, 0, 0, :3] = torch.tensor([float("inf"), float("-inf"), float("nan")])
    back = codec.decode(codec.encode(wild, 128), 4, 4)
    require(bool(torch.isfinite(back).all()), "codec: values that are no numbers come back as such")


def _check_refusals(codec: CodingCodec) -> None:
    y = normal(1, codec.config.latent_channels, 8, 8)
    for q in (-1, 256):
        refuses(lambda q=q: codec.encode(y, q), UsageError, f"codec: level {q} must be refused with UsageError")
    code = codec.encode(y, 128)
    twice = type(code)(code.q, code.hyper, code.main * 2)
    refuses(lambda: codec.decode(twice, 8, 8), DamagedPacket, "codec: a chunk too many must raise DamagedPacket")
    for place in range(0, len(code.main[0]), max(1, len(code.main[0]) // 16)):
        data = bytearray(code.main[0])
        data[place] ^= 0x55
        damaged = type(code)(code.q, code.hyper, (bytes(data),))
        try:
            back = codec.decode(damaged, 8, 8)
        except PacketError:
            continue
        except Exception as error:
            raise ConformanceError(
                f"codec: damaged bytes must raise a PacketError, raised {type(error).__name__}: {error}"
            ) from error
        require(back.shape == y.shape, "codec: damaged bytes gave a latent of another size")


# -- transforms -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def check_transform(transform: PlaneTransform, channels: int) -> None:
    """Check the learned pair of networks around a codec: shapes, and that each sees no further than it says.

    Args:
        transform: analysis (B, channels, ratio h, ratio w) -> y (B, M, h, w) and synthesis back.
        channels: of the tensor that holds every plane.

    Raises:
        ConformanceError: a rule is broken.
    """
    ratio, latent = transform.ratio, transform.latent_channels
    analysis, synthesis = transform.analysis.eval(), transform.synthesis.eval()
    x = normal(2, channels, 2 * ratio, 3 * ratio)
    y = check_repeats(analysis, x, "analysis")
    require(tuple(y.shape) == (2, latent, 2, 3), f"analysis: 2 x 3 cells of {latent} channels became {tuple(y.shape)}")
    back = check_repeats(synthesis, normal(2, latent, 2, 3), "synthesis")
    require(back.shape == x.shape, f"synthesis: planes of shape {tuple(back.shape)}, not {tuple(x.shape)}")
    for name, given in (("analysis", y), ("synthesis", back)):
        require(given.dtype == torch.float32, f"{name}: it gives {given.dtype}, not float32")
    halo = number(analysis, "halo_cells", 0, "analysis")
    require(
        halo % ratio == 0, f"analysis: halo_cells {halo} is no multiple of the {ratio} cells that a cell of y covers"
    )
    check_reach(analysis, normal(1, channels, ratio, 2 * halo + 3 * ratio), halo, (1, ratio), "analysis: halo_cells")
    halo = number(synthesis, "halo_cells", 0, "synthesis")
    check_reach(synthesis, normal(1, latent, 1, 2 * halo + 3), halo, (ratio, 1), "synthesis: halo_cells")
