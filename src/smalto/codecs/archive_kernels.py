"""Kernels of the archive codec: the contexts of every symbol of a chunk, and the decoder that finds them as it goes.

A chunk is a field of cells, row by row, with K symbols each. A cell is told about by four cells that were coded before
it, by the cell of another plane at the same place where there is one, and by its own symbols so far:

::

    NW  N  NE     A missing cell is replaced by the nearest one there is (N by W, W by N, NE by N, ...);
    W   *         the first cell of a chunk sees none.

Math, all of it in integers: with symbols q, the first P symbols of a cell have the expectation

    p_c = sum_n sum_j A_n,c,j clamp(q_n,j, -2047, 2047)           in 1/1024, n = W, N, NW, NE, the other plane's cell

(the others p = 0), the symbol in the stream is r = q - floor(p + 1/2), and with m = min(|r|, 127) its spread is

    a_c = b_c + sum_n sum_j B_n,c,j m_n,j + sum_(j < c) O_c,j m_j     in 1/512.

The table is 4 lookup[min(a_c, 65535)] + phase, where the phase says how far p lies from an integer: 0 below 1/8, 1
below 5/16, 2 beyond, 3 where nothing is expected; r is coded with its sign changed where p lies below the integer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from smalto.bits.cdf import INT32_MAX, INT32_MIN, TOTAL, DecodeTables
from smalto.bits.compiled import compiled
from smalto.bits.rans import LOWER
from smalto.codecs.feature_kernels import pull_beyond

NUM_NEAR = 4
NUM_PHASES = 4
EXPECT_BITS = 10
INPUT_LIMIT = 2047
CAP = 127
SPREAD_UNIT = 512
MAX_SPREAD = 65535
_HALF = 1 << (EXPECT_BITS - 1)
_PHASE_1 = 1 << (EXPECT_BITS - 3)
_PHASE_2 = 5 << (EXPECT_BITS - 4)

Integer = Any  # inside a kernel every integer is an int64, whatever Python would make of it


class CellModel(NamedTuple):
    """What the kernels read of a context model; K symbols a cell, P of them expected, E symbols of the other plane."""

    expect: NDArray[np.int32]  # (4, P, P) A: neighbour, its symbol j, symbol c
    expect_other: NDArray[np.int32]  # (E, P)
    base: NDArray[np.int32]  # (K,) b
    near: NDArray[np.int32]  # (4, K, K) B: neighbour, its symbol j, symbol c
    near_other: NDArray[np.int32]  # (E, K)
    own: NDArray[np.int32]  # (K, K) O: earlier symbol j, symbol c
    lookup: NDArray[np.uint8]  # (65536,) class of each spread


class Cells(NamedTuple):
    """Symbols of a chunk and the magnitudes of what was coded for them."""

    symbols: NDArray[np.int32]  # (cells, K)
    magnitudes: NDArray[np.int32]  # (cells, K)


@compiled
def _open_cell(
    cells: Cells,
    other: Cells,
    model: CellModel,
    cell: Integer,
    width: Integer,
    expected: NDArray[np.int32],
    spread: NDArray[np.int32],
) -> None:
    """Write what the neighbours and the other plane say about a cell: ``expected`` (P,) and ``spread`` (K,)."""
    symbols, magnitudes = cells.symbols, cells.magnitudes
    near, expect = model.near, model.expect
    num_expected, num_symbols = len(expected), len(spread)
    expected[:] = 0
    spread[:] = model.base
    column = cell % width
    if cell > 0:
        west = cell - 1 if column > 0 else cell - width
        north = cell - width if cell >= width else west
        north_west = north - 1 if cell >= width and column > 0 else north
        north_east = north + 1 if cell >= width and column < width - 1 else north
        for n, neighbour in enumerate((west, north, north_west, north_east)):
            for j in range(num_symbols):
                magnitude = magnitudes[neighbour, j]
                if magnitude:
                    row = near[n, j]
                    for c in range(num_symbols):
                        spread[c] += row[c] * magnitude
            for j in range(num_expected):
                value = np.int32(min(max(symbols[neighbour, j], -INPUT_LIMIT), INPUT_LIMIT))
                if value:
                    row = expect[n, j]
                    for c in range(num_expected):
                        expected[c] += row[c] * value
    for j in range(other.symbols.shape[1]):
        magnitude = other.magnitudes[cell, j]
        if magnitude:
            row = model.near_other[j]
            for c in range(num_symbols):
                spread[c] += row[c] * magnitude
        value = np.int32(min(max(other.symbols[cell, j], -INPUT_LIMIT), INPUT_LIMIT))
        if value:
            row = model.expect_other[j]
            for c in range(num_expected):
                expected[c] += row[c] * value


@compiled
def _placed(expected: Integer) -> tuple[Integer, Integer, Integer]:
    """The nearest integer to an expectation, the phase, and whether signs change."""
    middle = (expected + _HALF) >> EXPECT_BITS
    rest = expected - (middle << EXPECT_BITS)
    away = abs(rest)
    return middle, np.int64(away >= _PHASE_1) + np.int64(away >= _PHASE_2), rest < 0


@compiled
def _hand_on(own: NDArray[np.int32], spread: NDArray[np.int32], c: Integer, magnitude: Integer) -> None:
    """Tell the later symbols of a cell how large symbol c turned out."""
    row = own[c]
    factor = np.int32(magnitude)
    for d in range(len(spread)):
        spread[d] += row[d] * factor


@compiled
def trace_cells(
    cells: Cells, other: Cells, model: CellModel, width: Integer, coded: NDArray[np.int32], tables: NDArray[np.uint16]
) -> None:
    """Write what stands in the stream for every symbol of a chunk, its table, and the chunk's magnitudes.

    Args:
        cells: symbols, and magnitudes to fill.
        other: of the other plane; (cells, 0) arrays where there is none.
        model: contexts.
        width: cells in a row.
        coded: (cells, K) to fill.
        tables: (cells, K) to fill.
    """
    symbols, magnitudes = cells.symbols, cells.magnitudes
    num_cells, num_symbols = symbols.shape
    num_expected = model.expect.shape[1]
    expected = np.empty(num_expected, np.int32)
    spread = np.empty(num_symbols, np.int32)
    for cell in range(num_cells):
        _open_cell(cells, other, model, cell, width, expected, spread)
        for c in range(num_symbols):
            middle, phase, turned = np.int64(0), np.int64(NUM_PHASES - 1), False
            if c < num_expected:
                middle, phase, turned = _placed(np.int64(expected[c]))
            rest = np.int64(symbols[cell, c]) - middle
            coded[cell, c] = -rest if turned else rest
            tables[cell, c] = NUM_PHASES * np.int64(model.lookup[min(spread[c], MAX_SPREAD)]) + phase
            magnitude = min(abs(rest), CAP)
            magnitudes[cell, c] = magnitude
            if magnitude:
                _hand_on(model.own, spread, c, magnitude)


@compiled
def pull_cells(
    stream: tuple[NDArray[np.int64], NDArray[np.uint16], Integer, Integer],
    tables: DecodeTables,
    model: CellModel,
    cells: Cells,
    other: Cells,
    width: Integer,
) -> Integer:
    """Decode a chunk. Gives the number of words read, or more than there are when the stream ran out.

    Args:
        stream: the coder's four states, left as they end; its words, then 4 (K + 1) zeros, so that no read leaves the
            array within a cell; how many words there are; the number of states that count (1 or 4).
        tables: the tables.
        model: contexts.
        cells: to fill.
        other: of the other plane.
        width: cells in a row.
    """
    states, words, limit, num_lanes = stream
    symbols, magnitudes = cells.symbols, cells.magnitudes
    num_cells, num_symbols = symbols.shape
    num_expected = model.expect.shape[1]
    low, bias, first, coarse = tables.low, tables.bias, tables.first, tables.coarse
    lookup = model.lookup
    expected = np.empty(num_expected, np.int32)
    spread = np.empty(num_symbols, np.int32)
    position, number = 0, 0
    for cell in range(num_cells):
        _open_cell(cells, other, model, cell, width, expected, spread)
        for c in range(num_symbols):
            middle, phase, turned = np.int64(0), np.int64(NUM_PHASES - 1), False
            if c < num_expected:
                middle, phase, turned = _placed(np.int64(expected[c]))
            index = NUM_PHASES * np.int64(lookup[min(spread[c], MAX_SPREAD)]) + phase
            lane = number & (num_lanes - 1)
            number += 1
            state = states[lane]
            slot = state & 0xFFFF
            row = np.uint64(coarse[np.uint64(index << 8 | slot >> 8)])
            end = np.int64(first[row + np.uint64(1)])
            while end <= slot:
                row += np.uint64(1)
                end = np.int64(first[row + np.uint64(1)])
            start = np.int64(first[row])
            state = (end - start) * (state >> 16) + slot - start
            if state < LOWER:
                state = state << 16 | np.int64(words[position])
                position += 1
            rest = np.int64(row) - bias[np.uint64(index)]
            if end == TOTAL:  # only the escape, the last entry, ends there
                ahead = np.int64(words[position]) | np.int64(words[position + 1]) << 16
                ahead |= np.int64(words[position + 2]) << 32
                rest, state, count = pull_beyond(state, ahead, np.int64(low[index]) - 1, rest)
                position += count
            states[lane] = state
            rest = -rest if turned else rest
            symbol = rest + middle
            if symbol < INT32_MIN or symbol > INT32_MAX:
                return limit + 1
            symbols[cell, c] = symbol
            magnitude = min(abs(rest), CAP)
            magnitudes[cell, c] = magnitude
            if magnitude:
                _hand_on(model.own, spread, c, magnitude)
        if position > limit:
            return position
    return position
