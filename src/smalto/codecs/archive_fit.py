"""Fitting the archive codec: rotations from how errors are measured, contexts by the bits they cost on samples.

Math: rows x of cells are whitened by the metric, x' = G^(1/2) (x - mean). A linear expectation of x' from the four
neighbours leaves a residual; its principal axes U give components that are uncorrelated given the neighbours,
y = U^T x' / step. Components whose symbols leave zero less often than ``DEAD`` are dropped. Expectations of symbols are
least squares on symbols; spreads are s = b + sum w m with b, w >= 0 that minimise sum log s + |r| / s, the code length
under a Laplace model, by multiplicative updates. Spreads are cut into classes of equal ratio, each with tables from its
own counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from smalto.bits.cdf import CdfTables, tables_from_pmfs
from smalto.codecs.archive_contexts import CellContexts, no_cells
from smalto.codecs.archive_kernels import (
    EXPECT_BITS,
    INPUT_LIMIT,
    NUM_NEAR,
    NUM_PHASES,
    SPREAD_UNIT,
    Cells,
)
from smalto.codecs.archive_planes import (
    BOTTOM,
    NUM_POINTS,
    TOP,
    ArchivePlanes,
    PlaneModel,
    PlaneRotation,
    cell_rows,
)
from smalto.codecs.feature_contexts import smoothed_pmf
from smalto.codecs.feature_kernels import count_symbols
from smalto.codecs.tiles import Tile
from smalto.errors import UsageError

DEAD = 2e-3
MAX_EXPECTED = 32
EXPECTED_DEVIATION = 0.7
CLASSES_PER_OCTAVE = 3
RADIUS = 1023
ROUNDS = 30
SPREAD_CELLS = 12_000
EXPECT_CELLS = 60_000
DEAD_ZONE = 0.42
LEAST_SPREAD = 0.004

Planes = Mapping[str, NDArray[np.float32]]


class _Chunk(NamedTuple):
    """A sample's cells of one plane."""

    rows: NDArray[np.float32]
    width: int


class _Told(NamedTuple):
    """Inner cells of the samples and what is told about them, columns W, N, NW, NE, other plane."""

    own: NDArray[np.float64]  # (n, K)
    near: NDArray[np.float64]  # (n, 4 K + E)


def fit_archive(samples: Sequence[Planes], metrics: Mapping[str, NDArray[np.float64]], step: float) -> ArchivePlanes:
    """The codec that serves sample planes in few bits.

    Args:
        samples: z_t (64, h, w) and z_b (64, 2h, 2w) of pictures.
        metrics: how errors are measured, of z_t (64, 64) and of z_b's folded cells (256, 256): e^T G e.
        step: of every component, in units of the metric.

    Raises:
        UsageError: too few cells to fit on, or nothing in the planes moves.
    """
    others = [no_cells(sample[TOP].shape[1] * sample[TOP].shape[2]) for sample in samples]
    models = {}
    for name in (TOP, BOTTOM):
        chunks = [_chunk(sample, name) for sample in samples]
        rotation = fit_rotation(chunks, metrics[name], step)
        symbols = [rotation.symbols(chunk.rows) for chunk in chunks]
        widths = [chunk.width for chunk in chunks]
        contexts = fit_cell_contexts(symbols, others, widths)
        models[name] = PlaneModel(rotation, contexts)
        others = [contexts.trace(*one)[0] for one in zip(symbols, others, widths, strict=True)]
    return ArchivePlanes(models[TOP], models[BOTTOM])


