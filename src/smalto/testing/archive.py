"""What a codec of the shared space's planes themselves must keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from smalto.errors import DamagedPacket, PacketError
from smalto.systems.shared_space import SPEC
from smalto.testing.rules import ConformanceError, close, normal, refuses, require

_WHOLE_PX, _TILE_PX = 1024, 16
_SIZES_PX = ((1, 1), (9, 22), (40, 44))


@runtime_checkable
class ArchivingCodec(Protocol):
    """A codec of the planes of a space themselves, at one quality; see ``smalto.systems.coding.ArchiveCodec``."""

    @property
    def plane_names(self) -> tuple[str, ...]:
        """The planes, each after those that it is predicted from."""
        ...

    def encode(self, planes: Mapping[str, Tensor], tile_px: int) -> dict[str, tuple[bytes, ...]]:
        """Planes (1, C, h, w) -> the chunks of each, one a tile, row by row."""
        ...

    def decode(
        self, chunks: Mapping[str, tuple[bytes, ...]], grids: Mapping[str, tuple[int, int]], tile_px: int
    ) -> dict[str, Tensor]:
        """The planes of what ``encode`` gave."""
        ...


Chunks = dict[str, tuple[bytes, ...]]
Planes = dict[str, Tensor]


@torch.no_grad()
def check_archive(codec: ArchivingCodec) -> None:
    """Check a codec of planes; see ``check_codec``.

    Raises:
        ConformanceError: a rule is broken.
    """
    known = {plane.name for plane in SPEC.planes}
    require(
        isinstance(codec.plane_names, tuple) and set(codec.plane_names) == known,
        f"codec: plane_names {codec.plane_names} are not {', '.join(sorted(known))} in some order",
    )
    for size in _SIZES_PX:
        _check_round_trip(codec, size)
    _check_tiles(codec)
    _check_wild(codec)
    _check_refusals(codec)


def _planes(size: tuple[int, int]) -> Planes:
    return {plane.name: normal(1, plane.channels, *plane.grid(*size)) for plane in SPEC.planes}


def _decoded(codec: ArchivingCodec, chunks: Chunks, size: tuple[int, int], tile_px: int = _WHOLE_PX) -> Planes:
    return codec.decode(chunks, {plane.name: plane.grid(*size) for plane in SPEC.planes}, tile_px)


def _check_round_trip(codec: ArchivingCodec, size: tuple[int, int]) -> None:
    planes = _planes(size)
    kept = {name: plane.clone() for name, plane in planes.items()}
    chunks = codec.encode(planes, _WHOLE_PX)
    require(all(torch.equal(planes[name], kept[name]) for name in kept), "codec: it writes into the planes")
    require(codec.encode(planes, _WHOLE_PX) == chunks, "codec: the same planes give other bytes the second time")
    other = {name: plane.flip(1) for name, plane in planes.items()}
    require(codec.encode(other, _WHOLE_PX) != chunks, "codec: other planes give the same bytes")
    back, again = _decoded(codec, chunks, size), _decoded(codec, chunks, size)
    for name, plane in planes.items():
        shape = tuple(back[name].shape)
        require(shape == tuple(plane.shape), f"codec: {name} {tuple(plane.shape)} came back as {shape}")
        require(back[name].dtype == torch.float32, f"codec: {name} comes back as {back[name].dtype}, not float32")
        require(torch.equal(back[name], again[name]), f"codec: decoding twice gives two of {name}")
    twice = _decoded(codec, codec.encode(back, _WHOLE_PX), size)
    for name in planes:
        require(close(twice[name], back[name]), f"codec: {name}, decoded and coded once more, loses once more")


def _check_tiles(codec: ArchivingCodec) -> None:
    size = _SIZES_PX[-1]
    planes = _planes(size)
    cut, whole = codec.encode(planes, _TILE_PX), codec.encode(planes, _WHOLE_PX)
    num = -(-size[0] // _TILE_PX) * -(-size[1] // _TILE_PX)
    in_tiles, at_once = _decoded(codec, cut, size, _TILE_PX), _decoded(codec, whole, size)
    for name in planes:
        found = len(cut[name])
        require(
            found == num, f"codec: {size[0]} x {size[1]} pixels in tiles of {_TILE_PX} gave {found} chunks of {name}"
        )
        require(close(in_tiles[name], at_once[name]), f"codec: cutting into tiles changes {name}")


def _check_wild(codec: ArchivingCodec) -> None:
    """What is no number must have a meaning, and none for cells elsewhere."""
    size = _SIZES_PX[1]
    planes = _planes(size)
    calm = _decoded(codec, codec.encode(planes, _WHOLE_PX), size)
    for plane in planes.values():
        plane[0, 0, 0, 0], plane[0, 1, 0, 0], plane[0, 2, 0, 0] = float("nan"), float("inf"), float("-inf")
    wild = _decoded(codec, codec.encode(planes, _WHOLE_PX), size)
    for name, plane in wild.items():
        require(bool(torch.isfinite(plane).all()), f"codec: values of {name} that are no numbers come back as such")
        rows, columns = plane.shape[2] // 2, plane.shape[3] // 2
        require(
            close(plane[..., rows:, columns:], calm[name][..., rows:, columns:]),
            f"codec: values of {name} that are no numbers change cells far from them",
        )


def _check_refusals(codec: ArchivingCodec) -> None:
    size = _SIZES_PX[1]
    chunks = codec.encode(_planes(size), _WHOLE_PX)
    for name, own in chunks.items():
        for wrong, what in ((own * 2, "too many"), ((), "too few")):
            changed = {**chunks, name: wrong}
            refuses(
                lambda changed=changed: _decoded(codec, changed, size),
                DamagedPacket,
                f"codec: a chunk of {name} {what} must raise DamagedPacket",
            )
        for place in range(0, len(own[0]), max(1, len(own[0]) // 16)):
            data = bytearray(own[0])
            data[place] ^= 0x55
            _check_damaged(codec, {**chunks, name: (bytes(data),)}, size)
        for cut in {0, 1, 7, len(own[0]) // 2}:
            _check_damaged(codec, {**chunks, name: (own[0][:cut],)}, size)


def _check_damaged(codec: ArchivingCodec, chunks: Mapping[str, tuple[bytes, ...]], size: tuple[int, int]) -> None:
    """Damage may go unnoticed here, for packets have checksums; it must not do harm."""
    try:
        back = _decoded(codec, dict(chunks), size)
    except PacketError:
        return
    except Exception as error:
        raise ConformanceError(
            f"codec: damaged bytes must raise a PacketError, raised {type(error).__name__}: {error}"
        ) from error
    for plane in SPEC.planes:
        shape = (1, plane.channels, *plane.grid(*size))
        require(tuple(back[plane.name].shape) == shape, f"codec: damaged bytes gave {plane.name} of another size")
        require(
            bool(torch.isfinite(back[plane.name]).all()), f"codec: damaged bytes gave {plane.name} that is not finite"
        )
