"""A rate-distortion result as files: JSON, per-picture CSV, Markdown tables and a plot."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from smalto.bench.rate_distortion import OURS
from smalto.bench.rd_tables import PUBLISHED, codec_names, curve_points
from smalto.bench.results import BenchResult, Table
from smalto.errors import MissingExtra
from smalto.files import replace_file
from smalto.measure.classical import CODECS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_PLOTTED_BPP = 1.25
_COLOURS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#997700", "#555555", "#bbbbbb")


def require_plotting() -> None:
    """Fail early when the plot cannot be drawn.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtra("the plot needs matplotlib; pip install 'smalto[bench]'") from error


def save_report(result: BenchResult, folder: str | Path, *, is_plotted: bool = True) -> tuple[Path, ...]:
    """Write ``rd.json``, ``rd.csv``, ``rd.md`` and, unless told otherwise, ``rd.png`` into ``folder``.

    Returns:
        The paths written.

    Raises:
        MissingExtra: matplotlib is not installed and a plot is wanted.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    files = {
        "rd.json": result.to_json().encode(),
        "rd.csv": result.table("pictures").to_csv().encode(),
        "rd.md": to_markdown(result, plot="rd.png" if is_plotted else None).encode(),
    }
    if is_plotted:
        files["rd.png"] = plot(result)
    for name, data in files.items():
        replace_file(root / name, data)
    return tuple(root / name for name in files)


def to_markdown(result: BenchResult, *, plot: str | None = None) -> str:
    """The result's tables for reading: savings, gains and every measured curve.

    Args:
        result: what ``measure`` returned, or an earlier JSON.
        plot: a picture's file name to show, or None.
    """
    parts = ["# Rate and distortion\n", result.heading()]
    if plot is not None:
        parts.append(f"![PSNR and MS-SSIM over bits per pixel]({plot})\n")
    titles = {"savings": "Rate saved (BD-rate)", "gains": "Quality gained at equal rate"}
    for name, title in titles.items():
        for table in result.tables:
            if table.name == name:
                parts += [f"## {title}\n", f"{table.note}.\n", table.to_markdown(2)]
    curves = result.table("curves")
    measured = tuple(row for row in curves.rows if row[1] != PUBLISHED)
    shown = Table("curves", tuple(c for c in curves.columns if c != "origin"), tuple((r[0], *r[2:]) for r in measured))
    parts += ["## Mean curves\n", f"{curves.note}.\n", shown.to_markdown(4)]
    return "\n".join(parts)


def plot(result: BenchResult, kind: str = "png") -> bytes:
    """PSNR and MS-SSIM (in dB) over bits per pixel: measured curves solid, published ones dashed.

    Args:
        result: what ``measure`` returned, or an earlier JSON.
        kind: ``png``, ``svg`` or ``pdf``.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    require_plotting()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw(left, result.table("curves"), "psnr_db", "PSNR (dB, RGB)")
    _draw(right, result.table("curves"), "ms_ssim", "MS-SSIM (dB)")
    buffer = BytesIO()
    figure.savefig(buffer, format=kind, dpi=110, metadata={"Software": None} if kind == "png" else None)
    return buffer.getvalue()


def _draw(axes: Axes, curves: Table, field: str, label: str) -> None:
    for number, (codec, origin) in enumerate(codec_names(curves)):
        points = [point for point in curve_points(curves, codec, field) if point[0] <= MAX_PLOTTED_BPP]
        if points:
            axes.plot(
                [bpp for bpp, _ in points],
                [value for _, value in points],
                linestyle="--" if origin == PUBLISHED else "-",
                marker="o",
                markersize=3.0,
                linewidth=2.6 if codec == OURS else 1.3,
                color="#000000" if codec == OURS else _COLOURS[number % len(_COLOURS)],
                label=f"{_label(codec)} (published)" if origin == PUBLISHED else _label(codec),
            )
    axes.set_xlabel("bits per pixel, whole file" if field == "psnr_db" else "bits per pixel")
    axes.set_ylabel(label)
    axes.set_xlim(0.0, MAX_PLOTTED_BPP)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")


def _label(codec: str) -> str:
    return CODECS[codec].label if codec in CODECS else codec
