"""The three tiers of feature coding behind one face: slices of arrays to bytes and back.

::

    fast                 quantiser + context-modelled rANS, tables fitted; no network, no torch
    hyperprior, elic     lloyd_max ─► indexes ─► plane ─► learned one-channel codec, weights installed
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from smalto.bits.packet_parts import CodecNumber
from smalto.bits.varint import Cursor, varint
from smalto.codecs.pack import MAX_RANK, field_shape, guess_layout
from smalto.errors import DamagedPacket, ProfileError, UsageError
from smalto.systems.feature_profile import MAX_ARRAYS, TIERS, FeatureProfile
from smalto.weights.store import under

_MAX_FRAMES = 1 << 12
_MAX_KINDS = 256


@dataclass(frozen=True)
class FitGoal:
    """What a fit aims at; at most one of the first three.

    Args:
        rate: bits a value.
        error: squared error over variance.
        max_error: largest error of any value.
        layout: how axes are read; None guesses.
        preserve: ``means`` or ``values``, see ``FastFeatures.fit``; None chooses.

    Raises:
        UsageError: two goals, one that is not above zero, or means beside a largest error.
    """

    rate: float | None = None
    error: float | None = None
    max_error: float | None = None
    layout: str | None = None
    preserve: str | None = None

    def __post_init__(self) -> None:
        goals = {"rate": self.rate, "error": self.error, "max_error": self.max_error}
        given = {name: value for name, value in goals.items() if value is not None}
        if len(given) > 1:
            raise UsageError(f"feature codec: {' and '.join(given)} cannot both be aimed at; choose one")
        for name, value in given.items():
            if not value > 0.0 or value == float("inf"):
                raise UsageError(f"feature codec: {name} is {value}; it must be above 0")
        if self.preserve not in (None, "means", "values"):
            raise UsageError(f"feature codec: cannot preserve {self.preserve!r}; choose means or values")
        if self.preserve == "means" and self.max_error is not None:
            raise UsageError("feature codec: a largest error holds for values, not for means; choose one")


class Tier(Protocol):
    """Codes slices: one or several arrays of one shape."""

    @property
    def number(self) -> int:
        """The codec's number in files."""
        ...

    @property
    def quality(self) -> int:
        """0..255, for those who list files."""
        ...

    def named(self, name: str) -> Tier:
        """What codes arrays of this name; the same object for names that are coded alike."""
        ...

    def sample_axes(self, shape: tuple[int, ...]) -> int:
        """Axes of one sample in an array of this shape; with more axes it is a stack of samples."""
        ...

    def encode(self, arrays: Sequence[np.ndarray], dtype_name: str) -> bytes:
        """Arrays of one shape to the bytes of one part."""
        ...

    def decode(self, part: bytes, num: int, shape: tuple[int, ...], dtype_name: str) -> list[np.ndarray]:
        """The ``num`` arrays of a part.

        Raises:
            PacketError: the part does not hold them.
        """
        ...


def fit_tier(
    tier: str, samples: Sequence[np.ndarray], dtype_name: str, goal: FitGoal, layers: Sequence[str] | None = None
) -> FeatureProfile:
    """Fit a tier's profile.

    Args:
        tier: ``fast``, ``hyperprior`` or ``elic``.
        samples: arrays of one dtype; bfloat16 as uint16 patterns.
        dtype_name: of the samples.
        goal: what to aim at.
        layers: the name of each sample's layer, when each layer shall have statistics of its own.

    Raises:
        UsageError: no such tier, or a goal it cannot have.
    """
    if tier == "fast":
        return fit_fast(samples, dtype_name, goal, layers)
    if tier not in TIERS:
        raise UsageError(f"feature codec: no tier is called {tier!r}; choose {', '.join(TIERS)}")
    if layers is not None:
        raise UsageError(f"tier {tier}: has one transform for all layers; use tier fast, or fit a profile a layer")
    from smalto.systems.feature_networks import fit_learned

    return fit_learned(tier, samples, dtype_name, goal)


