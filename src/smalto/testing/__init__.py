"""The conformance suite: what any encoder, codec or head must keep so that a System can run it. Public.

Run it on your own parts, in a test of your own::

    from smalto.testing import check_codec, check_encoder, check_head

    def test_my_encoder():
        check_encoder(MyEncoder(), stride=16)

Every function returns None when the part keeps the rules and raises ``ConformanceError`` naming the first broken one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from smalto.errors import DamagedPacket, PacketError, SmaltoError, UsageError

_SEED = 20
_TOLERANCE = 1e-4


class ConformanceError(SmaltoError, AssertionError):
    """A part breaks a rule that a System relies on. The message is one line: which rule, and what was seen."""


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


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise ConformanceError(rule)


def _number(part: nn.Module, name: str, least: int, kind: str) -> int:
    value = getattr(part, name, None)
    if not isinstance(value, int) or value < least:
        raise ConformanceError(f"{kind}: {name} must be a whole number from {least} on, found {value!r}")
    return value


def _uniform(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(_SEED))


def _normal(*shape: int) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(_SEED))


def _close(a: Tensor, b: Tensor) -> bool:
    span = max(float(b.abs().max()), 1e-6)
    return a.shape == b.shape and float((a - b).abs().max()) <= _TOLERANCE * span


def _refuses(call: Callable[[], object], error: type[Exception], rule: str) -> None:
    try:
        call()
    except error:
        return
    except Exception as other:
        raise ConformanceError(f"{rule}; raised {type(other).__name__} instead: {other}") from other
    raise ConformanceError(f"{rule}; raised nothing")


# -- encoders ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def check_encoder(encoder: nn.Module, stride: int = 16) -> None:
    """Check a network that turns pictures into a grid plane.

    Args:
        encoder: (B, 3, H, W) in [0, 1] with sides that are multiples of ``stride`` -> (B, M, H / stride, W / stride);
            ``halo_px`` says how far one latent cell can see beyond its own pixels.
        stride: pixels per cell.

    Raises:
        ConformanceError: a rule is broken.

    Example:
        >>> from dataclasses import replace
        >>> from smalto.encoders.hific import LITE, Encoder
        >>> check_encoder(Encoder(replace(LITE, widths=(8, 8), blocks=(1, 1), latent_channels=4)))
    """
    encoder = encoder.eval()
    halo = _number(encoder, "halo_px", 0, "encoder")
    _require(halo % stride == 0, f"encoder: halo_px {halo} is not a multiple of the stride {stride}")
    x = _uniform(2, 3, 4 * stride, 5 * stride)
    kept = x.clone()
    y = encoder(x)
    _require(torch.equal(x, kept), "encoder: it writes into its input")
    _require(y.dim() == 4 and y.shape[0] == 2, f"encoder: output {tuple(y.shape)} is not (B, M, h, w)")
    _require(tuple(y.shape[2:]) == (4, 5), f"encoder: a 4 x 5 cell picture gave {tuple(y.shape[2:])} cells")
    _require(y.dtype == torch.float32, f"encoder: the latent is {y.dtype}, not float32")
    _require(bool(torch.isfinite(y).all()), "encoder: the latent of a random picture is not finite")
    _require(torch.equal(encoder(x), y), "encoder: the same picture gives another latent the second time")
    _require(_close(encoder(x[1:]), y[1:]), "encoder: a picture's latent depends on the others in its batch")
    for level in (0.0, 1.0):
        flat = encoder(torch.full((1, 3, 4 * stride, 4 * stride), level))
        _require(
            bool(torch.isfinite(flat).all()),
            f"encoder: a picture of {level} everywhere gives values that are not finite",
        )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = encoder(x)
    _require(rough.dtype == torch.float32, f"encoder: under bfloat16 the latent is {rough.dtype}, not float32")
    _require(bool(torch.isfinite(rough).all()), "encoder: under bfloat16 the latent is not finite")
    _check_reach(encoder, _uniform(1, 3, 4 * stride, 2 * halo + 3 * stride), halo, (1, stride), "encoder: halo_px")
    with torch.enable_grad():
        x = x.requires_grad_()
        encoder(x).square().sum().backward()
    _require(x.grad is not None and float(x.grad.abs().sum()) > 0, "encoder: no gradient reaches the picture")


def _check_reach(network: nn.Module, x: Tensor, halo: int, ratio: tuple[int, int], name: str) -> None:
    """Change one end of a long strip: outputs further than ``halo`` input cells away must not change."""
    up, down = ratio
    changed = x.clone()
    changed[..., :down] = 1 - changed[..., :down]
    difference = (network(changed) - network(x)).abs().amax(dim=(0, 1, 2))
    beyond = difference[(down + halo) * up // down :]
    _require(
        beyond.numel() == 0 or float(beyond.max()) <= 1e-5 * max(float(difference.max()), 1e-6),
        f"{name} is {halo}, yet a change further away than that moves the output by {float(beyond.max()):.2g}",
    )
    _require(float(difference.max()) > 0, f"{name}: changing the input changes nothing")


# -- heads ------------------------------------------------------------------------------------------------------------


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
    scale, halo = _number(head, "scale", 1, "head"), _number(head, "halo_cells", 0, "head")
    y = _normal(2, channels, 4, 5)
    kept = y.clone()
    x = head(y)
    _require(torch.equal(y, kept), "head: it writes into its input")
    wanted = (2, 3, 4 * stride * scale, 5 * stride * scale)
    _require(tuple(x.shape) == wanted, f"head: 4 x 5 cells gave {tuple(x.shape)}, not {wanted}")
    _require(x.dtype == torch.float32, f"head: the answer is {x.dtype}, not float32")
    _require(bool(torch.isfinite(x).all()), "head: the answer to a random latent is not finite")
    _require(torch.equal(head(y), x), "head: the same latent gives another answer the second time")
    _require(_close(head(y[1:]), x[1:]), "head: a latent's answer depends on the others in its batch")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = head(y)
    _require(rough.dtype == torch.float32, f"head: under bfloat16 the answer is {rough.dtype}, not float32")
    _require(bool(torch.isfinite(head(1000 * y)).all()), "head: the answer to a far too large latent is not finite")
    strip = _normal(1, channels, 4, 2 * halo + 3)
    _check_reach(head, strip, halo, (stride * scale, 1), "head: halo_cells")


# -- codecs -----------------------------------------------------------------------------------------------------------


def check_codec(codec: nn.Module) -> None:
    """Check a codec of one grid plane, in its training form, its coding form, or both when one object is both.

    Args:
        codec: has ``config.latent_channels`` and ``estimate`` (see ``TrainingCodec``) or ``encode`` and ``decode`` (see
            ``CodingCodec``).

    Raises:
        ConformanceError: a rule is broken, or it is neither form.
    """
    codec = codec.eval()
    trains, codes = isinstance(codec, TrainingCodec), isinstance(codec, CodingCodec)
    _require(trains or codes, "codec: it has neither estimate(y, q) nor encode(y, q) and decode(code, height, width)")
    if isinstance(codec, TrainingCodec):
        _check_estimate(codec)
    if isinstance(codec, CodingCodec):
        with torch.no_grad():
            _check_round_trips(codec)
            _check_refusals(codec)


def _check_estimate(codec: TrainingCodec) -> None:
    y = _normal(2, codec.config.latent_channels, 8, 12).requires_grad_()
    estimate = codec.estimate(y, torch.tensor([40, 200]))
    _require(estimate.y_hat.shape == y.shape, f"codec: y_hat is {tuple(estimate.y_hat.shape)} for y {tuple(y.shape)}")
    for name, bits in (("y_bits", estimate.y_bits), ("z_bits", estimate.z_bits)):
        _require(bits.shape == (2,), f"codec: {name} is {tuple(bits.shape)}, not one number a picture")
        _require(bool(torch.isfinite(bits).all() and (bits >= 0).all()), f"codec: {name} {bits.tolist()} is no size")
    _require(bool((estimate.y_bits > 0).all()), "codec: a random latent is said to cost nothing")
    (estimate.y_bits.sum() + estimate.z_bits.sum()).backward()
    _require(y.grad is not None and float(y.grad.abs().sum()) > 0, "codec: the rate gives y no gradient")


def _size(code: Any) -> int:
    return len(code.hyper) + sum(map(len, code.main))


def _check_round_trips(codec: CodingCodec) -> None:
    channels = codec.config.latent_channels
    for height, width in ((4, 4), (8, 12), (20, 4)):
        y = _normal(1, channels, height, width)
        errors, sizes = [], []
        for q in (0, 128, 255):
            code = codec.encode(y, q)
            _require(code.q == q, f"codec: asked for level {q}, the code says {code.q}")
            _require(codec.encode(y, q) == code, "codec: the same latent gives other bytes the second time")
            back = codec.decode(code, height, width)
            _require(back.shape == y.shape, f"codec: {tuple(y.shape)} came back as {tuple(back.shape)}")
            _require(back.dtype == torch.float32, f"codec: the latent comes back as {back.dtype}, not float32")
            _require(torch.equal(codec.decode(code, height, width), back), "codec: decoding twice gives two latents")
            errors.append(float((back - y).square().mean()))
            sizes.append(_size(code))
        _require(sizes == sorted(sizes), f"codec: levels 0, 128, 255 cost {sizes} bytes; size must rise with quality")
        falls = all(b <= a * 1.001 for a, b in itertools.pairwise(errors))
        _require(falls, f"codec: levels 0, 128, 255 err by {errors}; error must fall with quality")
    y = _normal(1, channels, 12, 20)
    cut, whole = codec.encode(y, 128, 8), codec.encode(y, 128, 64)
    _require(len(cut.main) == 6, f"codec: 12 x 20 cells in tiles of 8 are 6 chunks, found {len(cut.main)}")
    in_tiles, at_once = codec.decode(cut, 12, 20, 8), codec.decode(whole, 12, 20, 64)
    if codec.has_context:
        errors = [float((back - y).square().mean()) for back in (in_tiles, at_once)]
        _require(
            abs(errors[0] - errors[1]) <= 0.1 * errors[1], f"codec: in tiles it errs by {errors[0]}, else {errors[1]}"
        )
    else:
        _require(
            _close(in_tiles, at_once),
            "codec: cutting into tiles changes the latent; a codec with context says has_context",
        )
    wild = _normal(1, channels, 4, 4)
    wild[0, 0, 0, :3] = torch.tensor([float("inf"), float("-inf"), float("nan")])
    back = codec.decode(codec.encode(wild, 128), 4, 4)
    _require(bool(torch.isfinite(back).all()), "codec: values that are no numbers come back as such")


def _check_refusals(codec: CodingCodec) -> None:
    y = _normal(1, codec.config.latent_channels, 8, 8)
    for q in (-1, 256):
        _refuses(lambda q=q: codec.encode(y, q), UsageError, f"codec: level {q} must be refused with UsageError")
    code = codec.encode(y, 128)
    twice = type(code)(code.q, code.hyper, code.main * 2)
    _refuses(lambda: codec.decode(twice, 8, 8), DamagedPacket, "codec: a chunk too many must raise DamagedPacket")
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
        _require(back.shape == y.shape, "codec: damaged bytes gave a latent of another size")
