"""Rate against task: feature codecs and what people use today, on real features whose task can be scored.

::

    source ─► features of a layer ─┬─► FeatureCodec (tier, error) ─┬─► the model goes on ─► score, agreement
                                   └─► quantiser x packer ─────────┘
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from smalto.bench.feature_sources import FeatureSource, feature_source
from smalto.bench.peers.feature_codecs import QUANTISERS, packed_bytes, packers
from smalto.bench.results import BenchResult, Table, bench_result
from smalto.errors import UsageError
from smalto.systems.feature_codec import FeatureCodec

NUM_FIT = 10
ERRORS = (0.001, 0.003, 0.01, 0.03, 0.06, 0.1, 0.14, 0.2, 0.27, 0.35, 0.45)
STEPS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.4, 1.8, 2.2, 2.8)
BITS = (8, 6, 5, 4, 3)
TOLERANCE = 0.005
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class FeatureSettings:
    """What to measure.

    Args:
        data: folder of data sets and weights.
        sources: names of ``feature_sources.SOURCES``.
        layers: only these layers; empty takes all of a source.
        count: inputs of each source.
        tiers: of ours.
        errors: squared error over variance that ours aims at.
    """

    data: Path
    sources: tuple[str, ...] = ("squeezenet", "mobilefacenet", "minilm", "latents")
    layers: tuple[str, ...] = ()
    count: int = 100
    tiers: tuple[str, ...] = ("fast",)
    errors: tuple[float, ...] = ERRORS


@dataclass(frozen=True)
class RatePoint:
    """One codec at one setting on one layer.

    Args:
        source: of features.
        layer: of the model.
        codec: ours by tier, a peer as quantiser+packer.
        setting: the error aimed at, the step in deviations, or bits.
        bits_per_value: whole files, profiles not counted.
        nmse: squared error over variance.
        score: of the task.
        score_change: against original features.
        agreement: share of inputs whose answer names the same class; cosine of answers where there are no classes.
        profile_bytes: of ours, once for all files.
    """

    source: str
    layer: str
    codec: str
    setting: float
    bits_per_value: float
    nmse: float
    score: float
    score_change: float
    agreement: float
    profile_bytes: int = 0


class _Layer:
    """Features of one layer held in memory, with the answers of the original ones."""

    def __init__(self, source: FeatureSource, layer: str, count: int) -> None:
        self.source, self.layer = source, layer
        self.fitted = [item.features[layer] for item in source.fit_items(NUM_FIT)]
        self.features = {item.key: item.features[layer] for item in source.items(count)}
        if not self.features:
            raise UsageError(f"bench features: {source.name} has no inputs; check --data")
        self.answers = {key: source.answer(key, layer, value) for key, value in self.features.items()}
        self.score = source.score(self.answers)
        values = np.concatenate([value.ravel() for value in self.features.values()])
        self.num_values, self.variance = values.size, float(values.var())
        self.deviation = float(np.concatenate([value.ravel() for value in self.fitted]).std())

    def point(
        self, codec: str, setting: float, num_bytes: int, decoded: Sequence[np.ndarray], profile_bytes: int = 0
    ) -> RatePoint:
        """The point of decoded features, which stand in the order of ``features``."""
        answers, squared, agreement = {}, 0.0, []
        for (key, value), back in zip(self.features.items(), decoded, strict=True):
            answers[key] = self.source.answer(key, self.layer, back)
            squared += float(np.square(value.astype(np.float64) - back).sum())
            agreement.append(_agreement(self.source.metric, self.answers[key], answers[key]))
        score = self.source.score(answers)
        return RatePoint(
            self.source.name,
            self.layer,
            codec,
            setting,
            8 * num_bytes / self.num_values,
            squared / self.num_values / self.variance,
            score,
            score - self.score,
            float(np.mean(agreement)),
            profile_bytes,
        )


def _agreement(metric: str, first: np.ndarray, second: np.ndarray) -> float:
    if metric == "top-1":
        return float(first.argmax() == second.argmax())
    a, b = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


def measure(settings: FeatureSettings, progress: Progress | None = None) -> BenchResult:
    """Every codec at every setting on every layer; then what each needs for the same accuracy.

    Raises:
        UsageError, WeightsError, MissingExtra: a source or a peer is not there.
    """
    chosen = [
        (source, layer)
        for source in (feature_source(name, settings.data) for name in settings.sources)
        for layer in source.layers
        if not settings.layers or layer in settings.layers
    ]
    points: list[RatePoint] = []
    for number, (source, layer) in enumerate(chosen):
        if progress is not None:
            progress(number, len(chosen), f"{source.name} {layer}")
        held = _Layer(source, layer, settings.count)
        points += ours(held, settings)
        points += peers(held)
    names = " ".join(settings.sources)
    command = f"smalto bench features --data DATA --sources {names.replace(' ', ',')} --count {settings.count}"
    return bench_result(
        "features", command, [equal_table(points), point_table(points)], ("zstandard", "pcodec", "numcodecs")
    )


def ours(held: _Layer, settings: FeatureSettings) -> Iterator[RatePoint]:
    """FeatureCodec at every error; features go in as float16, all inputs in one set."""
    inputs = [value.astype(np.float16) for value in held.features.values()]
    for tier in settings.tiers:
        for error in settings.errors:
            codec = FeatureCodec.fit([value.astype(np.float16) for value in held.fitted], tier, error=error)
            blob = codec.encode(inputs, embed=False)
            decoded = codec.decode(blob)
            arrays = [np.asarray(array, np.float32) for array in decoded]  # type: ignore[union-attr]
            yield held.point(f"smalto {tier}", error, len(blob), arrays, len(codec.profile.to_bytes()))


def peers(held: _Layer) -> Iterator[RatePoint]:
    """Every quantiser at every setting, packed by every packer."""
    grid: Mapping[str, Sequence[float]] = {
        "float16": (16,),
        "float8": (8,),
        "int8 per channel": BITS,
        "uniform": tuple(step * held.deviation for step in STEPS),
    }
    for name, quantise in QUANTISERS.items():
        for setting in grid[name]:
            quantised = [quantise(value, setting) for value in held.features.values()]
            shown = setting / held.deviation if name == "uniform" else setting
            point = held.point(name, shown, 0, [array.restored for array in quantised])
            for packer, pack in packers().items():
                bits = 8 * packed_bytes(quantised, pack) / held.num_values
                yield RatePoint(**{**_row(point), "codec": f"{name}+{packer}", "bits_per_value": bits})


def equal_table(points: Sequence[RatePoint], tolerance: float = TOLERANCE) -> Table:
    """Fewest bits of each codec whose score stays within ``tolerance`` of the original features', and what ours saves.

    For PSNR the tolerance is 0.1 dB.
    """
    rows: list[tuple[str | float | None, ...]] = []
    for source, layer in dict.fromkeys((point.source, point.layer) for point in points):
        best: dict[str, RatePoint] = {}
        for point in points:
            if (point.source, point.layer) != (source, layer):
                continue
            limit = 0.1 if source == "latents" else tolerance
            if point.score_change >= -limit - 1e-9:
                known = best.get(point.codec)
                if known is None or point.bits_per_value < known.bits_per_value:
                    best[point.codec] = point
        mine = best.get("smalto fast")
        for codec, point in sorted(best.items(), key=lambda item: item[1].bits_per_value):
            saved = None if mine is None else 100 * (1 - mine.bits_per_value / point.bits_per_value)
            rows.append(
                (source, layer, codec, point.setting, point.bits_per_value, point.score, point.score_change,
                 point.agreement, saved)
            )  # fmt: skip
    columns = (
        "source", "layer", "codec", "setting", "bits_per_value", "score", "score_change", "agreement",
        "smalto_fast_saves_percent",
    )  # fmt: skip
    return Table("equal_accuracy", columns, tuple(rows))


def point_table(points: Sequence[RatePoint]) -> Table:
    """All points."""
    names = tuple(field.name for field in fields(RatePoint))
    return Table("points", names, tuple(tuple(_row(point).values()) for point in points))


def _row(point: RatePoint) -> dict[str, str | float | int]:
    return {field.name: getattr(point, field.name) for field in fields(RatePoint)}
