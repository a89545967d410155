"""FeatureCodec: any model's features to a small file and back.

::

    samples ─ fit ─► profile ─► tier (fast | hyperprior | elic)
    arrays ─► slices ─► tier ─► parts ─► array set (.smalto), which names the profile by its digest
    array set ─► profile: inside, beside the file, or in the user's folder ─► tier ─► arrays of the same dtype
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smalto.bits.array_set_parts import ArraySetInfo
from smalto.bits.array_set_reader import ArraySetReader
from smalto.bits.array_set_writer import ArraySetWriter
from smalto.bits.byte_source import Openable
from smalto.data.feature_array import FeatureArray, array_tensor, shown_array
from smalto.errors import DamagedPacket, MissingSpace, UsageError
from smalto.systems.feature_profile import FeatureProfile, find_profile, keep_copy
from smalto.systems.feature_sets import SLICE_VALUES, SetCoder
from smalto.systems.feature_tiers import FitGoal, fit_tier, tier_of

if TYPE_CHECKING:
    import torch

    Features = np.ndarray | torch.Tensor
    Decoded = Features | dict[str, Features] | list[Features]

PER = ("model", "layer")
MAX_SAMPLES = 10
MAX_SAMPLE_VALUES = 1 << 22
_EMBED_SHARE = 0.01
_LEAST_BITS = 1.0  # what a value is taken to cost when a profile's share of a file is guessed
_SLICE_KEY = "slice"
_FORM_KEY = "form"
_FORMS = ("array", "mapping", "sequence")
_TORCH_KEY = "torch"


class FeatureCodec:
    """A fitted codec of features.

    Args:
        profile: what ``fit`` found.
        num_threads: slices coded at once.

    Raises:
        ProfileError: the profile does not hold together.
        MissingSpace: it needs weights that are not installed.

    Example:
        >>> samples = [np.random.default_rng(k).normal(size=(16, 64)).astype(np.float32) for k in range(4)]
        >>> codec = FeatureCodec.fit(samples, max_error=0.01)
        >>> back = codec.decode(codec.encode(samples[0]))
        >>> float(abs(back - samples[0]).max()) <= 0.01
        True
    """

    def __init__(self, profile: FeatureProfile, num_threads: int = 1) -> None:
        self.profile = profile
        self.tier = tier_of(profile)
        self.num_threads = num_threads

    @classmethod
    def fit(
        cls,
        samples: Iterable[Any],
        tier: str = "fast",
        *,
        rate: float | None = None,
        error: float | None = None,
        max_error: float | None = None,
        layout: str | None = None,
        preserve: str | None = None,
        per: str = "model",
    ) -> FeatureCodec:
        """Fit a profile on a few samples of one model's features (ten are enough).

        Args:
            samples: NumPy arrays, torch tensors or ``FeatureArray``, all as one model gives them. Layers of different
                widths may stand beside each other. Or name -> the samples of that layer.
            tier: ``fast`` (no network), ``hyperprior`` or ``elic``.
            rate: bits a value to aim at.
            error: squared error over the samples' variance to aim at.
            max_error: largest error of any value, guaranteed; tier ``fast`` only.
            layout: how axes are to be read, see ``smalto.codecs.pack``; guessed when left out.
            preserve: tier ``fast``: ``means`` diffuses rounding errors over neighbouring positions, for models that go
                on with pooling or convolutions; ``values`` rounds every value by itself. None takes means for sparse
                features (after a ReLU) and values for all others.
            per: ``model``: layers of equal axes and channels share their statistics. ``layer``, tier ``fast``: each
                name has its own, so that layers which differ in size or spread cost no more than alone. ``encode``
                then goes by name: ``layer.2`` stands for arrays called so and for ``anything/layer.2``.

        Raises:
            UsageError: no samples, not features, samples of layers without names, or goals that exclude each other.
        """
        if per not in PER:
            raise UsageError(f"feature codec: cannot fit per {per!r}; choose {' or '.join(PER)}")
        arrays = _samples(samples, must_be_named=per == "layer")
        if not arrays:
            raise UsageError("feature codec: no samples to fit on; pass about ten arrays")
        values, dtype_name = _of_one_dtype(arrays)
        goal = FitGoal(rate=rate, error=error, max_error=max_error, layout=layout, preserve=preserve)
        layers = [array.name for array in arrays] if per == "layer" else None
        return cls(fit_tier(tier, values, dtype_name, goal, layers))

    @classmethod
    def load(cls, path: str | Path) -> FeatureCodec:
        """The codec of a profile file. Raises ProfileError."""
        return cls(FeatureProfile.load(path))

    @classmethod
    def of_set(cls, reader: ArraySetReader, profile: FeatureProfile | None = None) -> FeatureCodec:
        """The codec that reads a set.

        Args:
            reader: the opened set.
            profile: the one to use; None looks inside the set, beside its file, and in the user's folder.

        Raises:
            MissingSpace: the profile is nowhere, or another one is needed.
        """
        digest = reader.profile_digest
        if profile is None and reader.profile is not None:
            profile = FeatureProfile.from_bytes(reader.profile, reader.name)
        if profile is None:
            profile = find_profile(digest, reader.name)
        if profile.digest != digest:
            raise MissingSpace(
                f"{reader.name}: coded with profile {digest.hex()}, not with {profile.digest.hex()}; name the right one"
            )
        return cls(profile)

    def save(self, path: str | Path) -> None:
        """Write the profile, and leave a copy in the user's folder of profiles."""
        self.profile.save(path)
        keep_copy(self.profile)

    # -- arrays to bytes --------------------------------------------------------------------------------------------

    def encode(self, features: Any, *, embed: bool | None = None) -> bytes:
        """Code one array, a mapping of names to arrays, or a sequence of arrays.

        Args:
            features: NumPy arrays or torch tensors on any device: float16, bfloat16, float32 or float64.
            embed: whether the profile travels inside; None: when it is under 1 % of the file. Where it does not, a copy
                is left in the user's folder of profiles.

        Returns:
            A whole .smalto file.

        Raises:
            UsageError: not floating-point arrays.
        """
        arrays, form = _named(features)
        if embed is None:
            embed = self.embeds(sum(math.prod(array.shape) for array in arrays))
        if not embed:
            keep_copy(self.profile)
        with ArraySetWriter(self.info(embed=embed, form=form, is_torch=_is_torch(features))) as writer:
            self.coder().write(writer, arrays)
        return writer.data

    def embeds(self, num_values: int) -> bool:
        """Whether the profile is small beside a set of so many values, and so travels inside unless told otherwise."""
        return len(self.profile.to_bytes()) * 8 < _EMBED_SHARE * _LEAST_BITS * num_values

    def info(self, *, embed: bool, form: str = "mapping", is_torch: bool = False) -> ArraySetInfo:
        """The header of sets that this codec writes."""
        metadata: dict[str, int | str | bytes] = {_SLICE_KEY: SLICE_VALUES, _FORM_KEY: _FORMS.index(form)}
        if is_torch:
            metadata[_TORCH_KEY] = 1
        profile = self.profile.to_bytes() if embed else None
        return ArraySetInfo(self.tier.number, self.profile.digest, self.tier.quality, metadata, profile)

    def coder(self, reader: ArraySetReader | None = None) -> SetCoder:
        """What writes sets, or reads this one.

        Raises:
            DamagedPacket: the set's header says an impossible slice.
        """
        if reader is None:
            return SetCoder(self.tier, SLICE_VALUES, self.num_threads)
        size = reader.metadata.get(_SLICE_KEY)
        if not isinstance(size, int):
            raise DamagedPacket(f"{reader.name}: the header does not say how arrays are cut; not a set of features")
        return SetCoder(self.tier, size, self.num_threads)

    # -- bytes to arrays --------------------------------------------------------------------------------------------

    def decode(self, blob: Openable) -> Decoded:
        """What was encoded, in the form it was given: array, mapping or sequence, NumPy or torch, the same dtypes.

        Args:
            blob: bytes of ``encode``, a path, a binary file, or an http(s) URL.

        Returns:
            NumPy arrays (bfloat16, which NumPy lacks, as ml_dtypes' type when that is installed, else as uint16
            patterns), or CPU tensors where tensors were given.

        Raises:
            PacketError: not a healthy array set.
            MissingSpace: it was coded with another profile.
        """
        with ArraySetReader.open(blob) as reader:
            if reader.profile_digest != self.profile.digest:
                raise MissingSpace(
                    f"{reader.name}: coded with profile {reader.profile_digest.hex()}, "
                    f"this codec has {self.profile.digest.hex()}; use decode_features, or load the right profile"
                )
            give = array_tensor if reader.metadata.get(_TORCH_KEY) == 1 else shown_array
            arrays = [(entry.name, give(array, entry.dtype)) for entry, array in self.coder(reader).arrays(reader)]
            form = reader.metadata.get(_FORM_KEY)
        if form == _FORMS.index("array") and len(arrays) == 1:
            return arrays[0][1]
        if form == _FORMS.index("sequence"):
            return [array for _, array in arrays]
        return {name or str(number): array for number, (name, array) in enumerate(arrays)}


