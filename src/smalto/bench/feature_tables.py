"""Tables of rate points: all of them, the fewest bits for equal accuracy, and what ours saves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

from smalto.bench.feature_layers import PSNR, RatePoint
from smalto.bench.peers.feature_codecs import QUANTISERS
from smalto.bench.results import Cell, Table

TOLERANCE = 0.005
PSNR_TOLERANCE_DB = 0.1
AGREEMENT = 0.97
COSINE = 0.99
OURS, FAST = "smalto ", "smalto fast"
FIXED = ("float8", "int8 per channel")


@dataclass(frozen=True)
class Criterion:
    """When two codecs are at equal accuracy.

    Args:
        name: in tables.
        holds: whether a point keeps the accuracy.
    """

    name: str
    holds: Callable[[RatePoint], bool]


def _keeps_score(point: RatePoint, tolerance: float = TOLERANCE) -> bool:
    limit = PSNR_TOLERANCE_DB if point.metric == PSNR else tolerance
    return point.score_change >= -limit - 1e-9


def _keeps_answers(point: RatePoint) -> bool:
    return point.metric != PSNR and point.agreement >= (AGREEMENT if point.metric == "top-1" else COSINE)


CRITERIA = (Criterion("score", _keeps_score), Criterion("agreement", _keeps_answers))


def point_table(points: Sequence[RatePoint]) -> Table:
    """All points."""
    names = tuple(field.name for field in fields(RatePoint))
    return Table("points", names, tuple(point.cells() for point in points))


def equal_table(points: Sequence[RatePoint], tolerance: float = TOLERANCE) -> Table:
    """Fewest bits of each codec whose score stays within ``tolerance`` of the original features', and what ours saves.

    For PSNR the tolerance is 0.1 dB.
    """
    rows: list[tuple[Cell, ...]] = []
    for source, layer, held in _by_layer(points):
        kept = [point for point in held if _keeps_score(point, tolerance)]
        best = {codec: _cheapest(kept, codec.__eq__) for codec in dict.fromkeys(point.codec for point in kept)}
        mine = _cheapest(kept, lambda codec: codec.startswith(FAST))
        for codec, point in sorted(best.items(), key=lambda item: item[1].bits_per_value if item[1] else 0.0):
            if point is None:
                continue
            rows.append(
                (source, layer, codec, point.setting, point.bits_per_value, point.score, point.score_change,
                 point.score_change_low, point.score_change_high, point.agreement, point.agreement_low,
                 point.agreement_high, _saved(mine, point))
            )  # fmt: skip
    columns = (
        "source", "layer", "codec", "setting", "bits_per_value", "score", "score_change", "score_change_low",
        "score_change_high", "agreement", "agreement_low", "agreement_high", "smalto_fast_saves_percent",
    )  # fmt: skip
    return Table("equal_accuracy", columns, tuple(rows), "low and high: ends of 95 % intervals, paired bootstrap.")


def summary_table(points: Sequence[RatePoint]) -> Table:
    """Ours beside the best tuned peer and the best one of fixed 8 bits, at equal score and at equal answers."""
    rows: list[tuple[Cell, ...]] = []
    for criterion in CRITERIA:
        for source, layer, held in _by_layer(points):
            kept = [point for point in held if criterion.holds(point)]
            tuned, fixed = _cheapest(kept, _is_classical), _cheapest([p for p in kept if _is_fixed(p)], _is_classical)
            for codec in dict.fromkeys(point.codec for point in held if point.codec.startswith(OURS)):
                mine = _cheapest(kept, codec.__eq__)
                if tuned is None and mine is None:
                    continue
                rows.append(
                    (criterion.name, source, layer, codec, *_shown(mine)[1:], *_shown(tuned), _saved(mine, tuned),
                     *_shown(fixed), _saved(mine, fixed))
                )  # fmt: skip
    columns = (
        "equal", "source", "layer", "ours", "our_setting", "our_bits", "tuned_peer", "tuned_setting", "tuned_bits",
        "saves_percent", "fixed_peer", "fixed_setting", "fixed_bits", "saves_of_fixed_percent",
    )  # fmt: skip
    note = (
        f"Bits a value where the score falls by at most {100 * TOLERANCE:g} points ({PSNR_TOLERANCE_DB:g} dB), and "
        f"where {100 * AGREEMENT:.0f} % of the classes stay or answers have a mean cosine of {COSINE:g}. The tuned "
        "peer is the cheapest of all at its best setting, the fixed one the cheapest of float8 and int8."
    )
    return Table("summary", columns, tuple(rows), note)


def _by_layer(points: Iterable[RatePoint]) -> list[tuple[str, str, list[RatePoint]]]:
    held: dict[tuple[str, str], list[RatePoint]] = {}
    for point in points:
        held.setdefault((point.source, point.layer), []).append(point)
    return [(source, layer, group) for (source, layer), group in held.items()]


def _is_classical(codec: str) -> bool:
    return codec.partition("+")[0] in QUANTISERS


def _is_fixed(point: RatePoint) -> bool:
    return point.codec.startswith(FIXED) and point.setting == 8


def _cheapest(points: Iterable[RatePoint], wanted: Callable[[str], bool]) -> RatePoint | None:
    return min((p for p in points if wanted(p.codec)), key=lambda point: point.bits_per_value, default=None)


def _shown(point: RatePoint | None) -> tuple[Cell, ...]:
    return (None, None, None) if point is None else (point.codec, point.setting, point.bits_per_value)


def _saved(mine: RatePoint | None, other: RatePoint | None) -> float | None:
    return None if mine is None or other is None else 100 * (1 - mine.bits_per_value / other.bits_per_value)