def _chunk(sample: Planes, name: str) -> _Chunk:
    rows, columns = sample[TOP].shape[1:]
    return _Chunk(cell_rows(sample[name], Tile(0, rows, 0, columns), sample[name].shape[1] // rows), columns)


def inner_cells(num_cells: int, width: int) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Cells that have all four neighbours, and how far before them W, N, NW and NE lie."""
    cell = np.arange(num_cells)
    inner = cell[(cell >= width) & (cell % width > 0) & (cell % width < width - 1)]
    return inner, (1, width, width + 1, width - 1)


def fit_rotation(chunks: Sequence[_Chunk], metric: NDArray[np.float64], step: float) -> PlaneRotation:
    """Mean, axes, points and offsets of a plane."""
    rows = np.concatenate([chunk.rows for chunk in chunks])
    if len(rows) < 2 * NUM_NEAR * MAX_EXPECTED:
        raise UsageError(f"archive codec: {len(rows)} cells are too few to fit on; give larger or more pictures")
    mean = rows.mean(0, dtype=np.float64).astype(np.float32)
    power, axes = np.linalg.eigh(metric)
    power = np.maximum(power, 1e-9 * power[-1])
    root, unroot = (axes * np.power(power, sign / 2) @ axes.T for sign in (1, -1))
    white = [((chunk.rows - mean) @ root.astype(np.float32)) for chunk in chunks]
    lead = _axes(np.sum([one.T.astype(np.float64) @ one for one in white], axis=0))[1][:, : 2 * MAX_EXPECTED].astype(
        np.float32
    )
    own, near = [], []
    for one, chunk in zip(white, chunks, strict=True):
        inner, back = inner_cells(len(one), chunk.width)
        led = one @ lead
        own.append(one[inner])
        near.append(np.concatenate([led[inner - distance] for distance in back], axis=1))
    y, x = np.concatenate(own).astype(np.float64), np.concatenate(near).astype(np.float64)
    left = y - x @ _least_squares(x, y)
    turn = _axes(left.T @ left)[1]
    forward, inverse = root @ turn / step, step * turn.T @ unroot
    symbols = np.concatenate([one @ (turn / step).astype(np.float32) for one in white])
    alive = (np.abs(symbols) >= 0.5).mean(0) > DEAD
    if not alive.any():
        raise UsageError("archive codec: no component of a plane leaves zero at this step; take a smaller one")
    y = symbols[:, alive]
    offset = np.where(y.std(0) > EXPECTED_DEVIATION, 0.5, DEAD_ZONE).astype(np.float32)
    return PlaneRotation(
        mean,
        inverse[alive].astype(np.float32),
        _points(y, offset),
        np.ascontiguousarray(forward[:, alive]).astype(np.float32),
        offset,
    )


def _axes(square: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues, falling, and their vectors as columns, signs fixed."""
    power, axes = np.linalg.eigh(square)
    axes = axes[:, ::-1] * np.where(axes.sum(0)[::-1] < 0, -1.0, 1.0)
    return power[::-1], axes


def _least_squares(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix that takes x to y, held a little towards zero."""
    square = x.T @ x
    if not len(square):
        return np.zeros((0, y.shape[1]))
    return np.linalg.solve(square + np.eye(len(square)) * (1e-4 * square.trace() / len(square) + 1e-12), x.T @ y)


def _points(y: NDArray[np.float32], offset: NDArray[np.float32]) -> NDArray[np.float32]:
    """(K, 3) how far the mean of what becomes +-1, +-2 and more lies nearer to zero, in symbols."""
    size = np.floor(np.abs(y) + offset)
    points = np.zeros((y.shape[1], NUM_POINTS), np.float32)
    for k in range(NUM_POINTS):
        where = size == k + 1 if k < NUM_POINTS - 1 else size >= NUM_POINTS
        sums = ((size - np.abs(y)) * where).sum(0, dtype=np.float64)
        points[:, k] = np.clip(sums / (where.sum(0) + 20.0), -0.5, 0.5)
    return points


def fit_cell_contexts(
    symbols: Sequence[NDArray[np.int32]], others: Sequence[Cells], widths: Sequence[int]
) -> CellContexts:
    """Contexts that code these chunks (cells, K) in few bits, given the other plane's cells."""
    num_symbols = symbols[0].shape[1]
    deviations = np.concatenate(symbols).std(0)
    alive = np.flatnonzero(deviations > EXPECTED_DEVIATION)
    num_expected = min(MAX_EXPECTED, 1 + int(alive[-1]) if len(alive) else 0)
    start = _expecting(symbols, others, widths, num_expected)
    traced = [start.trace(*one) for one in zip(symbols, others, widths, strict=True)]
    told = _told([one[0].magnitudes for one in traced], [one.magnitudes for one in others], widths, SPREAD_CELLS)
    base, near, own = _spreads(told)
    split = NUM_NEAR * num_symbols
    spreads = [_integers(part, np.uint16) for part in (near[:split], near[split:], own)]
    fields = {
        "expect": start.expect,
        "expect_other": start.expect_other,
        "base": np.maximum(_integers(base, np.uint16), 1),
        "near": spreads[0].reshape(NUM_NEAR, num_symbols, num_symbols),
        "near_other": spreads[1],
        "own": spreads[2],
    }
    octaves = np.arange(3 * CLASSES_PER_OCTAVE, 16 * CLASSES_PER_OCTAVE) / CLASSES_PER_OCTAVE
    threshold = np.unique(np.round(2.0**octaves)).astype(np.uint16)
    fine = CellContexts(**fields, threshold=threshold, tables=_flat(len(threshold) + 1))
    counts = np.zeros((fine.tables.num_tables, 2 * RADIUS + 1), np.int64)
    for one in zip(symbols, others, widths, strict=True):
        _, coded, tables = fine.trace(*one)
        count_symbols(coded.reshape(-1), tables.reshape(-1), RADIUS, counts)
    tables = tables_from_pmfs([smoothed_pmf(count) for count in _shared(counts)])
    return CellContexts(**fields, threshold=threshold, tables=tables)


def _shared(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts of each table; where a class has few, those of the nearest class of its phase that has more."""
    totals = counts.sum(1)
    out = counts.copy()
    for table in np.flatnonzero(totals < 50):
        same = np.arange(table % NUM_PHASES, len(counts), NUM_PHASES)
        full = same[totals[same] >= 50]
        if len(full):
            out[table] = counts[full[np.argmin(np.abs(full - table))]]
    return out


def _flat(num_classes: int) -> CdfTables:
    """Tables that only say how many there are."""
    return tables_from_pmfs([(0, [1.0], 1.0)] * (NUM_PHASES * num_classes))


def _expecting(
    symbols: Sequence[NDArray[np.int32]], others: Sequence[Cells], widths: Sequence[int], num_expected: int
) -> CellContexts:
    """Contexts with expectations alone."""
    num_symbols, num_others = symbols[0].shape[1], others[0].symbols.shape[1]
    lead = [np.clip(one[:, :num_expected], -INPUT_LIMIT, INPUT_LIMIT) for one in symbols]
    told = _told(lead, [np.clip(one.symbols, -INPUT_LIMIT, INPUT_LIMIT) for one in others], widths, EXPECT_CELLS)
    expect = _integers(_least_squares(told.near, told.own), np.int16, 1 << EXPECT_BITS)
    room = ((1 << 30) - 1) / (INPUT_LIMIT * np.maximum(np.abs(expect.astype(np.int64)).sum(0), 1))
    expect = np.trunc(expect * np.minimum(room, 1.0)).astype(np.int16)
    split = NUM_NEAR * num_expected
    return CellContexts(
        expect=expect[:split].reshape(NUM_NEAR, num_expected, num_expected),
        expect_other=expect[split:],
        base=np.ones(num_symbols, np.uint16),
        near=np.zeros((NUM_NEAR, num_symbols, num_symbols), np.uint16),
        near_other=np.zeros((num_others, num_symbols), np.uint16),
        own=np.zeros((num_symbols, num_symbols), np.uint16),
        threshold=np.empty(0, np.uint16),
        tables=_flat(1),
    )


def _told(
    chunks: Sequence[NDArray[np.int32]], others: Sequence[NDArray[np.int32]], widths: Sequence[int], most: int
) -> _Told:
    """At most so many inner cells, spread evenly over the chunks."""
    total = sum(len(chunk) for chunk in chunks)
    own, near = [], []
    for chunk, other, width in zip(chunks, others, widths, strict=True):
        inner, back = inner_cells(len(chunk), width)
        inner = inner[np.linspace(0, len(inner) - 1, min(len(inner), 1 + most * len(inner) // total)).astype(np.int64)]
        own.append(chunk[inner])
        near.append(np.concatenate([*(chunk[inner - distance] for distance in back), other[inner]], axis=1))
    return _Told(np.concatenate(own).astype(np.float64), np.concatenate(near).astype(np.float64))


def _spreads(told: _Told) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """b (K,), w of what is told (4 K + E, K) and of a cell's earlier symbols (K, K)."""
    y = told.own.astype(np.float32)
    num = y.shape[1]
    m = np.concatenate([told.near.astype(np.float32), y], axis=1)
    allowed = np.ones((m.shape[1], num), np.float32)
    allowed[-num:] = np.triu(allowed[-num:], 1)
    mean = y.mean(0) + 1e-3
    base = 0.3 * mean
    weight = allowed * 0.3 * mean / (m.mean(0)[:, None] + 1e-2) / m.shape[1]
    for k in range(NUM_NEAR):  # a symbol's own past says most
        at = k * num + np.arange(num)
        weight[at, np.arange(num)] = 0.12
    for _ in range(ROUNDS):
        s = base + m @ weight + LEAST_SPREAD
        down = 1 / s
        up = y * down * down
        base = np.clip(base * np.sqrt(up.sum(0) / down.sum(0)), 1e-4, 100.0)
        weight = np.clip(weight * np.sqrt((m.T @ up) / np.maximum(m.T @ down, 1e-6)), 0, 8.0)
    return base, np.where(weight[:-num] < 1e-3, 0, weight[:-num]), np.where(weight[-num:] < 1e-3, 0, weight[-num:])


def _integers(values: NDArray, dtype: type[np.integer], unit: int = SPREAD_UNIT) -> NDArray:
    bounds = np.iinfo(dtype)
    return np.clip(np.floor(unit * values + 0.5), bounds.min, bounds.max).astype(dtype)
