"""Learned codecs of feature planes: ours after the transform, and the paper's baseline after truncation.

::

    features ─┬─► lloyd_max ─► indexes ────────────┬─► plane ─► network ─► plane' ─► inverse ─► features'
              └─► truncation to 8 or 10 bits ──────┘

Either network may code either kind of plane: the one trained on transformed features (``transformed``), the one trained
on truncated ones (``truncated``). The two crossings are the paper's sections 5.5 and 5.6.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smalto.bench.feature_layers import HeldLayer, RatePoint
from smalto.bits.array_set_parts import ArraySetInfo
from smalto.bits.array_set_reader import ArraySetReader
from smalto.bits.array_set_writer import ArraySetWriter
from smalto.codecs.hyper_coder import PlaneCode
from smalto.codecs.index_planes import FrozenPlaneCodec
from smalto.codecs.pack import guess_layout, pack_plane, plane_shape, unpack_plane
from smalto.codecs.truncation import Truncation
from smalto.data.feature_array import FeatureArray
from smalto.systems.feature_networks import TILE_CELLS, LearnedTier, codec_of_file, fit_learned, installed_codec
from smalto.systems.feature_profile import FeatureProfile
from smalto.systems.feature_sets import SLICE_VALUES, SetCoder
from smalto.systems.feature_tiers import FitGoal, Tier

CUTS = ((5.0, 8), (None, 8), (None, 10))  # deviations, bits
TRUNCATED = "truncated"


@dataclass(frozen=True)
class Networks:
    """Weights of one-channel codecs, as a run of ``smalto train feature-hyperprior`` leaves them.

    Args:
        transformed: file of the network trained on transformed features; None takes the installed one.
        truncated: file of the one trained on planes of ``smalto features planes --transform linear``; None: none.
    """

    transformed: Path | None = None
    truncated: Path | None = None

    @property
    def are_given(self) -> bool:
        """Whether any file is named."""
        return self.transformed is not None or self.truncated is not None

    def options(self) -> list[str]:
        """The command line's words."""
        named = (("--network", self.transformed), ("--baseline-network", self.truncated))
        return [f"{option} {path.name}" for option, path in named if path is not None]

    def ours(self, tier: str) -> FrozenPlaneCodec:
        """The network of transformed features. Raises MissingSpace, WeightsError."""
        return installed_codec(tier) if self.transformed is None else codec_of_file(self.transformed)

    def baseline(self) -> FrozenPlaneCodec | None:
        """The network of truncated features. Raises WeightsError."""
        return None if self.truncated is None else codec_of_file(self.truncated)


def learned_points(held: HeldLayer, tier: str, qualities: Sequence[int], networks: Networks) -> Iterator[RatePoint]:
    """Transformed features through our network, and through the baseline's where there is one.

    Raises:
        MissingSpace, WeightsError: the network is not there.
    """
    coders = [(f"smalto {tier}", networks.ours(tier))]
    baseline = networks.baseline()
    if baseline is not None:
        coders.append((f"lloyd-max, network of {TRUNCATED}", baseline))
    inputs = [FeatureArray.of("", value.astype(np.float16)) for value in held.features.values()]
    fitted = [value.astype(np.float16) for value in held.fitted]
    for name, network in coders:
        profile = fit_learned(tier, fitted, "float16", FitGoal(), network)
        for quality in qualities:
            chosen = FeatureProfile(profile.tier, profile.arrays, {**profile.facts, "quality": str(quality)})
            blob = write_set(LearnedTier(chosen, network), chosen, inputs)
            judged = held.judge(read_set(LearnedTier(chosen, network), blob))
            yield held.point(name, quality, 8 * len(blob) / held.num_values, judged, len(chosen.to_bytes()))


def write_set(tier: Tier, profile: FeatureProfile, arrays: Sequence[FeatureArray]) -> bytes:
    """What ``FeatureCodec.encode`` writes of arrays, the profile left out, with a network that is not installed."""
    info = ArraySetInfo(tier.number, profile.digest, tier.quality, {"slice": SLICE_VALUES, "form": 2}, None)
    with ArraySetWriter(info) as writer:
        SetCoder(tier, SLICE_VALUES).write(writer, arrays)
    return writer.data


def read_set(tier: Tier, blob: bytes) -> Iterator[np.ndarray]:
    """The arrays of such a file, in their order."""
    with ArraySetReader.open(blob) as reader:
        for _, array in SetCoder(tier, SLICE_VALUES).arrays(reader):
            yield array


def truncated_points(held: HeldLayer, qualities: Sequence[int], networks: Networks) -> Iterator[RatePoint]:
    """The paper's baseline: truncated features through its own network and through ours, 8 and 10 bits.

    Raises:
        MissingSpace, WeightsError: a network is not there.
    """
    coders = [("our network", networks.ours("hyperprior"))] if networks.transformed is not None else []
    baseline = networks.baseline()
    if baseline is not None:
        coders.append(("its network", baseline))
    values = list(held.features.values())
    for deviations, bits in CUTS:
        cut = Truncation.fit(held.fitted, deviations, bits)
        reach = "full range" if deviations is None else f"{deviations:g} deviations"
        for name, network in coders:
            coder = TruncatedPlanes(cut, network)
            for quality in qualities:
                codes = list(coder.encode(values, quality))
                rate = 8 * sum(len(code.hyper) + sum(map(len, code.main)) for code in codes) / held.num_values
                judged = held.judge(coder.decode(codes, values))
                yield held.point(f"{TRUNCATED} {reach}, {bits} bit, {name}", quality, rate, judged)


@dataclass(frozen=True, eq=False)
class TruncatedPlanes:
    """Truncation and a one-channel codec.

    Sizes are of the coded planes alone, without any container, and decoded levels are not rounded, which favours it.

    Args:
        cut: values to levels.
        network: of planes.
    """

    cut: Truncation
    network: FrozenPlaneCodec

    def encode(self, arrays: Sequence[np.ndarray], quality: int) -> Iterator[PlaneCode]:
        """One code for every run of arrays of one shape, as many as our own files put into a plane."""
        for run in runs(arrays):
            plane = pack_plane(self.cut.forward(np.stack(run)), guess_layout(run[0].shape))
            yield self.network.encode_levels(plane, quality, TILE_CELLS)

    def decode(self, codes: Iterable[PlaneCode], arrays: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Float32 arrays of the shapes of ``arrays``."""
        for code, run in zip(codes, runs(arrays), strict=True):
            shape, layout = run[0].shape, guess_layout(run[0].shape)
            rows, columns = plane_shape(shape, layout, len(run))
            levels = self.network.decode(code, rows, columns, TILE_CELLS)
            yield from self.cut.inverse(unpack_plane(levels, shape, layout, len(run)))


def runs(arrays: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Neighbours of one shape, together at most ``SLICE_VALUES`` values, or one array."""
    for shape, group in itertools.groupby(arrays, lambda array: array.shape):
        step = max(SLICE_VALUES // max(int(np.prod(shape)), 1), 1)
        members = list(group)
        for start in range(0, len(members), step):
            yield members[start : start + step]