def decode_features(blob: Openable, profile: FeatureProfile | None = None) -> Decoded:
    """The features in a set, with the profile it names; see ``FeatureCodec.of_set`` and ``FeatureCodec.decode``."""
    with ArraySetReader.open(blob) as reader:
        codec = FeatureCodec.of_set(reader, profile)
    return codec.decode(blob)


def choose_samples(arrays: Sequence[FeatureArray], per: str = "model") -> list[FeatureArray]:
    """At most ten samples to fit on, evenly spread, each cut to 2^22 values along its first axis.

    Args:
        arrays: every array is a sample; a single array of three or more axes is a stack of samples.
        per: ``layer``: at most ten samples of each name, which they keep; ``model``: of all arrays.
    """
    if per == "layer":
        layers: dict[str, list[FeatureArray]] = {}
        for array in arrays:
            layers.setdefault(array.name, []).append(array)
        return [replace(sample, name=name) for name, own in layers.items() for sample in choose_samples(own)]
    if len(arrays) == 1 and len(arrays[0].shape) >= 3:
        stack = arrays[0]
        places = _spread(stack.num_rows)
        samples = [FeatureArray.of(str(k), stack.rows(k, k + 1)[0], stack.dtype_name) for k in places]
    else:
        samples = [arrays[k] for k in _spread(len(arrays))]
    return [_cut(sample) for sample in samples]


