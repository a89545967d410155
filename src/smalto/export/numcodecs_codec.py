"""Features through numcodecs: compressor or filter of Zarr format 2 arrays, and of whatever else takes such codecs.

::

    array ─► tier ─► header (shape, dtype, order), part
    header: version, dtype (as array sets number them), flags (1 Fortran order, 2 big endian), rank: a byte each; sides
            as varints; 8 bytes of profile digest; CRC-32 over all that stands before and behind it

numcodecs finds the codec through the entry point ``numcodecs.codecs``.
"""

from __future__ import annotations

import math
import sys
import zlib
from typing import Any, Self

import numpy as np

from smalto.errors import DamagedPacket, LimitExceeded, MissingExtra, MissingSpace, UnsupportedVersion, UsageError

try:
    from numcodecs.abc import Codec
    from numcodecs.compat import ensure_bytes, ensure_ndarray_like
except ImportError as error:
    raise MissingExtra("numcodecs is not installed; pip install 'smalto[export]'") from error

from smalto.bits.dtypes import DTYPES
from smalto.bits.varint import Cursor, varint
from smalto.data.feature_array import storage_dtype
from smalto.export.chunk_codec import CODEC_NAME, MAX_CHUNK_VALUES, ChunkSettings, Fitted

HEADER_VERSION = 1
MAX_RANK = 32
_FORTRAN, _BIG_ENDIAN = 1, 2
_HEAD_BYTES, _DIGEST_BYTES, _CRC_BYTES = 4, 8, 4


