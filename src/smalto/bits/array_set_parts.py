"""What an array set is made of: arrays, groups of arrays, the facts in its header, and what a reader accepts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from smalto.bits.dtypes import DTYPES
from smalto.bits.packet_metadata import MetadataValue, has_control_characters
from smalto.bits.packet_parts import DIGEST_BYTES, MAX_CHUNK_BYTES
from smalto.errors import UsageError

MAX_NAME_BYTES = 1024
MAX_DIMENSIONS = 32
MAX_VALUES = 1 << 40
"""Most values of one array; sides of 0 left out."""
MAX_GROUP_ENTRIES = 1 << 22
MAX_GROUP_RUNS = 1 << 15
MAX_PARTS = 1 << 16
"""Most parts of one group."""
MAX_PART_BYTES = MAX_CHUNK_BYTES
MAX_PART_VALUES = 1 << 22
"""A group has at most this many values for every part it has."""
MAX_PROFILE_BYTES = MAX_CHUNK_BYTES
MAX_GROUPS = (1 << 32) - 1


@dataclass(frozen=True)
class ArraySetLimits:
    """What a reader accepts.

    Args:
        max_file_bytes: largest whole file.
        max_group_values: most values in one group.
        max_group_bytes: most coded bytes of a group that are read at once; larger groups are read part by part.
    """

    max_file_bytes: int = 1 << 50
    max_group_values: int = 1 << 32
    max_group_bytes: int = 1 << 28


@dataclass(frozen=True)
class ArraySpec:
    """One array, without its values.

    Args:
        dtype: float16, bfloat16, float32 or float64.
        shape: 0 to 32 sides; those that are not 0 multiply to at most 2^40.
        name: up to 1024 bytes of UTF-8 without control characters; empty for an array known by its number.

    Raises:
        UsageError: a field is out of its bounds.

    Example:
        >>> ArraySpec("float16", (257, 1536), "layer.9").num_values
        394752
    """

    dtype: str
    shape: tuple[int, ...]
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(map(int, self.shape)))
        if self.dtype not in DTYPES:
            raise UsageError(f"arrays of {self.dtype!r} cannot be stored; use {', '.join(DTYPES)}")
        check_shape(self.shape)
        check_name(self.name)

    @property
    def num_values(self) -> int:
        """How many values the array has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class ArrayEntry(ArraySpec):
    """One array of a set, and where its values lie.

    Args:
        dtype: float16, bfloat16, float32 or float64.
        shape: its sides.
        name: its name, or empty.
        number: which array of the set it is, counted from 0.
        group: the group that holds its values.
        position: which array of the group it is, counted from 0.
        first_value: values of the group that stand before its own, arrays one after another.
    """

    number: int = 0
    group: int = 0
    position: int = 0
    first_value: int = 0


@dataclass(frozen=True)
class ArrayGroup:
    """Arrays that were coded together, and their coded bytes.

    Args:
        number: the group's number, counted from 0.
        entries: its arrays.
        parts: its coded bytes, as the codec cut them.
    """

    number: int
    entries: Sequence[ArrayEntry]
    parts: tuple[bytes, ...]


@dataclass(frozen=True)
class ArraySetInfo:
    """What the header says of the whole set.

    Args:
        codec: who reads the parts, see CodecNumber; 1..255.
        profile_digest: 8 bytes that name the profile (or the network) the arrays were coded with.
        quality: 0..255, as the codec understands it.
        metadata: small facts, key -> str, int or bytes; see packet_metadata.
        profile: the profile itself, at most 16 MiB, or None when it does not travel inside.

    Raises:
        UsageError: a field is out of its bounds.
    """

    codec: int
    profile_digest: bytes
    quality: int = 0
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict, hash=False)
    profile: bytes | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", dict(self.metadata))
        if not (1 <= self.codec <= 255 and 0 <= self.quality <= 255):
            raise UsageError(
                f"no array set can have codec {self.codec} and quality {self.quality}; use 1..255 and 0..255"
            )
        if len(self.profile_digest) != DIGEST_BYTES:
            raise UsageError(f"a profile digest has {DIGEST_BYTES} bytes, not {len(self.profile_digest)}")
        if self.profile is not None and len(self.profile) > MAX_PROFILE_BYTES:
            raise UsageError(f"a profile of {len(self.profile)} bytes is over {MAX_PROFILE_BYTES}; keep it beside")


@lru_cache(maxsize=256)
def check_shape(shape: tuple[int, ...]) -> None:
    """Raise UsageError for a shape that cannot be stored."""
    if len(shape) > MAX_DIMENSIONS:
        raise UsageError(f"an array of {len(shape)} dimensions cannot be stored; {MAX_DIMENSIONS} are the most")
    if any(side < 0 for side in shape) or math.prod(side for side in shape if side) > MAX_VALUES:
        raise UsageError(f"an array of shape {shape} cannot be stored; its sides may multiply to 2^40")


def check_name(name: str) -> None:
    """Raise UsageError for a name that cannot be stored."""
    if len(name) <= MAX_NAME_BYTES // 4 and name.isprintable():
        return
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise UsageError(f"{name!r} is no array name: it is not valid Unicode") from error
    if length > MAX_NAME_BYTES:
        raise UsageError(f"an array name of {length} bytes is longer than {MAX_NAME_BYTES}; shorten it")
    if has_control_characters(name):
        raise UsageError(f"{name!r} is no array name: control characters are not allowed")