def tier_of(profile: FeatureProfile) -> Tier:
    """The tier that a profile describes.

    Raises:
        ProfileError: the profile does not hold together.
        MissingSpace: it needs weights that are not installed.
    """
    if profile.tier == "fast":
        return FastTier(profile)
    from smalto.systems.feature_networks import LearnedTier

    return LearnedTier(profile)


class FastTier:
    """The fast tier, ready: one fitted codec for every kind of array, told apart by axes and channels, and by name.

    A profile of layers knows kinds by name as well. ``layer.2`` stands for arrays of that name, and for ``x/layer.2``.
    An array of another name takes the only kind of its axes and channels.

    Args:
        profile: what ``fit_fast`` found.

    Raises:
        ProfileError: the profile does not hold together.
    """

    number = int(CodecNumber.LLOYD_MAX)
    quality = 0

    def __init__(self, profile: FeatureProfile) -> None:
        from smalto.codecs.fast_features import FastFeatures

        kinds = range(fact(profile, "num_kinds", 1, _MAX_KINDS))
        self._axes = [fact(profile, f"{kind}.sample_axes", 0, MAX_RANK) for kind in kinds]
        is_per_layer = profile.facts.get("per") == "layer"
        self._layers = [profile.facts.get(f"{kind}.name", "") for kind in kinds] if is_per_layer else []
        self._own: dict[str, FastTier] = {}
        try:
            self._kinds: list[FastFeatures] = [FastFeatures.from_arrays(under(profile.arrays, str(k))) for k in kinds]
        except UsageError as error:
            raise ProfileError(str(error)) from error

    def named(self, name: str) -> FastTier:
        """The tier with the kinds of one layer alone; this one where no layer has that name."""
        while name:
            if name in self._layers:
                if name not in self._own:
                    self._own[name] = self._only(name)
                return self._own[name]
            name = name.partition("/")[2]
        return self

    def _only(self, layer: str) -> FastTier:
        tier = copy.copy(self)
        kept = [number for number, name in enumerate(self._layers) if name == layer]
        tier._axes, tier._kinds, tier._layers = [self._axes[k] for k in kept], [self._kinds[k] for k in kept], []
        return tier

    def sample_axes(self, shape: tuple[int, ...]) -> int:
        """Axes of one sample in an array of this shape."""
        return min(self._axes[self._kind(shape)], len(shape))

    def encode(self, arrays: Sequence[np.ndarray], dtype_name: str) -> bytes:
        """Arrays of one shape to the bytes of one part."""
        return joined(self._kinds[self._kind(arrays[0].shape)].encode(arrays, dtype_name))

    def decode(self, part: bytes, num: int, shape: tuple[int, ...], dtype_name: str) -> list[np.ndarray]:
        """The ``num`` arrays of a part. Raises PacketError."""
        try:
            return self._kinds[self._kind(shape)].decode(split(part), num, shape, dtype_name)
        except UsageError as error:
            raise DamagedPacket(f"{error} (the file and its profile do not belong together)") from error

    def _kind(self, shape: tuple[int, ...]) -> int:
        """The first kind, from those of most axes on, whose layout gives this shape its number of channels."""
        for number, (features, axes) in enumerate(zip(self._kinds, self._axes, strict=True)):
            sample = shape[len(shape) - min(axes, len(shape)) :]
            try:
                channels = field_shape(sample, features.layout)[3]
            except UsageError:
                continue
            if channels == features.num_channels:
                self._check_alone(number, shape)
                return number
        known = ", ".join(f"{kind.num_channels} ({kind.layout})" for kind in self._kinds)
        raise UsageError(f"features: no samples had the channels of {shape}, only {known} channels; fit on such arrays")

    def _check_alone(self, number: int, shape: tuple[int, ...]) -> None:
        """Raise UsageError where layers cannot be told apart by a shape that kind ``number`` fits."""

        def kind(k: int) -> tuple[int, str, int]:
            return self._axes[k], self._kinds[k].layout, self._kinds[k].num_channels

        alike = [name for k, name in enumerate(self._layers) if kind(k) == kind(number)]
        if len(alike) > 1:
            raise UsageError(
                f"features: an array of shape {shape} may be of layer {', '.join(alike[:-1])} or {alike[-1]}; give it "
                "that name, as in a mapping of names to arrays"
            )