def _samples(samples: Iterable[Any], must_be_named: bool) -> list[FeatureArray]:
    """Samples as arrays that carry the names of their layers, if they have any."""
    if isinstance(samples, Mapping):
        pairs = [(str(name), sample) for name, own in samples.items() for sample in _of_layer(str(name), own)]
        return [
            replace(sample, name=name) if isinstance(sample, FeatureArray) else FeatureArray.of(name, sample)
            for name, sample in pairs
        ]
    arrays = []
    for number, sample in enumerate(samples):
        if must_be_named and not isinstance(sample, FeatureArray):
            raise UsageError("feature codec: per layer goes by names; pass a mapping of names to samples")
        arrays.append(sample if isinstance(sample, FeatureArray) else FeatureArray.of(f"sample {number}", sample))
    return arrays


def _of_layer(name: str, samples: Any) -> Sequence[Any]:
    """The samples of one layer: a sequence, or an array whose first axis counts them."""
    if isinstance(samples, FeatureArray):
        return [samples]
    if not isinstance(samples, Iterable) or isinstance(samples, str | bytes) or getattr(samples, "ndim", 1) == 0:
        raise UsageError(f"feature codec: {name}: {type(samples).__name__} is no sequence of samples; pass about ten")
    return list(samples)


def _of_one_dtype(arrays: Sequence[FeatureArray]) -> tuple[list[np.ndarray], str]:
    """Whole arrays and the name of their dtype; where there are several, the widest of float32 and float64."""
    from smalto.codecs.feature_values import widened

    names = {array.dtype_name for array in arrays}
    if len(names) == 1:
        return [array.whole() for array in arrays], names.pop()
    wide = "float64" if "float64" in names else "float32"
    return [widened(array.whole(), array.dtype_name).astype(wide) for array in arrays], wide


def _spread(num: int) -> list[int]:
    steps = min(MAX_SAMPLES, num)
    return [step * num // steps for step in range(steps)]


def _cut(sample: FeatureArray) -> FeatureArray:
    rows = max(MAX_SAMPLE_VALUES // max(math.prod(sample.row_shape), 1), 1)
    if not sample.shape or rows >= sample.num_rows:
        return sample
    return FeatureArray.of(sample.name, sample.rows(0, rows), sample.dtype_name)


def _named(features: Any) -> tuple[list[FeatureArray], str]:
    """The arrays with their names, and the form they came in."""
    if isinstance(features, Mapping):
        return [FeatureArray.of(str(name), array) for name, array in features.items()], "mapping"
    if isinstance(features, Sequence):
        return [FeatureArray.of("", array) for array in features], "sequence"
    return [FeatureArray.of("", features)], "array"


def _is_torch(features: Any) -> bool:
    """Whether the first array is a tensor."""
    items = features.values() if isinstance(features, Mapping) else features
    first = next(iter(items), None) if isinstance(features, Mapping | Sequence) else features
    return hasattr(first, "detach") and hasattr(first, "layout")
