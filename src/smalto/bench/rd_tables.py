"""Tables of a rate-distortion benchmark: per picture, mean curves, BD-rates, and gains at equal rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from smalto.bench.published import KODAK
from smalto.bench.results import Cell, Table
from smalto.errors import UsageError
from smalto.measure.bd_rate import bd_quality, bd_rate, interpolate

if TYPE_CHECKING:
    from smalto.bench.rate_distortion import Measurement

GAIN_BPPS = (0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
MEASURED, PUBLISHED = "measured", "published"
ROW_COLUMNS = (
    "codec",
    "picture",
    "quality",
    "height",
    "width",
    "num_bytes",
    "bpp",
    "psnr_db",
    "ms_ssim",
    "encode_s",
    "decode_s",
)


def picture_table(rows: Sequence[Measurement]) -> Table:
    """One row a measurement; a column ``encode.STAGE_s`` or ``decode.STAGE_s`` for every stage that any row has."""
    stages = list(dict.fromkeys(stage for row in rows for stage, _ in row.stages))
    cells: list[tuple[Cell, ...]] = []
    for row in rows:
        seconds = dict(row.stages)
        plain = tuple(getattr(row, name) for name in ROW_COLUMNS)
        cells.append((*plain, *(seconds.get(stage) for stage in stages)))
    return Table("pictures", (*ROW_COLUMNS, *(f"{stage}_s" for stage in stages)), tuple(cells))


def curve_table(rows: Sequence[Measurement], published: str, origin: str = "") -> Table:
    """Means over pictures, codec by codec and quality by quality; published curves after the measured ones.

    Args:
        rows: measurements.
        published: ``kodak``, or an empty text for none.
        origin: added to the note.
    """
    groups: dict[tuple[str, int], list[Measurement]] = {}
    for row in rows:
        groups.setdefault((row.codec, row.quality), []).append(row)
    order = {name: k for k, name in enumerate(dict.fromkeys(row.codec for row in rows))}
    cells: list[tuple[Cell, ...]] = []
    for (codec, quality), group in sorted(groups.items(), key=lambda item: (order[item[0][0]], item[0][1])):
        means = [
            float(np.mean([getattr(row, field) for row in group]))
            for field in ("bpp", "psnr_db", "ms_ssim", "encode_s", "decode_s")
        ]
        cells.append((codec, MEASURED, quality, *means))
    if published == "kodak":
        cells += [(c.name, PUBLISHED, None, bpp, psnr, None, None, None) for c in KODAK for bpp, psnr in c.points]
    columns = ("codec", "origin", "quality", "bpp", "psnr_db", "ms_ssim", "encode_s", "decode_s")
    pictures = len({row.picture for row in rows})
    note = f"means over {pictures} pictures at equal quality setting" + (f"; {origin}" if origin else "")
    return Table("curves", columns, tuple(cells), note)


def curve_points(curves: Table, codec: str, field: str = "psnr_db") -> list[tuple[float, float]]:
    """(bpp, value) of one codec by rising rate, points of equal value once; MS-SSIM on its decibel scale."""
    found: dict[float, float] = {}
    for name, bpp, value in zip(curves.column("codec"), curves.column("bpp"), curves.column(field), strict=True):
        if name == codec and isinstance(bpp, (int, float)) and isinstance(value, (int, float)):
            quality = float(-10.0 * np.log10(max(1.0 - value, 1e-10))) if field == "ms_ssim" else float(value)
            found[quality] = min(float(bpp), found.get(quality, np.inf))
    return sorted((bpp, quality) for quality, bpp in found.items())


def codec_names(curves: Table) -> list[tuple[str, str]]:
    """(codec, origin) of every curve, in order."""
    pairs = zip(curves.column("codec"), curves.column("origin"), strict=True)
    return list(dict.fromkeys((str(name), str(origin)) for name, origin in pairs))


def saving_table(curves: Table, subject: str) -> Table:
    """BD-rate of ``subject`` against every other codec: percent of rate at equal quality, negative is better."""
    cells: list[tuple[Cell, ...]] = []
    ours = curve_points(curves, subject)
    for codec, origin in codec_names(curves):
        if codec == subject:
            continue
        theirs = curve_points(curves, codec)
        low = max(min(q for _, q in ours), min(q for _, q in theirs))
        high = min(max(q for _, q in ours), max(q for _, q in theirs))
        span = f"{low:.2f}..{high:.2f}" if low < high else "none"
        by_similarity = _delta(curve_points(curves, codec, "ms_ssim"), curve_points(curves, subject, "ms_ssim"))
        cells.append((codec, origin, _delta(theirs, ours), _gain(theirs, ours), span, by_similarity))
    columns = ("against", "origin", "bd_rate_psnr_percent", "bd_psnr_db", "common_psnr_db", "bd_rate_ms_ssim_percent")
    note = f"{subject} against each, PCHIP over the common range; negative rate is a saving; - where no range is common"
    return Table("savings", columns, tuple(cells), note)


def gain_table(curves: Table, subject: str) -> Table:
    """PSNR of ``subject`` minus each other codec's at equal rate, interpolated over the logarithm of rate."""
    ours = curve_points(curves, subject)
    cells: list[tuple[Cell, ...]] = []
    for bpp in GAIN_BPPS:
        own = _psnr_at(ours, bpp)
        row: list[Cell] = [bpp, own]
        for codec, _ in codec_names(curves):
            if codec != subject:
                other = _psnr_at(curve_points(curves, codec), bpp)
                row.append(None if own is None or other is None else own - other)
        cells.append(tuple(row))
    others = [f"over {codec}" for codec, _ in codec_names(curves) if codec != subject]
    note = f"dB of {subject} over each at equal bpp; - outside a measured range"
    return Table("gains", ("bpp", f"{subject}_psnr_db", *others), tuple(cells), note)


def _delta(theirs: list[tuple[float, float]], ours: list[tuple[float, float]]) -> float | None:
    try:
        return bd_rate(theirs, ours)
    except UsageError:  # no common range, or a curve of one point
        return None


def _gain(theirs: list[tuple[float, float]], ours: list[tuple[float, float]]) -> float | None:
    try:
        return bd_quality(theirs, ours)
    except UsageError:
        return None


def _psnr_at(points: list[tuple[float, float]], bpp: float) -> float | None:
    """PSNR at a rate inside the curve's range; None outside."""
    rates = np.array([rate for rate, _ in points])
    if len(points) < 2 or not rates[0] <= bpp <= rates[-1] or np.any(np.diff(rates) <= 0):
        return None
    values = np.array([quality for _, quality in points])
    return float(interpolate(np.log(rates), values, np.log([bpp]))[0])
