"""Interleaved rANS: integers and their tables to bytes, and back or a named error.

Math: a state x in [2^18, 2^34) takes in a symbol of frequency f and first slot c (both of 65536) by

    x' = 65536 floor(x / f) + c + x mod f,

after its low 16 bits went to the stream if x >= 2^18 f; decoding runs the same steps backwards. A stream of 4096 bytes
or more has four interleaved states, a shorter one has one. docs/format-coder.md describes every byte.

Source: Duda, "Asymmetric numeral systems", 2013; Giesen, "Interleaved entropy coders", 2014. We take 16 bits of
probability and a state two bits wider than the usual 32, which keeps the coder's loss near 0.01 % at one word a refill.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smalto.bits.cdf import INT32_MAX, INT32_MIN, TOTAL, CdfTables, DecodeTables, EncodeTables
from smalto.bits.compiled import compiled
from smalto.errors import DamagedPacket, DecodeMismatch, UsageError

NUM_LANES = 4
LANES_FROM_BYTES = 4096
LOWER = 1 << 18
HEAD_LIMIT = 1 << 32
HEAD_LOWER = 1 << 16
MAX_WORDS_PER_SYMBOL = 4
PADDING_WORDS = 2 * NUM_LANES * MAX_WORDS_PER_SYMBOL

Words = NDArray[np.uint16]
States = NDArray[np.int64]
Integer = Any  # inside a kernel every integer is an int64, whatever Python would make of it


def encode(symbols: ArrayLike, indexes: ArrayLike, tables: CdfTables) -> bytes:
    """Code symbols with their tables.

    Args:
        symbols: (N,) integers, any int32 value.
        indexes: (N,) integers in 0..K-1, the table of each symbol.
        tables: K tables.

    Returns:
        The stream; empty for no symbols. ``decode`` with the same indexes and tables gives the symbols back.

    Raises:
        UsageError: arrays of different lengths, not vectors of integers, symbols beyond int32, indexes without a table.

    Example:
        >>> from smalto.bits.cdf import tables_from_pmfs
        >>> tables = tables_from_pmfs([(-1, [0.25, 0.5, 0.25], 0.0)])
        >>> decode(encode([0, -1, 700], [0, 0, 0], tables), [0, 0, 0], tables).tolist()
        [0, -1, 700]
    """
    symbol = _vector("symbols", symbols, np.int32, INT32_MIN, INT32_MAX)
    table = _vector("indexes", indexes, np.uint16, 0, tables.num_tables - 1)
    if len(symbol) != len(table):
        raise UsageError(f"entropy coder: {len(symbol)} symbols but {len(table)} indexes; give each symbol its table")
    if len(symbol) == 0:
        return b""
    interleaved = _encode_lanes(symbol, table, tables, NUM_LANES)
    if len(interleaved) >= LANES_FROM_BYTES:
        return interleaved
    single = _encode_lanes(symbol, table, tables, 1)
    return single if len(single) < LANES_FROM_BYTES else interleaved.ljust(LANES_FROM_BYTES, b"\0")


def decode(data: bytes | bytearray | memoryview, indexes: ArrayLike, tables: CdfTables) -> NDArray[np.int32]:
    """The symbols of a stream.

    Args:
        data: what ``encode`` returned.
        indexes: (N,) integers in 0..K-1, the same as when encoding.
        tables: the same tables as when encoding.

    Returns:
        (N,) int32 symbols. Memory is 8 N bytes plus the stream, whatever the stream says.

    Raises:
        DamagedPacket: the stream cannot have come from ``encode``: its length or its first state is impossible.
        DecodeMismatch: the coder does not end in its first state with every byte read: the stream was changed, or the
            indexes or tables are not those it was encoded with.
        UsageError: indexes that are not a vector of integers or have no table.
    """
    table = _vector("indexes", indexes, np.uint16, 0, tables.num_tables - 1)
    size = memoryview(data).nbytes
    if len(table) == 0:
        if size:
            raise DamagedPacket(f"entropy coder: {size} bytes where no symbols are stored; the file is damaged")
        return np.empty(0, np.int32)
    states, num_lanes, words = open_stream(bytes(data))
    num_words = len(words) - PADDING_WORDS
    symbols = np.empty(len(table), np.int32)
    position = int(_pull_all(states, num_lanes, words, table, tables.for_decoding, symbols))
    filled = size == LANES_FROM_BYTES and position < num_words and not words[position:].any()
    if (position != num_words and not filled) or (states != LOWER).any():
        raise DecodeMismatch(
            f"entropy coder: the stream of {size} bytes does not hold these {len(table)} symbols; "
            "the file is damaged, or was written with other tables"
        )
    return symbols


def encode_many(
    segments: Sequence[tuple[ArrayLike, ArrayLike]], tables: CdfTables, num_threads: int = 1
) -> list[bytes]:
    """Independent streams of several (symbols, indexes) segments, coded by a pool of threads."""
    with ThreadPoolExecutor(max(1, num_threads)) as pool:
        return list(pool.map(lambda segment: encode(segment[0], segment[1], tables), segments))


def decode_many(
    segments: Sequence[tuple[bytes | bytearray | memoryview, ArrayLike]], tables: CdfTables, num_threads: int = 1
) -> list[NDArray[np.int32]]:
    """The symbols of several (stream, indexes) segments, decoded by a pool of threads."""
    with ThreadPoolExecutor(max(1, num_threads)) as pool:
        return list(pool.map(lambda segment: decode(segment[0], segment[1], tables), segments))


def _vector(name: str, values: ArrayLike, dtype: type[np.integer], low: int, high: int) -> np.ndarray:
    """``values`` as a contiguous vector of ``dtype``, checked to lie in low..high."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise UsageError(f"entropy coder: {name} must be a vector of integers, got {array.dtype} {array.shape}")
    bounds = np.iinfo(array.dtype) if array.size else None
    if bounds is not None and (bounds.min < low or bounds.max > high):
        least, most = int(array.min()) if bounds.min < low else low, int(array.max())
        if least < low or most > high:
            raise UsageError(f"entropy coder: {name} {least}..{most} leave {low}..{high}; check the choice of tables")
    return np.require(array, dtype, ["C", "A", "W"])  # one array type, so that each kernel is compiled once


