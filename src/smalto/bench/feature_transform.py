"""The peaky-to-balanced transform on real features: distributions before and after, and what its details are worth.

Source: DT-UFC, Table 1 (divergence between models' features), Figure 2 (histogram, learned curve, interval widths,
histogram of indexes), Figure 3 (active latents), equation 5 (nearest assignment).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smalto.bench.feature_activity import ActivityProbe, activity_table
from smalto.bench.feature_distributions import NUM_BINS, Distribution, divergence, divergence_of_ranges
from smalto.bench.feature_layers import NUM_FIT
from smalto.bench.feature_learned import Networks
from smalto.bench.feature_sources import FeatureSource
from smalto.bench.feature_speed import floor_indexes
from smalto.bench.features import chosen_layers
from smalto.bench.results import BenchResult, Cell, Table, bench_result
from smalto.codecs.lloyd_max import LloydMax
from smalto.codecs.truncation import Truncation
from smalto.errors import MissingSpace, UsageError

LEAST_GAIN = 3.0
SPIKE = 0.05
OTHER_BINS, OTHER_FLOOR = 512, 1e-6
SAMPLE_VALUES = 1 << 20
PAPER = (  # Table 1: first, second, before, after
    ("Llama3 (CSR)", "DINOv2 (Seg)", 19.87, 0.50),
    ("Llama3 (CSR)", "SD3 (TTI)", 2.95, 0.57),
    ("DINOv2 (Seg)", "Llama3 (CSR)", 18.06, 0.25),
    ("DINOv2 (Seg)", "SD3 (TTI)", 4.92, 0.50),
    ("SD3 (TTI)", "Llama3 (CSR)", 2.95, 1.15),
    ("SD3 (TTI)", "DINOv2 (Seg)", 15.18, 2.23),
)
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class TransformSettings:
    """What to measure.

    Args:
        data: folder of data sets and weights.
        sources: names of ``feature_sources.SOURCES``.
        layers: only these layers; empty takes all of a source.
        count: inputs of each source, at least 1.
        networks: whose latents are looked at; without any installed or named, that table is left out.
        quality: level 0..255 at which latents are quantised.

    Raises:
        UsageError: a number out of range.
    """

    data: Path
    sources: tuple[str, ...] = ("squeezenet", "mobilefacenet", "minilm", "latents")
    layers: tuple[str, ...] = ()
    count: int = 30
    networks: Networks = Networks()  # noqa: RUF009 - frozen
    quality: int = 153

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.quality <= 255:
            raise UsageError(f"bench features: --count {self.count} and quality {self.quality} must be 1.. and 0..255")

    def command(self) -> str:
        """The command line that measures this."""
        words = ["smalto bench features --transform --data DATA --sources", ",".join(self.sources)]
        words.append(f"--count {self.count}")
        words += [f"--layers {','.join(self.layers)}"] if self.layers else []
        return " ".join([*words, *self.networks.options()])


@dataclass(frozen=True, eq=False)
class MeasuredLayer:
    """What is kept of one layer.

    Args:
        name: source and layer.
        distribution: of the tested inputs.
        transform: fitted on ten others.
    """

    name: str
    distribution: Distribution
    transform: LloydMax


def bench_transform(settings: TransformSettings, progress: Progress | None = None) -> BenchResult:
    """Measure the transform on every layer.

    Returns:
        Tables ``divergence_summary``, ``divergence``, ``assignment``, ``active_latents`` (with a network) and
        ``curves``.

    Raises:
        UsageError, WeightsError, MissingExtra: a source or a network is not there.
    """
    chosen = chosen_layers(settings.data, settings.sources, settings.layers)
    probe = _probe(settings)
    measured: list[MeasuredLayer] = []
    active: list[tuple[Cell, ...]] = []
    for number, (source, layer) in enumerate(chosen):
        if progress is not None:
            progress(number, len(chosen), f"{source.name} {layer}")
        fitted = [item.features[layer].astype(np.float16) for item in source.fit_items(NUM_FIT)]
        found = MeasuredLayer(
            f"{source.name} {layer}",
            Distribution.of(item.features[layer] for item in source.items(settings.count)),
            LloydMax.fit(fitted, dtype_name="float16"),
        )
        measured.append(found)
        if probe is not None:
            sample = _sample(source, layer, settings.count)
            active.append(probe.row(found.name, sample, found.transform, Truncation.fit(fitted)))
    tables = [*divergence_tables(measured), assignment_table(measured)]
    if active:
        tables.append(activity_table(active, settings.quality))
    return bench_result("features-transform", settings.command(), [*tables, curve_table(measured)], ("numpy", "torch"))


def divergence_tables(measured: Sequence[MeasuredLayer]) -> list[Table]:
    """Divergence of every ordered pair of layers, and means over pairs of two models beside the paper's pairs."""
    pairs = list(itertools.permutations(measured, 2))
    if not pairs:
        return []
    ends = [(float(layer.distribution.values[0]), float(layer.distribution.values[-1])) for layer in measured]
    whole = min(low for low, _ in ends), max(high for _, high in ends)
    rows = [(first.name, second.name, *_divergences(first, second, whole)) for first, second in pairs]
    kinds = ("before", "after", "before_range_of_all", "before_512_bins", "before_floor_1e-6", "after_floor_1e-6")
    note = (
        "Nats. Before: 256 bins over the union of both ranges; after: 256 indexes; shares below 1e-10 raised to it, "
        "unless the column says otherwise."
    )
    of_models = [row for row in rows if row[0].split()[0] != row[1].split()[0]]
    dense = {layer.name for layer in measured if layer.distribution.largest_share < SPIKE}
    of_dense = [row for row in of_models if {row[0], row[1]} <= dense]
    groups = {
        "all pairs": rows,
        "pairs of two models": of_models,
        f"pairs of two models, no value over {100 * SPIKE:.0f} %": of_dense,
    }
    shown = [(name, len(group), *_statistics(group)) for name, group in groups.items() if group]
    paper: list[tuple[Cell, ...]] = [("paper: three models", len(PAPER), *_statistics(PAPER))]
    summary = Table(
        "divergence_summary",
        ("which", "pairs", "mean_before", "mean_after", "largest_before", "largest_after", "falls_in_percent"),
        (*shown, *paper),
        "Nats; settings of the first two columns of the next table, which are the closest to the paper's. A value that "
        "many share, such as the zero that ReLU leaves, is one index after any transform and keeps its share.",
    )
    published = [
        (f"paper: {one}", f"paper: {other}", before, after, *[None] * 4) for one, other, before, after in PAPER
    ]
    return [summary, Table("divergence", ("first", "second", *kinds), (*rows, *published), note)]


