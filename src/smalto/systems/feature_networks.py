"""The learned tiers: the peaky-to-balanced transform and a one-channel codec whose weights are installed.

::

    arrays ─► lloyd_max ─► indexes ─► plane ─► codec(q) ─► bytes
    bytes ─► codec ─► plane, between indexes ─► levels interpolated ─► arrays

Source: DT-UFC, figure 1. Different here: the decoded plane is not rounded to indexes; a value between two indexes
becomes one between their levels, which costs nothing and lowers the error.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from smalto.bits.packet_parts import CodecNumber
from smalto.codecs.elic_planes import ElicPlaneConfig, FrozenElicPlaneCodec
from smalto.codecs.feature_values import bits_of, narrowed, pack_exceptions, unpack_exceptions, widened
from smalto.codecs.hyper_coder import PlaneCode
from smalto.codecs.index_planes import HYPERPRIOR, FrozenIndexPlaneCodec, FrozenPlaneCodec
from smalto.codecs.lloyd_max import LloydMax
from smalto.codecs.pack import MAX_RANK, guess_layout, pack_plane, plane_shape, unpack_plane
from smalto.errors import DamagedPacket, MissingSpace, ProfileError, UsageError, WeightsError
from smalto.systems.feature_profile import FeatureProfile
from smalto.systems.feature_tiers import FitGoal, fact, joined, split
from smalto.weights import FeatureCodecRecord, WeightFile, installed_feature_codecs
from smalto.weights.store import read_arrays, read_installed, under

PARTS = {"hyperprior": "planes", "elic": "elic"}
TILE_CELLS = 64
_DEFAULT_QUALITY = 153
_LEVELS = 256


def installed_codec(tier: str, network: str | None = None) -> FrozenPlaneCodec:
    """A codec of a learned tier, from installed weights.

    Args:
        tier: ``hyperprior`` or ``elic``.
        network: digest of the one that a profile names, hexadecimal; None takes the newest, which is the one of the
            highest number at the end of its name.

    Raises:
        MissingSpace: this installation has none, or not that one.
    """
    records = sorted((record for record in installed_feature_codecs() if record.tier == tier), key=_age)
    if not records:
        raise MissingSpace(f"tier {tier}: no weights are installed for it; use tier fast, or train and install them")
    found = [record for record in records if network in (None, record.codec_digest)]
    if not found:
        known = ", ".join(f"{record.codec_digest} ({record.name})" for record in records)
        raise MissingSpace(
            f"profile: fitted for network {network or '?'} of tier {tier}, installed are {known}; "
            "install that network, or fit it again"
        )
    return _codec_of_file(found[-1].files[PARTS[tier]])


def _age(record: FeatureCodecRecord) -> tuple[int, str]:
    number = record.name.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdecimal() else -1, record.name


@functools.lru_cache(maxsize=4)
def _codec_of_file(entry: WeightFile) -> FrozenPlaneCodec:
    return codec_of_arrays(read_installed(entry))


def codec_of_arrays(arrays: dict[str, np.ndarray]) -> FrozenPlaneCodec:
    """The codec in arrays that ``smalto train feature-hyperprior`` or ``feature-elic`` published.

    Raises:
        WeightsError: there is no feature codec in them.
    """
    kept = {name: array for name, array in arrays.items() if not name.startswith("training.")}
    configuration = kept.pop("configuration", None)  # ELIC's stands beside its weights
    try:
        if configuration is not None:
            return FrozenElicPlaneCodec.from_arrays(ElicPlaneConfig.from_array(configuration), kept)
        return FrozenIndexPlaneCodec.from_arrays(HYPERPRIOR, kept)
    except (RuntimeError, KeyError, UsageError) as error:
        raise WeightsError(
            f"weights: not those of a feature codec ({str(error).splitlines()[0]}); name a run's planes or elic file"
        ) from error


def codec_of_file(path: str | Path) -> FrozenPlaneCodec:
    """The codec in a run's ``weights/planes.safetensors`` or ``weights/elic.safetensors``. Raises WeightsError."""
    return codec_of_arrays(read_arrays(path))


