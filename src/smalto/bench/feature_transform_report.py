"""The transform's result as files: JSON, Markdown tables and the paper's Figure 2 for every layer."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from smalto.bench.rd_report import require_plotting
from smalto.bench.results import BenchResult, Table
from smalto.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEM = "feature-transform"
_ROW_INCHES, _WIDTH_INCHES = 1.9, 13.0
_TITLES = {
    "divergence_summary": "Divergence between layers, before and after",
    "divergence": "Divergence of every pair",
    "assignment": "Nearest level against the level below",
    "active_latents": "Active latents",
}


def save_report(result: BenchResult, folder: str | Path) -> tuple[Path, ...]:
    """Write ``feature-transform.json``, ``.md`` and ``.png`` into ``folder``.

    Returns:
        The paths written.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    root = Path(folder)
    files = {
        f"{STEM}.png": plot(result.table("curves")),
        f"{STEM}.json": result.to_json().encode(),
        f"{STEM}.md": to_markdown(result, figure=f"{STEM}.png").encode(),
    }
    root.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        replace_file(root / name, data)
    return tuple(root / name for name in files)


def to_markdown(result: BenchResult, *, figure: str | None = None) -> str:
    """The result's tables for reading; those of the figure are left to the JSON."""
    parts = ["# The peaky-to-balanced transform on real features\n", result.heading()]
    if figure is not None:
        parts.append(f"![values, learned curve, interval widths and indexes of every layer]({figure})\n")
    for name, title in _TITLES.items():
        for table in result.tables:
            if table.name == name:
                parts += [f"## {title}\n", f"{table.note}\n", table.to_markdown(2)]
    return "\n".join(parts)


def plot(curves: Table, kind: str = "png") -> bytes:
    """A row a layer: values (log shares, cumulative in red), levels, interval widths (log, mean dashed), indexes.

    Args:
        curves: the table of that name.
        kind: ``png``, ``svg`` or ``pdf``.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    require_plotting()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(curves.column("layer")))
    figure = Figure(figsize=(_WIDTH_INCHES, 0.5 + _ROW_INCHES * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(names), 4, squeeze=False)
    for row, name in zip(grid, names, strict=True):
        columns = zip(*(cells[1:] for cells in curves.rows if cells[0] == name), strict=True)
        index, low, share, level, width, index_share = (np.array(column, np.float64) for column in columns)
        row[0].set_ylabel(name, fontsize=8)
        _histogram(row[0], low, share, "#228833", is_log=True)
        row[1].plot(index, level, color="#4477aa", linewidth=1.2)
        row[2].plot(index, np.where(width > 0, width, np.nan), color="#aa3377", linewidth=0.8)
        row[2].set_yscale("log")
        row[2].axhline(float(np.nanmean(width)), color="#cc3311", linestyle="--", linewidth=0.8)
        _histogram(row[3], index, index_share, "#66ccee")
    for axes, title in zip(grid[0], ("values", "level of index", "interval width of index", "indexes"), strict=True):
        axes.set_title(title, fontsize=9)
    for axes in grid.ravel():
        axes.tick_params(labelsize=6)
    buffer = BytesIO()
    figure.savefig(buffer, format=kind, dpi=75, metadata={"Software": None} if kind == "png" else None)
    return buffer.getvalue()


def _histogram(axes: Axes, places: np.ndarray, shares: np.ndarray, colour: str, *, is_log: bool = False) -> None:
    """Shares as bars, their running sum in red on an axis of its own."""
    step = float(places[1] - places[0]) if len(places) > 1 and places[1] > places[0] else 1.0
    axes.bar(places, shares, step, align="edge", color=colour)
    if is_log:
        axes.set_yscale("log")
    other = axes.twinx()
    other.plot(places + step, np.cumsum(shares), color="#cc3311", linewidth=0.8)
    other.set_ylim(0.0, 1.02)
    other.tick_params(labelsize=6)