def fit_fast(
    samples: Sequence[np.ndarray], dtype_name: str, goal: FitGoal, layers: Sequence[str] | None = None
) -> FeatureProfile:
    """The profile of the fast tier, a codec for every kind of sample; see ``FastFeatures.fit`` and ``fit_tier``."""
    from smalto.codecs.fast_features import FastFeatures
    from smalto.codecs.feature_values import widened

    if dtype_name == "bfloat16":
        samples = [widened(sample, dtype_name) for sample in samples]
    kinds: dict[tuple[int, str, int, str], list[np.ndarray]] = {}
    for sample, layer in zip(samples, layers or [""] * len(samples), strict=True):
        layout = goal.layout or guess_layout(sample.shape)
        kinds.setdefault((-sample.ndim, layout, field_shape(sample.shape, layout)[3], layer), []).append(sample)
    if len(kinds) > _MAX_KINDS:
        raise UsageError(f"feature codec: samples of {len(kinds)} kinds, at most {_MAX_KINDS} fit one profile")
    facts = {"dtype": dtype_name, "num_kinds": str(len(kinds))}
    goals = {"rate": goal.rate, "error": goal.error, "max_error": goal.max_error}
    if layers is not None:
        facts["per"] = "layer"
    if goal.preserve is not None:
        facts["preserve"] = goal.preserve
    facts |= {f"goal_{name}": f"{value:g}" for name, value in goals.items() if value is not None}
    arrays: dict[str, np.ndarray] = {}
    for number, ((axes, layout, _, layer), members) in enumerate(sorted(kinds.items())):
        fitted = FastFeatures.fit(
            members, layout=layout, rate=goal.rate, error=goal.error, max_error=goal.max_error,
            preserve=goal.preserve,  # pyright: ignore[reportArgumentType]
        )  # fmt: skip
        facts |= {f"{number}.layout": layout, f"{number}.sample_axes": str(-axes)}
        facts |= {f"{number}.name": layer} if layers is not None else {}
        arrays |= {f"{number}.{name}": array for name, array in fitted.to_arrays().items()}
    if len(arrays) > MAX_ARRAYS:
        raise UsageError(f"feature codec: {len(kinds)} kinds are too many for one profile; fit several")
    return FeatureProfile("fast", arrays, facts)


def fact(profile: FeatureProfile, name: str, least: int, most: int) -> int:
    """A whole number among a profile's facts.

    Raises:
        ProfileError: it is missing or outside least..most.
    """
    text = profile.facts.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise ProfileError(f"feature profile: {name} is {text!r}, not {least}..{most}; fit it again")
    return int(text)


def joined(frames: Sequence[bytes]) -> bytes:
    """Byte strings as one: their number and lengths as varints, then the strings."""
    lengths = b"".join(varint(len(frame)) for frame in frames)
    return varint(len(frames)) + lengths + b"".join(frames)


def split(part: bytes) -> list[bytes]:
    """The inverse of ``joined``.

    Raises:
        DamagedPacket: the lengths do not fit.
    """
    cursor = Cursor(part, "features")
    lengths = [cursor.varint(len(part)) for _ in range(cursor.varint(_MAX_FRAMES))]
    if sum(lengths) != len(part) - cursor.position:
        raise DamagedPacket("features: the lengths inside a part do not fit its size; the file is damaged")
    frames, start = [], cursor.position
    for length in lengths:
        frames.append(part[start : start + length])
        start += length
    return frames
