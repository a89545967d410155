"""Kernels of the fast feature tier: contexts of every symbol of a chunk, and the decoder that computes them as it goes.

A chunk is a C-ordered field of symbols (S samples, H rows, W columns, C channels). Every channel of a position takes
its context from six positions that were coded before it:

::

            NN
        NW  N  NE            A missing position is replaced by the nearest one there is (N by W, W by N, NE by N, ...);
    WW  W   *                the first position of a sample sees zeros.

Math: the activity of channel c is a_c = min(65535, bias_c + sum_k weight_k m_k,c) with magnitudes m = min(|q|, cap);
its table is ``lookup[a_c]``. All of it is integer arithmetic, and the sum is bounded when a profile is checked, so a
decoder on any machine picks the same tables.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from smalto.bits.cdf import INT32_MAX, INT32_MIN, TOTAL, DecodeTables
from smalto.bits.compiled import compiled
from smalto.bits.rans import LOWER, pull_bits

NUM_NEIGHBOURS = 6
MAX_ACTIVITY = 65535
PULL_WORDS = 4
"""The most words that one symbol reads."""

Integer = Any  # inside a kernel every integer is an int64, whatever Python would make of it


class ContextArrays(NamedTuple):
    """What the kernels read of a context model."""

    bias: NDArray[np.uint16]  # (C,)
    weight: NDArray[np.uint16]  # (6,) N, W, NW, NE, WW, NN
    lookup: NDArray[np.uint8]  # (65536,) table of each activity


@compiled
def _offsets(at: Integer, row: Integer, column: Integer, width: Integer, channels: Integer) -> tuple[Integer, ...]:
    """Where the magnitudes of the six neighbours start; the field starts at ``channels``, zeros stand before it.

    They are unsigned: a signed index may count from the end, and no loop that asks is turned into vector code.
    """
    step = width * channels
    north = at - step
    west = at - channels
    if row == 0:
        north = west if column > 0 else 0
    if column == 0:
        west = north
    north_west = north - channels if row > 0 and column > 0 else north
    north_east = north + channels if row > 0 and column < width - 1 else north
    west_west = at - 2 * channels if column > 1 else west
    north_north = at - 2 * step if row > 1 else north
    return (
        np.uint64(north),
        np.uint64(west),
        np.uint64(north_west),
        np.uint64(north_east),
        np.uint64(west_west),
        np.uint64(north_north),
    )


@compiled
def fill_magnitudes(symbols: NDArray[np.int32], cap: Integer, magnitudes: NDArray[np.uint8]) -> None:
    """Write min(|symbol|, cap) behind the zeros that ``magnitudes`` starts with."""
    start = np.uint64(len(magnitudes) - len(symbols))
    top = np.int32(cap)
    for i in range(np.uint64(len(symbols))):
        value = symbols[i]
        high = min(max(value, np.int32(-top)), top)
        magnitudes[start + i] = np.uint8(abs(high))


@compiled
def _fill_activity(
    magnitudes: NDArray[np.uint8], context: ContextArrays, offsets: tuple[Integer, ...], activity: NDArray[np.uint16]
) -> None:
    """Write the activity of every channel of the position whose neighbours start at ``offsets``."""
    n, w, nw, ne, ww, nn = offsets
    bias, weight = context.bias, context.weight
    w0, w1, w2, w3, w4, w5 = weight[0], weight[1], weight[2], weight[3], weight[4], weight[5]
    for c in range(np.uint64(len(activity))):
        level = bias[c] + w0 * magnitudes[n + c] + w1 * magnitudes[w + c] + w2 * magnitudes[nw + c]
        level += w3 * magnitudes[ne + c] + w4 * magnitudes[ww + c] + w5 * magnitudes[nn + c]
        activity[c] = np.uint16(level)


@compiled
def fill_indexes(
    magnitudes: NDArray[np.uint8], context: ContextArrays, shape: tuple[Integer, ...], indexes: NDArray[np.uint16]
) -> None:
    """Write the table of every symbol of a chunk of ``shape`` (S, H, W, C)."""
    samples, height, width, channels = shape
    lookup = context.lookup
    activity = np.empty(channels, np.uint16)
    at = channels
    for _ in range(samples):
        for row in range(height):
            for column in range(width):
                _fill_activity(magnitudes, context, _offsets(at, row, column, width, channels), activity)
                start = np.uint64(at - channels)
                for c in range(np.uint64(channels)):
                    indexes[start + c] = lookup[activity[c]]
                at += channels


@compiled
def fill_neighbours(
    magnitudes: NDArray[np.uint8], positions: NDArray[np.int64], shape: tuple[Integer, ...], out: NDArray[np.uint8]
) -> None:
    """Write the six neighbours' magnitudes of some positions of a chunk of ``shape``: ``out`` (positions, 6, C)."""
    _, height, width, channels = shape
    for i in range(len(positions)):
        position = positions[i]
        at = channels * (position + 1)
        column = position % width
        row = (position // width) % height
        n, w, nw, ne, ww, nn = _offsets(at, row, column, width, channels)
        for c in range(channels):
            out[i, 0, c] = magnitudes[n + c]
            out[i, 1, c] = magnitudes[w + c]
            out[i, 2, c] = magnitudes[nw + c]
            out[i, 3, c] = magnitudes[ne + c]
            out[i, 4, c] = magnitudes[ww + c]
            out[i, 5, c] = magnitudes[nn + c]


@compiled
def count_symbols(
    symbols: NDArray[np.int32], classes: NDArray[np.uint16], radius: Integer, counts: NDArray[np.int64]
) -> None:
    """Add to ``counts`` (classes, 2 radius + 1) how often each class meets each symbol; others count at the ends."""
    for i in range(len(symbols)):
        value = min(max(np.int64(symbols[i]), -radius), radius)
        counts[classes[i], value + radius] += 1


@compiled
def pull_beyond(state: Integer, ahead: Integer, below: Integer, above: Integer) -> tuple[Integer, Integer, Integer]:
    """Read an escaped symbol from the state and the three words ahead: side and distance, last part first.

    Gives the symbol, the state and the words read; ``below`` and ``above`` are the symbols next to the table's.
    """
    head, state, ahead, count = pull_bits(state, 6, ahead)
    length = head >> 1
    distance = 0
    if length > 16:
        distance, state, ahead, refilled = pull_bits(state, length - 16, ahead)
        count += refilled
    distance |= 1 << max(length - 16, 0)
    if length > 0:
        value, state, ahead, refilled = pull_bits(state, min(length, 16), ahead)
        distance = distance << min(length, 16) | value
        count += refilled
    return above + distance - 1 if head & 1 else below - distance + 1, state, count


@compiled
def pull_field(
    states: NDArray[np.int64],
    words: NDArray[np.uint16],
    tables: DecodeTables,
    context: ContextArrays,
    geometry: tuple[Integer, ...],
    field: tuple[NDArray[np.uint8], NDArray[np.int32]],
) -> Integer:
    """Decode a chunk. Gives the number of words read, or more than there are when the stream ran out.

    Args:
        states: (4,) the coder's states; the last ones are written back.
        words: the stream's words, then 4 (C + 8) zeros, so that no read leaves the array within one position.
        tables: the tables.
        context: the context model.
        geometry: S, H, W, C, number of states (1 or 4), cap of the magnitudes.
        field: magnitudes (C zeros, then S H W C), and symbols (S H W C) to fill.
    """
    samples, height, width, channels, num_lanes, cap = geometry
    magnitudes, symbols = field
    lookup = context.lookup
    low, table_bias, first, coarse = tables.low, tables.bias, tables.first, tables.coarse
    limit = len(words) - PULL_WORDS * (channels + 8)
    activity = np.empty(channels, np.uint16)

    def pull(state: Integer, position: Integer, place: Integer, channel: Integer) -> tuple[Integer, Integer]:
        index = np.int64(lookup[activity[channel]])
        slot = state & 0xFFFF
        row = np.uint64(coarse[np.uint64(index << 8 | slot >> 8)])
        end = np.int64(first[row + np.uint64(1)])
        while end <= slot:
            row += np.uint64(1)
            end = np.int64(first[row + np.uint64(1)])
        start = np.int64(first[row])
        state = (end - start) * (state >> 16) + slot - start
        refilled = state << 16 | np.int64(words[np.uint64(position)])  # read in any case: a select, not a branch
        empty = state < LOWER
        state = refilled if empty else state
        position += empty
        symbol = np.int64(row) - table_bias[np.uint64(index)]
        if end == TOTAL:  # only the escape, the last entry, ends there
            ahead = np.int64(words[position]) | np.int64(words[position + 1]) << 16
            ahead |= np.int64(words[position + 2]) << 32
            symbol, state, count = pull_beyond(state, ahead, np.int64(low[index]) - 1, symbol)
            position += count
            if symbol < INT32_MIN or symbol > INT32_MAX:
                position, symbol = limit + 1, 0
        symbols[np.uint64(place + channel)] = symbol
        magnitudes[np.uint64(place + channel + channels)] = min(abs(symbol), cap)
        return state, position

    position, place = 0, 0
    groups = channels >> 2 if num_lanes == 4 else 0
    a, b, c, d = states[0], states[1], states[2], states[3]
    for number in range(samples * height * width):
        column, row = number % width, number // width % height
        _fill_activity(magnitudes, context, _offsets(place + channels, row, column, width, channels), activity)
        for i in range(0, 4 * groups, 4):
            a, position = pull(a, position, place, i)
            b, position = pull(b, position, place, i + 1)
            c, position = pull(c, position, place, i + 2)
            d, position = pull(d, position, place, i + 3)
        for i in range(4 * groups, channels):
            a, position = pull(a, position, place, i)
            if num_lanes == 4:  # the lane that is next stays the first
                a, b, c, d = b, c, d, a
        if position > limit:
            return position
        place += channels
    states[0], states[1], states[2], states[3] = a, b, c, d
    return position
