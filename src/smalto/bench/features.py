"""Rate against task: feature codecs and what people use today, on real features whose task can be scored.

::

    source ─► features of a layer ─┬─► FeatureCodec (fast at every error; learned at every quality) ─┬─► the model goes
                                   ├─► quantiser x packer                                            │   on ─► score,
                                   └─► truncation + learned codec (the paper's baseline)             ┘   agreement
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smalto.bench.feature_layers import PSNR, HeldLayer, RatePoint
from smalto.bench.feature_learned import Networks, learned_points, truncated_points
from smalto.bench.feature_sources import FeatureSource, feature_source
from smalto.bench.feature_tables import equal_table, point_table, summary_table
from smalto.bench.peers.feature_codecs import QUANTISERS, packed_bytes, packers
from smalto.bench.results import BenchResult, bench_result
from smalto.errors import UsageError
from smalto.systems.feature_codec import FeatureCodec

ERRORS = (0.001, 0.003, 0.01, 0.03, 0.06, 0.1, 0.14, 0.2, 0.27, 0.35, 0.45, 0.6)
STEPS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.4, 1.8, 2.2, 2.8)
FINE_ERRORS, FINE_STEPS = (0.00003, 0.0001, 0.0003), (0.01, 0.02, 0.03, 0.04)  # where the score is a PSNR
BITS = (8, 6, 5, 4, 3)
QUALITIES = (0, 51, 102, 153, 204, 255)
TIERS = ("fast", "hyperprior", "elic")
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class FeatureSettings:
    """What to measure.

    Args:
        data: folder of data sets and weights.
        sources: names of ``feature_sources.SOURCES``.
        layers: only these layers; empty takes all of a source.
        count: inputs of each source, at least 1.
        tiers: of ours.
        errors: squared error over variance that the fast tier aims at; where the score is a PSNR, finer ones as well.
        qualities: levels 0..255 of learned tiers.
        networks: of learned tiers and of the paper's baseline.
        with_peers: measure what people use today as well.
        packed_inputs: inputs, evenly spread, whose bytes stand for a peer's rate; None takes all. Scores are of all.

    Raises:
        UsageError: a setting out of range.
    """

    data: Path
    sources: tuple[str, ...] = ("squeezenet", "mobilefacenet", "minilm", "latents")
    layers: tuple[str, ...] = ()
    count: int = 100
    tiers: tuple[str, ...] = ("fast",)
    errors: tuple[float, ...] = ERRORS
    qualities: tuple[int, ...] = QUALITIES
    networks: Networks = Networks()  # noqa: RUF009 - frozen
    with_peers: bool = True
    packed_inputs: int | None = None

    def __post_init__(self) -> None:
        for option, number in (("--count", self.count), ("--packed-inputs", self.packed_inputs)):
            if number is not None and number < 1:
                raise UsageError(f"{option} {number}: must be 1 or more")
        for tier in self.tiers:
            if tier not in TIERS:
                raise UsageError(f"--tiers: no tier is called {tier!r}; choose {', '.join(TIERS)}")
        if not all(0 <= quality <= 255 for quality in self.qualities):
            raise UsageError("--qualities: levels of learned tiers are 0..255")

    def command(self) -> str:
        """The command line that measures this."""
        words = ["smalto bench features --data DATA --sources", ",".join(self.sources), f"--count {self.count}"]
        if self.layers:
            words.append(f"--layers {','.join(self.layers)}")
        if self.tiers != ("fast",):
            words.append(f"--tiers {','.join(self.tiers)}")
        if self.qualities != QUALITIES:
            words.append(f"--qualities {','.join(map(str, self.qualities))}")
        if self.packed_inputs is not None:
            words.append(f"--packed-inputs {self.packed_inputs}")
        words += self.networks.options()
        return " ".join(words if self.with_peers else [*words, "--no-peers"])


def measure(settings: FeatureSettings, progress: Progress | None = None) -> BenchResult:
    """Every codec at every setting on every layer; then what each needs for the same accuracy.

    Raises:
        UsageError, WeightsError, MissingExtra, MissingSpace: a source, a peer or a network is not there.
    """
    chosen = chosen_layers(settings.data, settings.sources, settings.layers)
    points: list[RatePoint] = []
    for number, (source, layer) in enumerate(chosen):
        if progress is not None:
            progress(number, len(chosen), f"{source.name} {layer}")
        points += layer_points(source, layer, settings)
    tables = [summary_table(points), equal_table(points), point_table(points)]
    return bench_result("features", settings.command(), tables, ("zstandard", "pcodec", "numcodecs"))


def chosen_layers(data: Path, sources: Sequence[str], layers: Sequence[str]) -> list[tuple[FeatureSource, str]]:
    """Sources with their layers, of which only those named, or all where none is named.

    Raises:
        UsageError: a source is not there, or has no such layer.
    """
    chosen = [
        (source, layer)
        for source in (feature_source(name, data) for name in sources)
        for layer in source.layers
        if not layers or layer in layers
    ]
    unknown = set(layers) - {layer for _, layer in chosen}
    if unknown:
        raise UsageError(f"--layers: {', '.join(sorted(unknown))} in none of {', '.join(sources)}")
    return chosen


def layer_points(source: FeatureSource, layer: str, settings: FeatureSettings) -> list[RatePoint]:
    """All points of one layer, whose features are held in memory meanwhile."""
    held = HeldLayer(source, layer, settings.count)
    points: list[RatePoint] = []
    for tier in settings.tiers:
        if tier == "fast":
            points += fast_points(held, settings.errors)
        else:
            points += learned_points(held, tier, settings.qualities, settings.networks)
    if settings.networks.are_given:
        points += truncated_points(held, settings.qualities, settings.networks)
    return points + list(peers(held, settings.packed_inputs)) if settings.with_peers else points


def fast_points(held: HeldLayer, errors: Sequence[float]) -> Iterator[RatePoint]:
    """The fast tier at every error; features go in as float16, all inputs in one set.

    Once with values preserved, ``smalto fast``, and where the score is no PSNR also with means, ``smalto fast, means``.
    """
    inputs = [value.astype(np.float16) for value in held.features.values()]
    fitted = [value.astype(np.float16) for value in held.fitted]
    is_picture = held.source.metric == PSNR
    settings = [("smalto fast", "values", error) for error in ((*FINE_ERRORS, *errors) if is_picture else errors)]
    settings += [("smalto fast, means", "means", error) for error in (() if is_picture else errors)]
    for name, preserve, error in settings:
        codec = FeatureCodec.fit(fitted, error=error, preserve=preserve)
        blob = codec.encode(inputs, embed=False)
        judged = held.judge(codec.decode(blob))  # type: ignore[arg-type]
        yield held.point(name, error, 8 * len(blob) / held.num_values, judged, len(codec.profile.to_bytes()))


def peers(held: HeldLayer, packed_inputs: int | None = None) -> Iterator[RatePoint]:
    """Every quantiser at every setting, packed by every packer.

    Args:
        held: features.
        packed_inputs: how many, evenly spread, are packed; None packs all. Scores are of all.
    """
    steps = (*FINE_STEPS, *STEPS) if held.source.metric == PSNR else STEPS
    grid: Mapping[str, Sequence[float]] = {
        "float16": (16,),
        "float8": (8,),
        "int8 per channel": BITS,
        "uniform": steps,
    }
    num = len(held.features)
    packed = num if packed_inputs is None else min(packed_inputs, num)
    places = frozenset(k * num // packed for k in range(packed))
    for name in QUANTISERS:
        for setting in grid[name]:
            yield from _packed_points(held, name, setting, places)


def _packed_points(held: HeldLayer, name: str, setting: float, places: Set[int]) -> Iterator[RatePoint]:
    """A quantiser at one setting with every packer; one array in memory at a time."""
    argument = setting * held.deviation if name == "uniform" else setting
    tools = packers()
    num_bytes, num_values = dict.fromkeys(tools, 0), 0

    def restored() -> Iterator[np.ndarray]:
        nonlocal num_values
        for place, value in enumerate(held.features.values()):
            quantised = QUANTISERS[name](value, argument)
            if place in places:
                num_values += value.size
                for packer, pack in tools.items():
                    num_bytes[packer] += packed_bytes([quantised], pack)
            yield quantised.restored

    judged = held.judge(restored())
    for packer, total in num_bytes.items():
        yield held.point(f"{name}+{packer}", setting, 8 * total / num_values, judged)