def _encode_lanes(symbols: np.ndarray, indexes: np.ndarray, tables: CdfTables, num_lanes: int) -> bytes:
    """The stream with a given number of states: heads, then words."""
    words = np.empty(MAX_WORDS_PER_SYMBOL * len(symbols) + NUM_LANES + 1, np.uint16)
    states = np.full(NUM_LANES, LOWER, np.int64)
    position = int(_push_all(states, num_lanes, words, indexes, tables.for_encoding, symbols))
    heads = [0] * num_lanes
    for lane in range(num_lanes - 1, -1, -1):
        state = int(states[lane])
        if state >= HEAD_LIMIT:
            position -= 1
            words[position] = state & 0xFFFF
            state >>= 16
        heads[lane] = state
    head_bytes = 3 if num_lanes == 1 and heads[0] < 1 << 24 else 4
    return b"".join(head.to_bytes(head_bytes, "little") for head in heads) + words[position:].astype("<u2").tobytes()


def open_stream(data: bytes) -> tuple[States, int, Words]:
    """The first states, how many of them count, and the words followed by zeros, so that no read leaves the array.

    For kernels that choose each symbol's table while they decode.

    Raises:
        DamagedPacket: no stream can begin so.
    """
    num_lanes = NUM_LANES if len(data) >= LANES_FROM_BYTES else 1
    head_bytes = 3 if num_lanes == 1 and len(data) % 2 else 4
    start = num_lanes * head_bytes
    if len(data) < start or (len(data) - start) % 2:
        raise DamagedPacket(f"entropy coder: no stream has {len(data)} bytes; the file is damaged")
    words = np.zeros((len(data) - start) // 2 + PADDING_WORDS, np.uint16)
    words[:-PADDING_WORDS] = np.frombuffer(data, "<u2", offset=start)
    states = np.full(NUM_LANES, LOWER, np.int64)
    position = 0
    for lane in range(num_lanes):
        state = int.from_bytes(data[lane * head_bytes : (lane + 1) * head_bytes], "little")
        if state < HEAD_LOWER or (num_lanes == 1 and head_bytes == 4 and state < 1 << 24):
            raise DamagedPacket("entropy coder: the stream opens with an impossible state; the file is damaged")
        if state < LOWER:
            state = state << 16 | int(words[position])
            position += 1
        states[lane] = state
    if position > len(words) - PADDING_WORDS:
        raise DamagedPacket(f"entropy coder: {len(data)} bytes end inside the first state; the file is damaged")
    # The words that opened the states are spent: the kernel starts behind them.
    return states, num_lanes, words[position:]


@compiled
def _push_bits(state: Integer, value: Integer, num_bits: Integer) -> tuple[Integer, Integer, Integer]:
    """Code ``num_bits`` (1..16) plain bits, a symbol of frequency 2^(16 - num_bits). Gives state, word and spills."""
    shift = 16 - num_bits
    word = state & 0xFFFF
    spilled = state >= LOWER << shift
    if spilled:
        state >>= 16
    return ((state >> shift) << 16) + (value << shift) + (state & ((1 << shift) - 1)), word, np.int64(spilled)


@compiled
def _push_escape(state: Integer, side: Integer, distance: Integer) -> tuple[Integer, Integer, Integer]:
    """Code the side (0 below, 1 above) and the distance (1 for the nearest symbol outside), last part first.

    Gives the state, the words that it spilled (first in the low bits) and their number.
    """
    length = 0
    while distance >> (length + 1):
        length += 1
    rest = distance - (1 << length)
    words, count = 0, 0
    if length > 0:
        state, words, count = _push_bits(state, rest & ((1 << min(length, 16)) - 1), min(length, 16))
    if length > 16:
        state, word, spilled = _push_bits(state, rest >> 16, length - 16)
        words = (word << 16 | words) if count else word
        count += spilled
    state, word, spilled = _push_bits(state, 2 * length + side, 6)
    return state, word << (16 * count) | (words & ((1 << (16 * count)) - 1)), count + spilled


@compiled
def _push_all(
    states: States, num_lanes: Integer, words: Words, indexes: np.ndarray, tables: EncodeTables, symbols: np.ndarray
) -> Integer:
    """Code all symbols, last first; symbol i belongs to state i modulo their number. Returns the first word's place.

    The step is a closure because numba copies its body without counting references to the arrays again.
    """
    geometry, rows = tables.geometry, tables.packed

    def push(state: Integer, position: Integer, i: Integer) -> tuple[Integer, Integer]:
        table = np.uint64(4 * np.int64(indexes[i]))
        size = np.int64(geometry[table + np.uint64(1)])
        entry = np.int64(symbols[i]) - np.int64(geometry[table])
        if entry < 0 or entry >= size:
            side = np.int64(entry >= 0)
            state, spill, count = _push_escape(state, side, entry - size + 1 if side else -entry)
            for _ in range(count):
                position -= 1
                words[np.uint64(position)] = spill & 0xFFFF
                spill >>= 16
            entry = size
        row = rows[np.uint64(np.int64(geometry[table + np.uint64(2)]) + entry)]
        frequency = np.int64(row & np.uint64(0xFFFFFFFF))
        words[np.uint64(position - 1)] = state & 0xFFFF
        full = state >= frequency * LOWER
        position -= full
        state = state >> 16 if full else state
        quotient = np.int64(np.float64(state) / np.float64(frequency))  # exact: see docs/format-coder.md
        state += np.int64(row >> np.uint64(32)) + quotient * (TOTAL - frequency)
        return state, position

    position = len(words)
    groups = len(symbols) // 4 if num_lanes == 4 else 0
    for i in range(len(symbols) - 1, 4 * groups - 1, -1):
        lane = i & (num_lanes - 1)
        states[lane], position = push(states[lane], position, i)
    a, b, c, d = states[0], states[1], states[2], states[3]
    for group in range(groups - 1, -1, -1):
        i = 4 * group
        d, position = push(d, position, i + 3)
        c, position = push(c, position, i + 2)
        b, position = push(b, position, i + 1)
        a, position = push(a, position, i)
    states[0], states[1], states[2], states[3] = a, b, c, d
    return position


@compiled
def pull_bits(state: Integer, num_bits: Integer, ahead: Integer) -> tuple[Integer, Integer, Integer, Integer]:
    """Read ``num_bits`` (1..16) plain bits. Gives the value, the state, the words still ahead and the words read."""
    shift = 16 - num_bits
    value = (state & 0xFFFF) >> shift
    state = ((state >> 16) << shift) + (state & ((1 << shift) - 1))
    if state < LOWER:
        return value, state << 16 | (ahead & 0xFFFF), ahead >> 16, 1
    return value, state, ahead, 0


@compiled
def _pull_escape(state: Integer, ahead: Integer) -> tuple[Integer, Integer, Integer, Integer]:
    """Read the side and the distance of an escaped symbol from the state and the three words ahead.

    Gives side, distance, state and the number of words read.
    """
    head, state, ahead, count = pull_bits(state, 6, ahead)
    length = head >> 1
    distance = 1
    if length > 16:
        value, state, ahead, refilled = pull_bits(state, length - 16, ahead)
        distance = distance << (length - 16) | value
        count += refilled
    if length > 0:
        value, state, ahead, refilled = pull_bits(state, min(length, 16), ahead)
        distance = distance << min(length, 16) | value
        count += refilled
    return head & 1, distance, state, count


@compiled
def _pull_all(
    states: States, num_lanes: Integer, words: Words, indexes: np.ndarray, tables: DecodeTables, symbols: np.ndarray
) -> Integer:
    """Decode all symbols, or stop behind the last word. Returns the number of words read; the words end with padding.

    A symbol reads at most four words and four symbols are decoded between two looks at the limit, so no read leaves the
    padding. The step is a closure as in ``_push_all``.
    """
    low, bias, first, coarse = tables.low, tables.bias, tables.first, tables.coarse
    limit = len(words) - PADDING_WORDS

    def pull(state: Integer, position: Integer, i: Integer) -> tuple[Integer, Integer]:
        index = np.int64(indexes[i])
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
        symbol = np.int64(row) - bias[np.uint64(index)]
        if end == TOTAL:  # only the escape, the last entry, ends there
            ahead = np.int64(words[position]) | np.int64(words[position + 1]) << 16
            ahead |= np.int64(words[position + 2]) << 32
            side, distance, state, count = _pull_escape(state, ahead)
            position += count
            symbol = symbol - 1 + distance if side else np.int64(low[index]) - distance
            if symbol < INT32_MIN or symbol > INT32_MAX:
                position = limit + 1
        symbols[i] = symbol
        return state, position

    position = 0
    groups = len(symbols) // 4 if num_lanes == 4 else 0
    a, b, c, d = states[0], states[1], states[2], states[3]
    for group in range(groups):
        i = 4 * group
        a, position = pull(a, position, i)
        b, position = pull(b, position, i + 1)
        c, position = pull(c, position, i + 2)
        d, position = pull(d, position, i + 3)
        if position > limit:
            return position
    states[0], states[1], states[2], states[3] = a, b, c, d
    for i in range(4 * groups, len(symbols)):
        lane = i & (num_lanes - 1)
        states[lane], position = pull(states[lane], position, i)
        if position > limit:
            return position
    return position
