"""One chunk of an array to one part of a tier and back: what the Zarr and the numcodecs codec share.

::

    profile ─► text in the array's metadata (or only its digest, and a copy in the user's folder)
    chunk (samples, *sample) ─► tier ─► one part                   no header: shape and dtype stand in the metadata
"""

from __future__ import annotations

import base64
import binascii
import functools
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from smalto.data.feature_array import BFLOAT16, DTYPE_BYTES, storage_dtype
from smalto.errors import LimitExceeded, MissingSpace, ProfileError, UnsupportedVersion, UsageError
from smalto.systems.feature_codec import FeatureCodec
from smalto.systems.feature_profile import MAX_PROFILE_BYTES, FeatureProfile, find_profile, keep_copy
from smalto.systems.feature_tiers import tier_of

CODEC_NAME = "smalto_features"
CONFIGURATION_VERSION = 1
MAX_EMBEDDED_TEXT = 1 << 16
"""Most characters of a profile that travels in metadata unless that is asked for."""
MAX_CHUNK_VALUES = 1 << 26

Fitted = FeatureCodec | FeatureProfile | str | Path


@dataclass(frozen=True)
class ChunkSettings:
    """What an array's metadata says of its codec.

    Args:
        digest: of the profile, 16 hexadecimal digits.
        profile: the profile itself, as ``profile_text`` writes it; empty when it is to be looked up by its digest.
        bfloat16: uint16 arrays hold bfloat16 patterns.

    Raises:
        UsageError: a field is not of that form.
    """

    digest: str
    profile: str = field(default="", repr=False)
    bfloat16: bool = False

    def __post_init__(self) -> None:
        is_text = isinstance(self.digest, str) and isinstance(self.profile, str) and isinstance(self.bfloat16, bool)
        if not is_text or len(self.digest) != 16 or not set(self.digest) <= set("0123456789abcdef"):
            raise UsageError(f"{CODEC_NAME}: digest {self.digest!r} names no profile; make the codec with of(...)")

    @classmethod
    def of(cls, fitted: Fitted, embed: bool | None = None, bfloat16: bool = False) -> ChunkSettings:
        """Settings for a fitted codec, its profile, or a profile's file.

        Args:
            fitted: what ``fit`` found.
            embed: whether the profile travels in the metadata; None: when it is under 64 KiB of text there. Where it
                does not, a copy is left in the user's folder of profiles.
            bfloat16: uint16 arrays hold bfloat16 patterns.

        Raises:
            ProfileError: no healthy profile.
        """
        if isinstance(fitted, FeatureCodec):
            fitted = fitted.profile
        profile = fitted if isinstance(fitted, FeatureProfile) else FeatureProfile.load(fitted)
        text = "" if embed is False else profile_text(profile)
        if embed is None and len(text) > MAX_EMBEDDED_TEXT:
            text = ""
        if not text:
            keep_copy(profile)
        return cls(profile.digest.hex(), text, bfloat16)

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON holds them."""
        fields: dict[str, Any] = {"version": CONFIGURATION_VERSION, "digest": self.digest}
        if self.profile:
            fields["profile"] = self.profile
        if self.bfloat16:
            fields["bfloat16"] = True
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ChunkSettings:
        """The settings in an array's metadata.

        Raises:
            UnsupportedVersion: written by a later version.
            UsageError: not such settings.
        """
        version = fields.get("version", CONFIGURATION_VERSION)
        unknown = sorted(set(fields) - {"version", "digest", "profile", "bfloat16"})
        if version != CONFIGURATION_VERSION or unknown:
            what = f"version {version}" if version != CONFIGURATION_VERSION else f"settings {', '.join(unknown)}"
            raise UnsupportedVersion(f"{CODEC_NAME}: {what} of the codec are not known here; upgrade smalto")
        return cls(fields.get("digest", ""), fields.get("profile", ""), fields.get("bfloat16", False))

    def coder(self) -> ChunkCoder:
        """What codes the chunks.

        Raises:
            MissingSpace: the profile is not in the settings and not in the user's folder, or needs weights that are
                not installed.
            ProfileError: the profile is damaged, or not the one that the digest names.
        """
        return _coder(self.digest, self.profile)

    def dtype_name(self, dtype: np.dtype[Any]) -> str:
        """What values of an array of this dtype are.

        Raises:
            UsageError: no values that features come in.
        """
        name = dtype.name
        if self.bfloat16:
            if name not in ("uint16", BFLOAT16):
                raise UsageError(f"{CODEC_NAME}: bfloat16 patterns are uint16, not {name}; leave bfloat16 out")
            return BFLOAT16
        if name not in DTYPE_BYTES:
            hint = "; bfloat16=True says that it holds bfloat16 patterns" if name == "uint16" else ""
            raise UsageError(f"{CODEC_NAME}: arrays are {', '.join(DTYPE_BYTES)}, not {name}{hint}")
        return name


class ChunkCoder:
    """Codes chunks of one kind of feature.

    Args:
        profile: what ``fit`` found.

    Raises:
        ProfileError: the profile does not hold together.
        MissingSpace: it needs weights that are not installed.
    """

    def __init__(self, profile: FeatureProfile) -> None:
        self.tier = tier_of(profile)

    def check(self, shape: tuple[int, ...]) -> int:
        """Leading axes of a chunk that are a stack of samples.

        Raises:
            UsageError: the profile has no samples with such channels.
            LimitExceeded: the chunk is larger than 2^26 values.
        """
        if math.prod(shape) > MAX_CHUNK_VALUES:
            raise LimitExceeded(f"{CODEC_NAME}: a chunk {shape} has over 2^26 values; use smaller chunks inside shards")
        return len(shape) - self.tier.sample_axes(shape)

    def encode(self, chunk: np.ndarray, dtype_name: str) -> bytes:
        """The part of a chunk.

        Args:
            chunk: a sample, part of one that keeps all its channels, or a stack of samples; any byte order.
            dtype_name: float16, bfloat16 (as uint16 patterns or ml_dtypes' type), float32 or float64.

        Raises:
            UsageError: its shape does not fit the profile.
            LimitExceeded: it is larger than 2^26 values.
        """
        if chunk.size == 0:
            return b""
        axes = self.check(chunk.shape)
        if chunk.dtype.name == BFLOAT16:
            chunk = np.ascontiguousarray(chunk).view(np.uint16)
        values = np.ascontiguousarray(chunk, storage_dtype(dtype_name))
        return self.tier.encode(list(values.reshape(-1, *chunk.shape[axes:])), dtype_name)

    def decode(self, part: bytes, shape: tuple[int, ...], dtype_name: str) -> np.ndarray:
        """The chunk of a part, C-ordered, native byte order; bfloat16 as uint16 patterns.

        Raises:
            PacketError: the part does not hold such a chunk.
            UsageError: the shape does not fit the profile.
        """
        if math.prod(shape) == 0:
            return np.empty(shape, storage_dtype(dtype_name))
        axes = self.check(shape)
        samples = self.tier.decode(part, math.prod(shape[:axes]), shape[axes:], dtype_name)
        if len(samples) == 1:
            return samples[0].reshape(shape)
        return np.stack(samples).reshape(shape)


def profile_text(profile: FeatureProfile) -> str:
    """A profile as text: base64 of its deflated safetensors bytes."""
    return base64.b64encode(zlib.compress(profile.to_bytes(), 9)).decode("ascii")


def profile_of_text(text: str) -> FeatureProfile:
    """The inverse of ``profile_text``; at most 16 MiB are inflated.

    Raises:
        ProfileError: not such a text.
    """
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(base64.b64decode(text, validate=True), MAX_PROFILE_BYTES + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ProfileError(f"{CODEC_NAME}: the profile in the metadata is damaged ({error})") from error
    if not inflater.eof:
        raise ProfileError(f"{CODEC_NAME}: the profile in the metadata is cut short or over {MAX_PROFILE_BYTES} bytes")
    return FeatureProfile.from_bytes(data, f"{CODEC_NAME}: the profile in the metadata")


@functools.lru_cache(maxsize=64)
def _coder(digest: str, text: str) -> ChunkCoder:
    profile = profile_of_text(text) if text else _looked_up(digest)
    if profile.digest.hex() != digest:
        raise ProfileError(f"{CODEC_NAME}: the metadata holds profile {profile.digest.hex()}, but names {digest}")
    return ChunkCoder(profile)


def _looked_up(digest: str) -> FeatureProfile:
    try:
        return find_profile(bytes.fromhex(digest))
    except MissingSpace as error:
        raise MissingSpace(
            f"{CODEC_NAME}: profile {digest} is neither in the metadata nor in the user's folder of profiles; "
            "copy it there, or name its folder in SMALTO_PROFILES"
        ) from error
