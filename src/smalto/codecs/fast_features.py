"""The fast tier of universal feature coding: no network, a profile fitted on about ten samples, 100 million values a s.

::

    arrays ─► field (S, H, W, C) ─► FeatureTransform ─► symbols ─► FeatureContexts + rANS ─► one part a chunk
                     ├─► values no symbol stands for (NaN, infinities, far outliers, misses of max_error) ─► part 0
                     └─► levels: the mean error of every sample ─► rANS ─► part 1

A group of arrays of one shape is coded together. Its chunks hold at most 2^20 values, or one position where that has
more; no context crosses a chunk's edge, so chunks can be coded side by side. Decoded symbols are exact on every
machine; values are float32 sums of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from smalto.bits.dtypes import storage_dtype
from smalto.codecs.feature_chunks import Box, GroupNotes, chunk_boxes
from smalto.codecs.feature_contexts import FeatureContexts
from smalto.codecs.feature_fit import LEVEL_POSITIONS, Goal, fit_levels, fit_tier
from smalto.codecs.feature_samples import sample_fields
from smalto.codecs.feature_transform import FeatureTransform
from smalto.codecs.feature_values import (
    bits_of,
    dtype_name_of,
    narrowed,
    pack_exceptions,
    unpack_exceptions,
    widened,
)
from smalto.codecs.pack import LAYOUTS, FieldShape, checked_shape, field_shape, from_field, guess_layout, to_field
from smalto.errors import DamagedPacket, UsageError

CHUNK_VALUES = 1 << 20
BLOCK_VALUES = 1 << 17
MAX_GROUP_VALUES = 1 << 31
DENSE_ERROR = 0.02
SPARSE_ERROR = 0.005
DIFFUSION = 0.5
SPARSE_ZEROS = 0.3
BOUND_SHARES = (1.0, 0.9, 0.75, 0.5)
FEW_EXACT = 0.02
PROFILE_VERSION = 1

Parts = Sequence[bytes | bytearray | memoryview]
Preserved = Literal["means", "values"]


@dataclass(frozen=True, eq=False)
class FastFeatures:
    """A fitted profile of one kind of feature, and the codec it stands for.

    Args:
        layout: a name from ``smalto.codecs.pack.LAYOUTS``.
        transform: mean, rotation and quantiser.
        contexts: the context model and its tables.
        levels: the model of each sample's levels, a field of one position a sample; None sends none.
        max_error: the bound on every value's error, 0 for none.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> samples = [rng.standard_normal((16, 8, 8), np.float32) for _ in range(4)]
        >>> codec = FastFeatures.fit(samples, error=0.01)
        >>> back = codec.decode(codec.encode(samples), 4, (16, 8, 8), "float32")
        >>> bool(np.square(back[0] - samples[0]).mean() < 0.02)
        True
    """

    layout: str
    transform: FeatureTransform
    contexts: FeatureContexts
    levels: FeatureContexts | None = None
    max_error: float = 0.0

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UsageError(f"features: no layout is called {self.layout!r}; choose one of {', '.join(LAYOUTS)}")
        models = [model for model in (self.contexts, self.levels) if model is not None]
        if any(model.num_channels != self.transform.num_channels for model in models):
            raise UsageError("features: transform and contexts differ in channels; the profile is damaged")
        if not 0 <= self.max_error < math.inf:
            raise UsageError(f"features: max_error {self.max_error} is not a bound; the profile is damaged")

    @property
    def num_channels(self) -> int:
        """C, the channels that every array must have."""
        return self.transform.num_channels

    @classmethod
    def fit(
        cls,
        samples: Sequence[np.ndarray],
        *,
        layout: str | None = None,
        rate: float | None = None,
        error: float | None = None,
        max_error: float | None = None,
        step: float | None = None,
        preserve: Preserved | None = None,
    ) -> FastFeatures:
        """Fit a profile on samples, at most one goal given.

        Args:
            samples: about ten arrays of one layout and one number of channels; other sides may differ.
            layout: what the axes mean; guessed from the first sample's shape when not given.
            rate: bits a value.
            error: noise over the variance around each channel's mean. Without any goal 0.02, or 0.005 for sparse
                features, of which more than 30 % are zero: after a ReLU a classifier feels noise sooner.
            max_error: bound on the error of every value, kept for every array that is coded.
            step: width of a quantisation cell.
            preserve: ``means`` diffuses errors, so that averages over neighbouring positions survive and single values
                less; ``values`` rounds each by itself. None takes means for sparse features of 16 positions and more
                when no ``max_error`` is given, else values.

        Raises:
            UsageError: no values, dtypes or shapes that do not fit, several goals, a goal that is not positive, or
                means together with ``max_error``.
        """
        if len(samples) == 0:
            raise UsageError("features: no samples to fit on; give about ten arrays")
        layout = layout or guess_layout(samples[0].shape)
        goals = {"rate": rate, "error": error, "max_error": max_error, "step": step}
        given = {kind: float(value) for kind, value in goals.items() if value is not None}
        if len(given) > 1:
            raise UsageError(f"features: {' and '.join(given)} at once; give one goal")
        if preserve not in (None, "means", "values") or (preserve == "means" and max_error is not None):
            raise UsageError(f"features: cannot preserve {preserve!r} here; choose means or, with max_error, values")
        fields = sample_fields(samples, layout)
        zeros = sum(field.size - np.count_nonzero(field) for field in fields)
        sparse = zeros > SPARSE_ZEROS * sum(field.size for field in fields)
        if not given:
            given = {"error": SPARSE_ERROR if sparse else DENSE_ERROR}
        if preserve is None:
            large = all(field.shape[1] * field.shape[2] >= LEVEL_POSITIONS for field in fields)
            preserve = "means" if sparse and large and max_error is None else "values"
        diffusion = DIFFUSION if preserve == "means" else 0.0
        goal = next(Goal(kind, value, diffusion) for kind, value in given.items())  # pyright: ignore[reportArgumentType]
        if goal.kind == "max_error":
            return cls._bounded(layout, fields, goal.value, next(sample for sample in samples if sample.size))
        best = fit_tier(fields, goal)
        return cls(layout, best.transform, best.contexts, fit_levels(best.transform, fields))

    @classmethod
    def _bounded(cls, layout: str, fields: list[np.ndarray], bound: float, sample: np.ndarray) -> FastFeatures:
        """The profile for a bound: narrower steps where the dtype's own rounding makes too many values miss it."""
        tried: list[tuple[int, FastFeatures]] = []
        for share in BOUND_SHARES:
            best = fit_tier(fields, Goal("max_error", share * bound))
            codec = cls(layout, best.transform, best.contexts, None, bound)
            parts = codec.encode([sample])
            size = sum(map(len, parts))
            if tried and size >= tried[-1][0]:
                break
            tried.append((size, codec))
            if len(parts[0]) < FEW_EXACT * size:
                break
        return tried[-1][1]

    def encode(self, group: Sequence[np.ndarray], dtype_name: str | None = None) -> list[bytes]:
        """Code arrays of one shape and dtype.

        Args:
            group: at least one array.
            dtype_name: "bfloat16" says that uint16 arrays hold bfloat16 patterns.

        Returns:
            The part of exactly kept values and the part of levels, each empty when there are none, then one a chunk.

        Raises:
            UsageError: shapes or dtypes that differ, or do not fit the profile.
        """
        if len(group) == 0:
            raise UsageError("features: a group of no arrays; give at least one")
        name = dtype_name_of(np.asarray(group[0]), dtype_name)
        for array in group:
            if array.shape != group[0].shape or array.dtype != group[0].dtype:
                raise UsageError("features: arrays of different shapes or dtypes in one group; make a group of each")
        shape = self._field_shape(group[0].shape, len(group))
        stack = np.stack([bits_of(array, name) for array in group]) if len(group) > 1 else bits_of(group[0], name)[None]
        stack = stack.view(stack.dtype if name == "bfloat16" else name)
        field = to_field(stack, self.layout)
        notes = GroupNotes(shape)
        chunks = [self._encode_chunk(field, box, name, notes) for box in chunk_boxes(shape, CHUNK_VALUES)]
        levels = np.concatenate([*notes.levels, np.empty((0, self.num_channels), np.int32)])
        level_part = b"" if self.levels is None else self.levels.encode(levels[:, None, None, :])
        return [self._exceptions(stack, notes, name), level_part, *chunks]

    def decode(self, parts: Parts, num: int, shape: Sequence[int], dtype_name: str) -> list[np.ndarray]:
        """The arrays of a group.

        Args:
            parts: what ``encode`` returned.
            num: number of arrays.
            shape: the shape of each.
            dtype_name: float16, bfloat16 (arrays of uint16 patterns), float32 or float64.

        Raises:
            DamagedPacket, DecodeMismatch: the parts are not those of such a group under this profile.
            UsageError: a shape that does not fit the profile, an unknown dtype.
        """
        dtype = storage_dtype(dtype_name)
        target = self._field_shape(shape, num)
        boxes = list(chunk_boxes(target, CHUNK_VALUES))
        if len(parts) != 2 + len(boxes):
            raise DamagedPacket(f"features: {len(parts)} parts where {2 + len(boxes)} belong; the file is damaged")
        stack = np.empty((num, *shape), dtype)
        positions, patterns = unpack_exceptions(parts[0], stack.size, dtype_name)
        direct = to_field(stack, self.layout)
        field = direct if np.shares_memory(direct, stack) else np.empty(target, dtype)
        kind = np.float64 if dtype_name == "float64" else np.float32
        with np.errstate(over="ignore", invalid="ignore"):  # a hostile profile can name any numbers
            origins = self._origins(parts[1], [field[box].shape for box in boxes], kind)
            for part, box, origin in zip(parts[2:], boxes, origins, strict=True):
                self._decode_chunk(part, field[box], dtype_name, origin)
        if field is not direct:
            stack = from_field(field, shape, self.layout, num)
        bits_of(stack, dtype_name).reshape(-1)[positions] = patterns
        return list(stack)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The profile as little-endian arrays, for storage."""
        arrays = {f"transform.{name}": array for name, array in self.transform.to_arrays().items()}
        arrays |= {f"contexts.{name}": array for name, array in self.contexts.to_arrays().items()}
        if self.levels is not None:
            arrays |= {f"levels.{name}": array for name, array in self.levels.to_arrays().items()}
        head = {"format": np.array([PROFILE_VERSION, LAYOUTS.index(self.layout)], "<i4")}
        return {**head, "max_error": np.array([self.max_error], "<f8"), **arrays}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> FastFeatures:
        """The profile that ``to_arrays`` stored. Raises UsageError when it is not a healthy profile of this version."""
        head, bound = arrays.get("format"), arrays.get("max_error")
        if head is None or bound is None or head.shape != (2,) or head.dtype.kind != "i" or bound.shape != (1,):
            raise UsageError("features: these arrays are not a profile of the fast tier; give what to_arrays gave")
        version, layout = head.tolist()
        if version != PROFILE_VERSION or not 0 <= layout < len(LAYOUTS) or bound.dtype != np.float64:
            raise UsageError(f"features: a profile of version {version} or of an unknown layout; update smalto")
        parts: dict[str, dict[str, np.ndarray]] = {"transform": {}, "contexts": {}, "levels": {}}
        for name, array in arrays.items():
            room, _, rest = name.partition(".")
            if room in parts:
                parts[room][rest] = array
        transform = FeatureTransform.from_arrays(parts["transform"])
        levels = FeatureContexts.from_arrays(parts["levels"]) if parts["levels"] else None
        contexts = FeatureContexts.from_arrays(parts["contexts"])
        return cls(LAYOUTS[layout], transform, contexts, levels, float(bound[0]))

    def _field_shape(self, shape: Sequence[int], num: int) -> FieldShape:
        shape = checked_shape(shape, self.layout)
        target = field_shape(shape, self.layout, num)
        if target[3] != self.num_channels:
            raise UsageError(
                f"features: {self.layout} of shape {shape} have {target[3]} channels, the profile {self.num_channels}; "
                "fit a profile on such arrays"
            )
        if num < 1 or math.prod(target) > MAX_GROUP_VALUES:
            raise UsageError(f"features: a group of {num} arrays of {shape} is empty or passes 2^31 values")
        return target

    def _encode_chunk(self, field: np.ndarray, box: Box, name: str, notes: GroupNotes) -> bytes:
        """Code one chunk, and note its levels and the values that no symbol stands for."""
        part = field[box]
        symbols = np.empty(part.shape, np.int32)
        sums = np.zeros((part.shape[0], self.num_channels))
        carry = np.zeros(sums.shape, np.float64 if name == "float64" else np.float32)
        origin = self.transform.origins(np.zeros((1, self.num_channels), np.int32), np.float64)
        for inner in chunk_boxes(part.shape, BLOCK_VALUES):
            block = self._wide(part[inner], name)
            kept = block.copy() if self.max_error or np.shares_memory(block, part) else None
            rows = (block if kept is None else kept).reshape(-1, self.num_channels)
            if self.transform.coefficients(rows):
                beyond = ~(np.abs(rows) <= self.transform.limit)
                rows[beyond] = 0
                self.transform.rotate(rows)
                notes.mark(box, inner, beyond)
            by_sample = (block.shape[0], -1, self.num_channels)
            levels = symbols[inner].reshape(by_sample)  # a view: boxes are contiguous
            self.transform.quantised(rows.reshape(by_sample), levels, carry[inner[0]])
            if self._has_levels(part.shape):
                sums[inner[0]] += self.transform.errors(rows.reshape(by_sample), levels)
            if self.max_error:
                self.transform.restored(levels.reshape(rows.shape), rows)
                rows += origin.astype(rows.dtype)
                back = widened(narrowed(rows, name), name).reshape(block.shape)
                with np.errstate(invalid="ignore", over="ignore"):
                    missed = ~(np.abs(back.astype(np.float64) - block) <= self.max_error)
                notes.mark(box, inner, missed)
        if self._has_levels(part.shape):
            notes.levels.append(self.transform.levels(sums, part.shape[1] * part.shape[2]))
        return self.contexts.encode(symbols)

    def _has_levels(self, shape: Sequence[int]) -> bool:
        """Whether levels are sent for the samples of a chunk (S, H, W, C)."""
        return self.levels is not None and shape[1] * shape[2] >= LEVEL_POSITIONS

    def _origins(self, part: bytes | bytearray | memoryview, shapes: list[FieldShape], kind: type) -> list[np.ndarray]:
        """What is added to the samples of every chunk, (S, C) each."""
        counts = [shape[0] if self._has_levels(shape) else 0 for shape in shapes]
        if self.levels is None:
            if memoryview(part).nbytes:
                raise DamagedPacket("features: levels where the profile has none; the file is damaged")
            levels = np.empty((0, self.num_channels), np.int32)
        else:
            levels = self.levels.decode(part, (sum(counts), 1, 1, self.num_channels)).reshape(-1, self.num_channels)
        own = np.split(levels, np.cumsum(counts)[:-1]) if counts else []
        nothing = [np.zeros((shape[0], self.num_channels), np.int32) for shape in shapes]
        chosen = [some if len(some) else zero for some, zero in zip(own, nothing, strict=True)]
        return [self.transform.origins(levels, kind) for levels in chosen]

    def _wide(self, block: np.ndarray, name: str) -> np.ndarray:
        """A block's values as C-ordered float32 or float64; maps are widened in their own order first."""
        if self.layout != "maps":
            return widened(block, name)
        samples, height, width, channels = block.shape
        wide = widened(block.transpose(0, 3, 1, 2), name).reshape(samples, channels, height * width)
        return np.ascontiguousarray(wide.transpose(0, 2, 1)).reshape(block.shape)

    def _decode_chunk(
        self, data: bytes | bytearray | memoryview, out: np.ndarray, name: str, origin: np.ndarray
    ) -> None:
        """Fill one chunk of the field, its exact values still missing."""
        symbols = self.contexts.decode(data, out.shape)
        for inner in chunk_boxes(out.shape, BLOCK_VALUES):
            levels = symbols[inner]
            rows = np.empty((math.prod(levels.shape[:3]), self.num_channels), origin.dtype)
            self.transform.restored(levels.reshape(rows.shape), rows)
            values = rows.reshape(levels.shape)
            values += origin[inner[0], None, None, :]
            if self.layout == "maps":  # narrow first: half the bytes to turn
                turned = narrowed(rows, name).reshape(len(values), -1, self.num_channels).transpose(0, 2, 1)
                target = out[inner].transpose(0, 3, 1, 2)
                target[...] = np.ascontiguousarray(turned).reshape(target.shape)
            else:
                out[inner] = narrowed(values, name)

    def _exceptions(self, stack: np.ndarray, notes: GroupNotes, name: str) -> bytes:
        if notes.mask is None:
            return b""
        mask = from_field(notes.mask, stack.shape[1:], self.layout, stack.shape[0])
        positions = np.flatnonzero(mask)
        return pack_exceptions(positions, bits_of(stack, name).reshape(-1)[positions])
