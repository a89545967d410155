"""Features in Zarr: an array-to-bytes codec for format 3, with or without shards.

::

    chunk (any shape, float16 | bfloat16 | float32 | float64) ─► tier ─► the chunk's bytes
    zarr.json: {"name": "smalto_features", "configuration": {"version": 1, "digest": ..., "profile": ...}}

Zarr finds the codec through the entry point ``zarr.codecs``: who reads an array imports nothing of smalto's.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

from smalto.errors import LimitExceeded, MissingExtra, MissingSpace, UsageError

try:
    from zarr.abc.codec import ArrayBytesCodec
except ImportError as error:
    raise MissingExtra("zarr 3 is not installed; pip install 'smalto[export]'") from error

from smalto.codecs.pack import MAX_RANK
from smalto.data.feature_array import storage_dtype
from smalto.export.chunk_codec import CODEC_NAME, ChunkCoder, ChunkSettings, Fitted

if TYPE_CHECKING:
    import numpy as np
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer
    from zarr.core.chunk_grids import ChunkGrid
    from zarr.core.common import JSON
    from zarr.core.dtype.wrapper import TBaseDType, TBaseScalar, ZDType


@dataclass(frozen=True)
class ZarrFeatures(ArrayBytesCodec):
    """The serializer of a Zarr array of features.

    A chunk is a stack of samples, or part of one that keeps its channels. Chunks that were never written, or hold
    nothing but the fill value, take no bytes and come back exactly. Bytes carry no checksum of their own: add
    ``zarr.codecs.Crc32cCodec`` behind it where the store has none. A write that covers only part of a chunk reads and
    codes the rest of it again, and so adds a second coding error to it; write whole chunks.

    Args:
        settings: which profile, see ``of``.

    Example:
        >>> import numpy as np, zarr
        >>> from smalto import FeatureCodec
        >>> features = np.random.default_rng(0).normal(size=(64, 8, 16)).astype(np.float32)
        >>> codec = FeatureCodec.fit(list(features[:10]), max_error=0.05)
        >>> array = zarr.create_array(
        ...     {}, shape=features.shape, chunks=(16, 8, 16), dtype="float32",
        ...     serializer=ZarrFeatures.of(codec), compressors=None,
        ... )
        >>> array[:] = features
        >>> bool(abs(array[5] - features[5]).max() <= 0.05)
        True
    """

    is_fixed_size = False

    settings: ChunkSettings

    @classmethod
    def of(cls, fitted: Fitted, *, embed: bool | None = None, bfloat16: bool = False) -> Self:
        """The codec for a fitted ``FeatureCodec``, a ``FeatureProfile``, or a profile's file.

        Args:
            fitted: what ``fit`` found.
            embed: whether the profile travels in zarr.json; None: when it is under 64 KiB there. Where it does not, a
                copy is left in the user's folder of profiles, and readers need one too.
            bfloat16: the array is uint16 and holds bfloat16 patterns.

        Raises:
            ProfileError: no healthy profile.
        """
        return cls(ChunkSettings.of(fitted, embed, bfloat16))

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """The codec in zarr.json. Raises UsageError and UnsupportedVersion."""
        configuration = data.get("configuration")
        if not isinstance(configuration, Mapping):
            raise UsageError(f"{CODEC_NAME}: the array's metadata has no configuration of the codec; it is damaged")
        return cls(ChunkSettings.from_json(configuration))

    def to_dict(self) -> dict[str, JSON]:
        """The codec as zarr.json holds it."""
        return {"name": CODEC_NAME, "configuration": self.settings.to_json()}

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> Self:
        """Itself, once the array's dtype was found to fit. Raises UsageError."""
        self.settings.dtype_name(_native(array_spec.dtype))
        return self

    def validate(
        self, *, shape: tuple[int, ...], dtype: ZDType[TBaseDType, TBaseScalar], chunk_grid: ChunkGrid
    ) -> None:
        """Refuse arrays whose chunks cannot fit the profile, whatever transpose stands in front.

        An array whose profile is not at hand can be opened, but not read. Chunks inside shards are looked at when the
        first one is written, for Zarr shows them no earlier.

        Raises:
            UsageError: dtype or shape do not fit.
            LimitExceeded: chunks are larger than 2^26 values.
        """
        self.settings.dtype_name(_native(dtype))
        chunk_shape = getattr(chunk_grid, "chunk_shape", None)
        if chunk_shape is None:
            raise UsageError(f"{CODEC_NAME}: chunks of one shape are needed, not a {type(chunk_grid).__name__}")
        try:
            coder = self.settings.coder()
        except MissingSpace:
            return
        turns = itertools.permutations(chunk_shape) if len(chunk_shape) <= MAX_RANK else ()
        if not any(_fits(coder, turned) for turned in turns):
            coder.check(tuple(chunk_shape))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Not known before coding."""
        raise NotImplementedError(f"{CODEC_NAME}: the size of a chunk is known when it is coded")

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return await asyncio.to_thread(self._decode_sync, chunk_data, chunk_spec)

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        return await asyncio.to_thread(self._encode_sync, chunk_data, chunk_spec)

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        """A chunk's bytes to its values."""
        native = _native(chunk_spec.dtype)
        name = self.settings.dtype_name(native)
        values = self.settings.coder().decode(chunk_data.to_bytes(), chunk_spec.shape, name)
        values = values.view(native) if native.kind == "V" else values.astype(native, copy=False)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(values)

    def _encode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        """A chunk's values to its bytes."""
        values = chunk_data.as_numpy_array()
        name = self.settings.dtype_name(_native(chunk_spec.dtype))
        if values.dtype.kind != "V":
            values = values.astype(storage_dtype(name), copy=False)
        return chunk_spec.prototype.buffer.from_bytes(self.settings.coder().encode(values, name))


def _fits(coder: ChunkCoder, shape: tuple[int, ...]) -> bool:
    """Whether the profile has samples of such chunks."""
    try:
        coder.check(shape)
    except (UsageError, LimitExceeded):
        return False
    return True


def _native(dtype: ZDType[TBaseDType, TBaseScalar]) -> np.dtype[Any]:
    """NumPy's dtype of a Zarr data type."""
    return cast("np.dtype[Any]", dtype.to_native_dtype())
