"""The entropy coder once more, in plain Python integers: slow, short, and byte for byte the same as ``rans``.

It is the oracle of the tests and follows docs/format-coder.md step by step; nothing in the library runs it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from smalto.bits.cdf import ESCAPE_HEAD_BITS, INT32_MAX, INT32_MIN, PROBABILITY_BITS, TOTAL, CdfTables
from smalto.errors import DamagedPacket, DecodeMismatch

LOWER = 1 << 18
LANES_FROM_BYTES = 4096
NUM_LANES = 4


class ReferenceTable:
    """One table: its first symbol, its size, and the first slot of every entry with 65536 behind them."""

    def __init__(self, tables: CdfTables, k: int) -> None:
        row = sum(int(size) + 1 for size in tables.size[:k])
        self.low, self.size = int(tables.low[k]), int(tables.size[k])
        frequencies = [int(f) for f in tables.frequency[row : row + self.size + 1]]
        self.first = [0, *accumulate(frequencies)]

    def interval(self, entry: int) -> tuple[int, int]:
        """First slot and frequency of an entry."""
        return self.first[entry], self.first[entry + 1] - self.first[entry]


def encode_reference(symbols: Sequence[int], indexes: Sequence[int], tables: CdfTables) -> bytes:
    """What ``rans.encode`` returns for in-range arguments."""
    if not symbols:
        return b""
    intervals = list(_symbol_intervals(symbols, indexes, tables))
    interleaved = _encode_lanes(intervals, NUM_LANES)
    if len(interleaved) >= LANES_FROM_BYTES:
        return interleaved
    single = _encode_lanes(intervals, 1)
    return single if len(single) < LANES_FROM_BYTES else interleaved.ljust(LANES_FROM_BYTES, b"\0")


def decode_reference(data: bytes, indexes: Sequence[int], tables: CdfTables) -> list[int]:
    """What ``rans.decode`` returns or raises for in-range indexes."""
    if not indexes:
        if data:
            raise DamagedPacket("bytes where no symbols are stored")
        return []
    reader = _Reader(data)
    views = {k: ReferenceTable(tables, k) for k in set(indexes)}
    symbols = [reader.symbol(i, views[k]) for i, k in enumerate(indexes)]
    reader.finish()
    return symbols


def _symbol_intervals(
    symbols: Sequence[int], indexes: Sequence[int], tables: CdfTables
) -> Iterator[list[tuple[int, int]]]:
    """For each symbol the (first slot, frequency) of everything the decoder reads for it, in the decoder's order."""
    views = {k: ReferenceTable(tables, k) for k in set(indexes)}
    for symbol, k in zip(symbols, indexes, strict=True):
        table = views[k]
        entry = symbol - table.low
        if 0 <= entry < table.size:
            yield [table.interval(entry)]
            continue
        side, distance = (0, -entry) if entry < 0 else (1, entry - table.size + 1)
        length = distance.bit_length() - 1
        rest = distance - (1 << length)
        parts = [table.interval(table.size), _bits(2 * length + side, ESCAPE_HEAD_BITS)]
        if length > 16:
            parts.append(_bits(rest >> 16, length - 16))
        if length > 0:
            parts.append(_bits(rest & 0xFFFF, min(length, 16)))
        yield parts


def _bits(value: int, num_bits: int) -> tuple[int, int]:
    frequency = 1 << (PROBABILITY_BITS - num_bits)
    return value * frequency, frequency


def _encode_lanes(intervals: list[list[tuple[int, int]]], num_lanes: int) -> bytes:
    states = [LOWER] * num_lanes
    words: list[int] = []  # in the order of writing, which is the reverse of the stream's
    for i in range(len(intervals) - 1, -1, -1):
        state = states[i % num_lanes]
        for first, frequency in reversed(intervals[i]):
            if state >= frequency * LOWER:
                words.append(state % TOTAL)
                state //= TOTAL
            state = state // frequency * TOTAL + first + state % frequency
        states[i % num_lanes] = state
    for lane in range(num_lanes - 1, -1, -1):
        if states[lane] >= 1 << 32:
            words.append(states[lane] % TOTAL)
            states[lane] //= TOTAL
    head_bytes = 3 if num_lanes == 1 and states[0] < 1 << 24 else 4
    heads = [state.to_bytes(head_bytes, "little") for state in states]
    return b"".join(heads + [word.to_bytes(2, "little") for word in reversed(words)])


class _Reader:
    """The states, the stream, and the place in it."""

    def __init__(self, data: bytes) -> None:
        num_lanes = NUM_LANES if len(data) >= LANES_FROM_BYTES else 1
        head_bytes = 3 if num_lanes == 1 and len(data) % 2 else 4
        self.data = data
        self.place = num_lanes * head_bytes
        if len(data) < self.place or (len(data) - self.place) % 2:
            raise DamagedPacket("no stream has this length")
        self.states = []
        heads = [data[lane * head_bytes : (lane + 1) * head_bytes] for lane in range(num_lanes)]
        for head in heads:
            state = int.from_bytes(head, "little")
            if state < 1 << 16 or (num_lanes == 1 and head_bytes == 4 and state < 1 << 24):
                raise DamagedPacket("impossible first state")
            if state < LOWER:
                if self.place == len(data):
                    raise DamagedPacket("the stream ends in its first state")
                state = state << 16 | self.word()
            self.states.append(state)

    def word(self) -> int:
        if self.place + 2 > len(self.data):
            raise DecodeMismatch("the stream ends too early")
        self.place += 2
        return int.from_bytes(self.data[self.place - 2 : self.place], "little")

    def step(self, lane: int, first: int, frequency: int) -> None:
        state = self.states[lane]
        state = frequency * (state // TOTAL) + state % TOTAL - first
        self.states[lane] = state if state >= LOWER else state << 16 | self.word()

    def bits(self, lane: int, num_bits: int) -> int:
        value = self.states[lane] % TOTAL >> (PROBABILITY_BITS - num_bits)
        self.step(lane, *_bits(value, num_bits))
        return value

    def symbol(self, i: int, table: ReferenceTable) -> int:
        lane = i % len(self.states)
        entry = bisect_right(table.first, self.states[lane] % TOTAL) - 1
        self.step(lane, *table.interval(entry))
        if entry < table.size:
            return table.low + entry
        head = self.bits(lane, ESCAPE_HEAD_BITS)
        length, side = head >> 1, head & 1
        distance = 1
        if length > 16:
            distance = distance << (length - 16) | self.bits(lane, length - 16)
        if length > 0:
            distance = distance << min(length, 16) | self.bits(lane, min(length, 16))
        symbol = table.low + table.size - 1 + distance if side else table.low - distance
        if not INT32_MIN <= symbol <= INT32_MAX:
            raise DecodeMismatch("an escaped symbol is beyond int32")
        return symbol

    def finish(self) -> None:
        rest = self.data[self.place :]
        filled = len(self.data) == LANES_FROM_BYTES and not any(rest)
        if (rest and not filled) or any(state != LOWER for state in self.states):
            raise DecodeMismatch("the coder does not end in its first state")