class LearnedTier:
    """A learned tier, ready.

    Args:
        profile: what ``fit_learned`` found.
        codec: of planes; None takes the installed one that the profile names.

    Raises:
        ProfileError: the profile does not hold together.
        MissingSpace: its codec is not installed, or ``codec`` is another one.
    """

    def __init__(self, profile: FeatureProfile, codec: FrozenPlaneCodec | None = None) -> None:
        wanted = profile.facts.get("network", "")
        self.codec = installed_codec(profile.tier, wanted) if codec is None else codec
        self.transform = LloydMax.from_arrays(under(profile.arrays, "lloyd_max"))
        self.quality = fact(profile, "quality", 0, 255)
        self._axes = fact(profile, "sample_axes", 0, MAX_RANK)
        self.layout = profile.facts.get("layout", "")
        self.number = CodecNumber.HYPERPRIOR if profile.tier == "hyperprior" else CodecNumber.ELIC
        if self.codec.codec.number != self.number:
            raise MissingSpace(f"tier {profile.tier}: the weights are another tier's; name those of {profile.tier}")
        if wanted != self.codec.digest.hex():
            raise MissingSpace(
                f"profile: fitted for network {wanted or '?'}, this is {self.codec.digest.hex()}; fit it again"
            )

    def named(self, name: str) -> LearnedTier:
        """This tier: all arrays are coded alike."""
        return self

    def sample_axes(self, shape: tuple[int, ...]) -> int:
        """Axes of one sample in an array of this shape."""
        return min(self._axes, len(shape))

    def encode(self, arrays: Sequence[np.ndarray], dtype_name: str) -> bytes:
        """Arrays of one shape to the bytes of one part: exact values, hyper-symbols, then chunks of symbols."""
        stack = np.stack([np.ascontiguousarray(array) for array in arrays])
        if stack.size == 0:
            return joined([b"", b""])
        wide = widened(stack, dtype_name)
        strange = np.flatnonzero(~np.isfinite(wide))
        exact = pack_exceptions(strange, bits_of(stack, dtype_name).reshape(-1)[strange])
        plane = pack_plane(self.transform.forward(stack, dtype_name), self._layout(stack.shape[1:]))
        code = self.codec.encode(plane, self.quality, TILE_CELLS)
        return joined([exact, code.hyper, *code.main])

    def decode(self, part: bytes, num: int, shape: tuple[int, ...], dtype_name: str) -> list[np.ndarray]:
        """The ``num`` arrays of a part.

        Raises:
            PacketError: the part does not hold them.
        """
        frames = split(part)
        if len(frames) < 2:
            raise DamagedPacket("features: a part without its hyper-symbols; the file is damaged")
        layout = self._layout(shape)
        rows, columns = plane_shape(shape, layout, num)
        if rows == 0:
            return list(narrowed(np.empty((num, *shape), np.float32), dtype_name))
        plane = self.codec.decode(PlaneCode(self.quality, frames[1], tuple(frames[2:])), rows, columns, TILE_CELLS)
        levels = self.transform.levels
        values = np.interp(plane, np.arange(len(levels)), levels)
        if dtype_name != "float64":
            values = values.astype(np.float32)
        stack = narrowed(unpack_plane(values, shape, layout, num), dtype_name)
        positions, patterns = unpack_exceptions(frames[0], stack.size, dtype_name)
        if len(positions):
            bits_of(stack, dtype_name).reshape(-1)[positions] = patterns
        return list(stack)

    def _layout(self, shape: tuple[int, ...]) -> str:
        """The profile's layout where it can be read so, else the one the shape suggests."""
        return self.layout if len(shape) == self._axes and self.layout else guess_layout(shape)


def fit_learned(
    tier: str,
    samples: Sequence[np.ndarray],
    dtype_name: str,
    goal: FitGoal,
    codec: FrozenPlaneCodec | None = None,
) -> FeatureProfile:
    """The profile of a learned tier: levels, and the quality that meets the goal on the samples.

    Args:
        tier: ``hyperprior`` or ``elic``.
        samples: arrays of one dtype.
        dtype_name: of the samples.
        goal: a rate or an error; 1.5 bits a value or so without one.
        codec: of planes; None takes the newest installed one.

    Raises:
        UsageError: a largest error, or something to preserve, which a learned codec cannot promise.
    """
    if goal.max_error is not None:
        raise UsageError(f"tier {tier}: cannot promise a largest error; use tier fast, or aim at --error")
    if goal.preserve is not None:
        raise UsageError(f"tier {tier}: has no choice of what it preserves; use tier fast")
    codec = installed_codec(tier) if codec is None else codec
    transform = LloydMax.fit(list(samples), _LEVELS, dtype_name)
    axes = min(sample.ndim for sample in samples)
    layout = goal.layout or guess_layout(samples[0].shape)

    def profile(quality: int, **found: str) -> FeatureProfile:
        facts = {
            "network": codec.digest.hex(),
            "quality": str(quality),
            "sample_axes": str(axes),
            "layout": layout,
            "dtype": dtype_name,
        }
        return FeatureProfile(tier, {"lloyd_max.levels": transform.to_arrays()["levels"]}, {**facts, **found})

    if goal.rate is None and goal.error is None:
        return profile(_DEFAULT_QUALITY)
    held = [sample for sample in samples if sample.size][:4]
    low, high = 0, 255
    while low < high:  # the least quality that reaches the error, the highest within the rate
        middle = (low + high + (goal.rate is not None)) // 2
        rate, error = measure(LearnedTier(profile(middle), codec), held, dtype_name)
        if goal.rate is not None:
            low, high = (middle, high) if rate <= goal.rate else (low, middle - 1)
        else:
            low, high = (low, middle) if error <= float(goal.error or 0.0) else (middle + 1, high)
    rate, error = measure(LearnedTier(profile(low), codec), held, dtype_name)
    return profile(low, rate=f"{rate:.3f}", error=f"{error:.3g}")


def measure(tier: LearnedTier, samples: Sequence[np.ndarray], dtype_name: str) -> tuple[float, float]:
    """Bits a value and squared error over variance of a tier on samples, each coded by itself.

    Raises:
        ProfileError: there is nothing to measure on.
    """
    num_bits, num_values, squared, total = 0, 0, 0.0, 0.0
    for sample in samples:
        part = tier.encode([sample], dtype_name)
        back = widened(tier.decode(part, 1, sample.shape, dtype_name)[0], dtype_name).astype(np.float64)
        values = widened(sample, dtype_name).astype(np.float64)
        finite = np.isfinite(values)
        num_bits += 8 * len(part)
        num_values += sample.size
        squared += float(np.square(values - back, where=finite, out=np.zeros_like(values)).sum())
        total += float(np.var(values[finite])) * int(finite.sum()) if finite.any() else 0.0
    if num_values == 0:
        raise ProfileError("feature codec: the samples hold no values; pass others")
    return num_bits / num_values, squared / max(total, 1e-300)