class NumcodecsFeatures(Codec):
    """A numcodecs codec for arrays of features.

    Args:
        digest: of the profile, 16 hexadecimal digits; ``of`` fills in all three.
        profile: the profile as text; empty when it is to be looked up by its digest.
        bfloat16: uint16 arrays hold bfloat16 patterns.

    Raises:
        UsageError: not such settings.

    Example:
        >>> from smalto import FeatureCodec
        >>> features = np.random.default_rng(0).normal(size=(64, 8, 16)).astype(np.float32)
        >>> codec = NumcodecsFeatures.of(FeatureCodec.fit(list(features[:10]), max_error=0.05))
        >>> bool(abs(codec.decode(codec.encode(features)) - features).max() <= 0.05)
        True
    """

    codec_id = CODEC_NAME

    def __init__(self, digest: str, profile: str = "", bfloat16: bool = False) -> None:
        self.settings = ChunkSettings(digest, profile, bfloat16)

    @classmethod
    def of(cls, fitted: Fitted, *, embed: bool | None = None, bfloat16: bool = False) -> Self:
        """The codec for a fitted ``FeatureCodec``, a ``FeatureProfile``, or a profile's file.

        Args:
            fitted: what ``fit`` found.
            embed: whether the profile travels in the configuration; None: when it is under 64 KiB there. Where it does
                not, a copy is left in the user's folder of profiles, and readers need one too.
            bfloat16: uint16 arrays hold bfloat16 patterns.

        Raises:
            ProfileError: no healthy profile.
        """
        settings = ChunkSettings.of(fitted, embed, bfloat16)
        return cls(settings.digest, settings.profile, settings.bfloat16)

    def get_config(self) -> dict[str, Any]:
        """The codec as .zarray holds it."""
        return {"id": self.codec_id, **self.settings.to_json()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The codec of a configuration. Raises UsageError and UnsupportedVersion."""
        settings = ChunkSettings.from_json({name: value for name, value in config.items() if name != "id"})
        return cls(settings.digest, settings.profile, settings.bfloat16)

    def __repr__(self) -> str:
        inside = "inside" if self.settings.profile else "looked up"
        return f"{type(self).__name__}(digest={self.settings.digest!r}, profile {inside})"

    def encode(self, buf: Any) -> bytes:
        """Code an array.

        Args:
            buf: an array of floating-point values, or a buffer that says it holds such.

        Raises:
            UsageError: dtype or shape do not fit the profile.
        """
        array = np.asarray(buf) if not isinstance(buf, bytes | bytearray) else np.frombuffer(buf, np.uint8)
        name = self.settings.dtype_name(array.dtype)
        is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        is_big = not array.dtype.isnative if sys.byteorder == "little" else array.dtype.isnative
        values = array if array.dtype.kind == "V" else array.astype(storage_dtype(name), copy=False)
        part = self.settings.coder().encode(values, name)
        flags = _FORTRAN * is_fortran | _BIG_ENDIAN * (is_big and array.dtype.kind != "V")
        sides = b"".join(varint(side) for side in array.shape)
        head = bytes((HEADER_VERSION, DTYPES[name], flags, array.ndim)) + sides + bytes.fromhex(self.settings.digest)
        return head + zlib.crc32(part, zlib.crc32(head)).to_bytes(_CRC_BYTES, "little") + part

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The array of coded bytes, in the shape, dtype and order it had.

        Args:
            buf: what ``encode`` returned.
            out: a writable buffer of exactly the array's size to decode into.

        Returns:
            A NumPy array (bfloat16 as uint16 patterns), or ``out``.

        Raises:
            PacketError: the bytes are damaged.
            MissingSpace: they were coded with another profile.
            UsageError: ``out`` is of another size.
        """
        data = bytes(ensure_bytes(buf))
        name, flags, shape, part = self._opened(data)
        values = self.settings.coder().decode(part, shape, name)
        if flags & _BIG_ENDIAN:
            values = values.astype(values.dtype.newbyteorder(">"))
        elif sys.byteorder == "big":
            values = values.astype(values.dtype.newbyteorder("<"))
        if flags & _FORTRAN:
            values = np.asfortranarray(values)
        return values if out is None else _copied(values, out)

    def _opened(self, data: bytes) -> tuple[str, int, tuple[int, ...], bytes]:
        """Dtype, flags, shape and part of a coded array."""
        if len(data) < _HEAD_BYTES + _DIGEST_BYTES + _CRC_BYTES:
            raise DamagedPacket(f"{CODEC_NAME}: {len(data)} bytes are no coded chunk; the store is damaged")
        version, number, flags, rank = data[:_HEAD_BYTES]
        if version != HEADER_VERSION:
            raise UnsupportedVersion(f"{CODEC_NAME}: a chunk of version {version}; upgrade smalto, or it is damaged")
        cursor = Cursor(data, CODEC_NAME)
        cursor.take(_HEAD_BYTES)
        shape = tuple(cursor.varint(MAX_CHUNK_VALUES) for _ in range(min(rank, MAX_RANK)))
        digest, found = bytes(cursor.take(_DIGEST_BYTES)), bytes(cursor.take(_CRC_BYTES))
        end = cursor.position
        expected = zlib.crc32(data[end:], zlib.crc32(data[: end - _CRC_BYTES]))
        names = {code: name for name, code in DTYPES.items()}
        if int.from_bytes(found, "little") != expected or number not in names or rank > MAX_RANK or flags > 3:
            raise DamagedPacket(f"{CODEC_NAME}: the checksum of a chunk does not hold; the store is damaged")
        if digest.hex() != self.settings.digest:
            raise MissingSpace(
                f"{CODEC_NAME}: a chunk was coded with profile {digest.hex()}, the array names {self.settings.digest}"
            )
        if math.prod(shape) > MAX_CHUNK_VALUES:
            raise LimitExceeded(f"{CODEC_NAME}: a chunk {shape} has over 2^26 values")
        return names[number], flags, shape, data[end:]


def _copied(values: np.ndarray, out: Any) -> Any:
    """``out``, filled with the bytes of ``values`` in their memory order."""
    target = ensure_ndarray_like(out)
    if target.nbytes != values.nbytes or not (target.flags.c_contiguous or target.flags.f_contiguous):
        raise UsageError(f"{CODEC_NAME}: out has {target.nbytes} bytes, the array {values.nbytes}; pass that many")
    flat = np.asarray(target).reshape(-1, order="A").view(np.uint8)
    flat[...] = values.reshape(-1, order="A").view(np.uint8)
    return out