def _divergences(first: MeasuredLayer, second: MeasuredLayer, whole: tuple[float, float]) -> tuple[float, ...]:
    one, other = first.distribution, second.distribution
    after = one.indexes(first.transform), other.indexes(second.transform)
    return (
        divergence_of_ranges(one, other),
        divergence(*after),
        divergence_of_ranges(one, other, ends=whole),
        divergence_of_ranges(one, other, OTHER_BINS),
        divergence_of_ranges(one, other, floor=OTHER_FLOOR),
        divergence(*after, OTHER_FLOOR),
    )


def _statistics(rows: Sequence[Sequence[Cell]]) -> tuple[float, ...]:
    """Means, largest, and in how many pairs it falls, of the third and fourth cells."""
    before, after = (np.array([float(row[k]) for row in rows]) for k in (2, 3))  # type: ignore[arg-type]
    falls = 100 * float((after < before).mean())
    return float(before.mean()), float(after.mean()), float(before.max()), float(after.max()), falls


def assignment_table(measured: Sequence[MeasuredLayer]) -> Table:
    """Nearest levels against the levels below, with the same levels."""
    rows: list[tuple[Cell, ...]] = []
    for layer in measured:
        held, levels = layer.distribution, layer.transform.levels
        values = held.values
        pair = layer.transform.forward(values.astype(np.float16)), floor_indexes(levels, values)
        (nearest, bits), (floor, floor_bits) = (held.assigned(levels, indexes) for indexes in pair)
        low, high = np.diff(levels)[[0, -1]] if len(levels) > 1 else (0.0, 0.0)
        inside = (values >= levels[0] - low) & (values <= levels[-1] + high)
        within = Distribution(values[inside], held.counts[inside])
        within_errors = [within.assigned(levels, indexes[inside])[0] for indexes in pair] if inside.any() else [0.0] * 2
        ratios = _ratio(floor, nearest), _ratio(within_errors[1], within_errors[0])
        ppm = [1e6 * error / held.variance if held.variance else None for error in (nearest, floor)]
        outside = 1e6 * (1 - within.num_values / held.num_values)
        rows.append((layer.name, *ppm, *ratios, outside, bits, floor_bits, _answer(ratios[0]), _answer(ratios[1])))
    columns = (
        "layer", "nearest_ppm", "floor_ppm", "floor_over_nearest", "the_same_in_range", "values_outside_ppm",
        "bits_nearest", "bits_floor", "at_least_3", "at_least_3_in_range",
    )  # fmt: skip
    note = (
        "256 levels fitted on ten inputs, squared errors over variance on other inputs, in millionths; bits are the "
        "entropy of the indexes. A value far beyond the outermost levels costs the same either way; the ratio in range "
        "leaves out those that are farther beyond than one interval."
    )
    return Table("assignment", columns, tuple(rows), note)


def _ratio(error: float, other: float) -> float | None:
    return error / other if other else None


def _answer(ratio: float | None) -> str:
    return "-" if ratio is None else "yes" if ratio >= LEAST_GAIN else "no"


def curve_table(measured: Sequence[MeasuredLayer]) -> Table:
    """What Figure 2 shows: a row for each of 256 bins and indexes of every layer."""
    rows: list[tuple[Cell, ...]] = []
    for layer in measured:
        held, transform = layer.distribution, layer.transform
        low, high = float(held.values[0]), float(held.values[-1])
        edges = np.linspace(low, high, NUM_BINS + 1)
        bins = held.histogram(low, high) if low < high else np.eye(1, NUM_BINS)[0]
        shares = held.indexes(transform)
        widths = np.diff([min(low, transform.levels[0]), *transform.thresholds, max(high, transform.levels[-1])])
        for k in range(NUM_BINS):
            inside = k < transform.num_levels
            level, width = (transform.levels[k], widths[k]) if inside else (None, None)
            cells = (edges[k], bins[k], level, width, shares[k])
            rows.append((layer.name, k, *(None if cell is None else float(f"{cell:.5g}") for cell in cells)))
    columns = ("layer", "index", "bin_low", "bin_share", "level", "interval_width", "index_share")
    return Table("curves", columns, tuple(rows), "256 equal bins of the values, and the 256 indexes of the transform.")


def _probe(settings: TransformSettings) -> ActivityProbe | None:
    """The networks to look into; None where none is named and none installed."""
    try:
        ours = settings.networks.ours("hyperprior")
    except MissingSpace:
        return None
    return ActivityProbe(ours, settings.networks.baseline() or ours, settings.quality)


def _sample(source: FeatureSource, layer: str, count: int) -> list[np.ndarray]:
    """The first features of a layer, about 2^20 values."""
    held: list[np.ndarray] = []
    for item in source.items(count):
        held.append(item.features[layer])
        if sum(array.size for array in held) >= SAMPLE_VALUES:
            break
    return held
