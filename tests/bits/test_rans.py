"""The entropy coder: round trips, the oracle's bytes, the size of streams, and what damage does."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto.bits import rans
from smalto.bits.cdf import CdfTables, cross_entropy_bits, gaussian_scales, gaussian_tables, tables_from_pmfs
from smalto.bits.rans import LANES_FROM_BYTES, decode, decode_many, encode, encode_many
from smalto.bits.reference import decode_reference, encode_reference
from smalto.errors import DamagedPacket, DecodeMismatch, PacketError, UsageError

INT32 = st.one_of(
    st.integers(-4, 4), st.integers(-300, 300), st.integers(-(2**31), 2**31 - 1), st.sampled_from([-(2**31), 2**31 - 1])
)
MASSES = st.tuples(
    st.one_of(st.integers(-6, 2), st.sampled_from([-(2**31), 2**31 - 12])),
    st.lists(st.floats(0, 1), min_size=1, max_size=12).map(lambda masses: [*masses[:-1], masses[-1] + 1e-6]),
    st.floats(0, 0.5),
)


def photograph_like(num_symbols: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and indexes with the spread of scales that a hyperprior gives."""
    generator = np.random.default_rng(seed)
    indexes = np.clip(np.rint(generator.normal(8, 10, num_symbols)), 0, 63).astype(np.uint8)
    symbols = np.rint(generator.normal(0, 1, num_symbols) * gaussian_scales()[indexes]).astype(np.int32)
    return symbols, indexes


@given(st.data())
def test_round_trip_and_oracle(data: st.DataObject) -> None:
    tables = tables_from_pmfs(data.draw(st.lists(MASSES, min_size=1, max_size=5)))
    pairs = data.draw(st.lists(st.tuples(INT32, st.integers(0, tables.num_tables - 1)), max_size=80))
    symbols, indexes = [s for s, _ in pairs], [k for _, k in pairs]
    stream = encode(symbols, indexes, tables)
    assert decode(stream, indexes, tables).tolist() == symbols
    assert stream == encode_reference(symbols, indexes, tables)
    assert decode_reference(stream, indexes, tables) == symbols


@pytest.mark.parametrize("num_symbols", [5000, 5001, 5002, 5003, 20000])
def test_interleaved_streams_match_the_oracle(num_symbols: int) -> None:
    generator = np.random.default_rng(num_symbols)
    indexes = generator.integers(30, 64, num_symbols).astype(np.uint8)
    symbols = np.rint(generator.normal(0, 2, num_symbols) * gaussian_scales()[indexes]).astype(np.int32)
    symbols[:: num_symbols // 7] = generator.integers(-(2**31), 2**31, len(symbols[:: num_symbols // 7]))
    stream = encode(symbols, indexes, gaussian_tables())
    assert len(stream) >= LANES_FROM_BYTES
    assert stream == encode_reference(symbols.tolist(), indexes.tolist(), gaussian_tables())
    assert np.array_equal(decode(stream, indexes, gaussian_tables()), symbols)
    assert decode_reference(stream, indexes.tolist(), gaussian_tables()) == symbols.tolist()


def test_every_length_around_the_change_of_lanes() -> None:
    """Streams of one state and of four meet at 4096 bytes; every count of symbols there comes back."""
    generator = np.random.default_rng(5)
    indexes = np.full(5000, 50, np.uint8)
    symbols = np.rint(generator.normal(0, gaussian_scales()[50], 5000)).astype(np.int32)
    lengths = []
    for count in range(4190, 4270):
        stream = encode(symbols[:count], indexes[:count], gaussian_tables())
        lengths.append(len(stream))
        assert np.array_equal(decode(stream, indexes[:count], gaussian_tables()), symbols[:count])
    assert min(lengths) < LANES_FROM_BYTES < max(lengths)


def test_a_short_interleaved_stream_is_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should one state need 4096 bytes where four need fewer, zeros fill the stream and the decoder accepts them."""
    symbols, indexes = photograph_like(3000)
    tables = gaussian_tables()
    interleaved = rans._encode_lanes(symbols, indexes.astype(np.uint16), tables, 4)
    filled = interleaved.ljust(LANES_FROM_BYTES, b"\0")
    assert len(interleaved) < LANES_FROM_BYTES
    assert np.array_equal(decode(filled, indexes, tables), symbols)
    assert decode_reference(filled, indexes.tolist(), tables) == symbols.tolist()
    for wrong in (filled + b"\0\0", filled[:-1] + b"\1"):
        with pytest.raises(DecodeMismatch):
            decode(wrong, indexes, tables)
    original = rans._encode_lanes
    monkeypatch.setattr(
        rans, "_encode_lanes", lambda s, i, t, lanes: original(s, i, t, lanes).ljust(4096 if lanes == 1 else 0, b"\1")
    )
    assert encode(symbols, indexes, tables) == filled


def test_the_format_page_s_example() -> None:
    """The bytes of docs/format-coder.md's example, which every later version must read."""
    page = (Path(__file__).parents[2] / "docs" / "format-coder.md").read_text()
    stream = bytes.fromhex("".join(re.findall(r"^((?:[0-9a-f]{2} )+)   +(?:head|word)", page, flags=re.MULTILINE)))
    tables = CdfTables(np.array([-1, 5]), np.array([3, 1]), np.array([16384, 32768, 8192, 8192, 65535, 1]))
    symbols, indexes = [0, 5, 1, -3, 0, 70000], [0, 1, 0, 0, 0, 1]
    assert stream == bytes.fromhex("16858fff0b6b850000")
    assert decode(stream, indexes, tables).tolist() == symbols
    assert encode(symbols, indexes, tables) == stream


def test_an_interleaved_stream_keeps_its_bytes() -> None:
    k = np.arange(6000)
    symbols, indexes = ((k * k * 7919 + k * 104729) % 2001 - 1000) // (1 + k % 37), 63 - k % 37
    stream = encode(symbols, indexes, gaussian_tables())
    assert len(stream) == 6566
    assert hashlib.sha256(stream).hexdigest() == "8c8534873d4ab0c5628810d3fed0d7a3c87f65720fcec319eab4d1e711449d0e"


def test_no_symbols() -> None:
    assert encode([], [], gaussian_tables()) == b""
    empty = decode(b"", [], gaussian_tables())
    assert empty.shape == (0,)
    assert empty.dtype == np.int32
    with pytest.raises(DamagedPacket):
        decode(b"\0", [], gaussian_tables())


@pytest.mark.parametrize("symbol", [0, 1, -1, 5, 2**31 - 1, -(2**31)])
def test_one_symbol_and_one_value(symbol: int) -> None:
    tables = tables_from_pmfs([(1, [1.0], 0.0)])
    stream = encode([symbol], [0], tables)
    assert len(stream) <= 10
    assert decode(stream, [0], tables).tolist() == [symbol]


def test_a_certain_symbol_costs_almost_nothing() -> None:
    tables = tables_from_pmfs([(7, [1.0], 0.0)])
    assert len(encode(np.full(100_000, 7), np.zeros(100_000, np.uint8), tables)) <= 4


@pytest.mark.parametrize("low", [-(2**31), 2**31 - 1 - 65534])
def test_the_widest_alphabet_at_the_ends_of_int32(low: int) -> None:
    tables = CdfTables(np.array([low]), np.array([65535]), np.ones(65536, np.uint16))
    symbols = np.array([low, low + 65534, 0, -(2**31), 2**31 - 1, low + 255, low + 256])
    stream = encode(symbols, np.zeros(7, np.uint16), tables)
    assert decode(stream, np.zeros(7, np.uint16), tables).tolist() == symbols.tolist()


def test_the_most_tables() -> None:
    count = 65536
    tables = CdfTables(np.arange(count), np.ones(count, np.int32), np.tile([65535, 1], count))
    indexes = np.arange(count)
    assert np.array_equal(decode(encode(indexes, indexes, tables), indexes, tables), indexes)


@pytest.mark.parametrize("num_symbols", [1, 10, 100, 1000, 5000])
def test_small_streams_stay_close_to_the_cross_entropy(num_symbols: int) -> None:
    for seed in range(20):
        symbols, indexes = photograph_like(num_symbols, seed)
        stream = encode(symbols, indexes, gaussian_tables())
        assert len(stream) < LANES_FROM_BYTES
        assert len(stream) - cross_entropy_bits(symbols, indexes, gaussian_tables()) / 8 < 6


def test_large_streams_stay_close_to_the_cross_entropy() -> None:
    symbols, indexes = photograph_like(900_000)
    ideal = cross_entropy_bits(symbols, indexes, gaussian_tables()) / 8
    assert ideal > 100_000
    assert len(encode(symbols, indexes, gaussian_tables())) < 1.001 * ideal


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, ">i4"])
def test_any_integer_array(dtype: str) -> None:
    symbols, indexes = photograph_like(500)
    expected = encode(symbols, indexes, gaussian_tables())
    frozen = indexes.astype(dtype)
    frozen.flags.writeable = False
    assert encode(symbols.astype(np.int64), frozen, gaussian_tables()) == expected
    assert encode(np.repeat(symbols, 2)[::2], np.repeat(frozen, 2)[::2], gaussian_tables()) == expected
    assert np.array_equal(decode(memoryview(bytearray(expected)), frozen, gaussian_tables()), symbols)


@pytest.mark.parametrize(
    ("symbols", "indexes"),
    [
        ([0], [64]),
        ([0], [-1]),
        ([0, 0], [0]),
        ([2**31], [0]),
        ([-(2**31) - 1], [0]),
        ([0.5], [0]),
        ([0], [0.0]),
        ([[0]], [[0]]),
    ],
)
def test_wrong_calls_are_named(symbols: list[int], indexes: list[int]) -> None:
    with pytest.raises(UsageError, match="entropy coder"):
        encode(symbols, indexes, gaussian_tables())


@pytest.mark.parametrize("indexes", [[64], [-1], [0.5], [[0]]])
def test_wrong_indexes_are_named_when_decoding(indexes: list[int]) -> None:
    with pytest.raises(UsageError, match="entropy coder"):
        decode(b"\0\0\4", indexes, gaussian_tables())


@pytest.mark.parametrize("stream", [b"", b"\0", b"\0\0", b"\0\0\0", b"\xff\xff\0", b"\0\0\4\0", b"\0\0\1"])
def test_impossible_heads_are_damage(stream: bytes) -> None:
    with pytest.raises(DamagedPacket):
        decode(stream, [0], gaussian_tables())
    with pytest.raises(DamagedPacket):
        decode_reference(stream, [0], gaussian_tables())


def outcome(stream: bytes, indexes: np.ndarray, oracle: bool = False) -> list[int] | type[PacketError]:
    try:
        if oracle:
            return decode_reference(stream, indexes.tolist(), gaussian_tables())
        return decode(stream, indexes, gaussian_tables()).tolist()
    except PacketError as error:
        return type(error)


@settings(max_examples=200)
@given(st.binary(max_size=60), st.lists(st.integers(0, 63), max_size=60))
def test_random_bytes_decode_or_are_named_like_the_oracle(stream: bytes, indexes: list[int]) -> None:
    assert outcome(stream, np.array(indexes, int)) == outcome(stream, np.array(indexes, int), oracle=True)


@pytest.mark.parametrize("num_symbols", [40, 12_000])
def test_damage_is_named_like_the_oracle_or_gives_other_symbols(num_symbols: int) -> None:
    """A flipped bit, a cut or an insertion: a named error, or other symbols, the same as the oracle's."""
    generator = np.random.default_rng(num_symbols)
    indexes = generator.integers(20, 60, num_symbols)
    symbols = np.rint(generator.normal(0, 1.5, num_symbols) * gaussian_scales()[indexes]).astype(np.int32)
    stream = encode(symbols, indexes, gaussian_tables())
    assert (len(stream) >= LANES_FROM_BYTES) == (num_symbols > 1000)
    named = 0
    for round_ in range(60 if num_symbols < 1000 else 6):
        place = int(generator.integers(len(stream)))
        flipped = bytearray(stream)
        flipped[place] ^= 1 << int(generator.integers(8))
        for broken in (bytes(flipped), stream[:place], stream[:place] + b"\x80" + stream[place:], stream + stream[:2]):
            result = outcome(broken, indexes)
            assert result != symbols.tolist(), round_
            assert result == outcome(broken, indexes, oracle=True)
            named += isinstance(result, type)
    assert named > 0


def test_other_indexes_are_a_mismatch() -> None:
    symbols, indexes = photograph_like(2000)
    stream = encode(symbols, indexes, gaussian_tables())
    shifted = indexes.copy()
    shifted[1000] ^= 1
    with pytest.raises(DecodeMismatch):
        decode(stream, shifted, gaussian_tables())
    for count in (1999, 2001):
        with pytest.raises(DecodeMismatch):
            decode(stream, np.resize(indexes, count), gaussian_tables())


def test_segments_in_threads() -> None:
    segments = [photograph_like(n, n) for n in (0, 1, 300, 20_000, 7)]
    for num_threads in (1, 3):
        streams = encode_many(segments, gaussian_tables(), num_threads)
        assert streams == [encode(symbols, indexes, gaussian_tables()) for symbols, indexes in segments]
        stored = [(stream, indexes) for stream, (_, indexes) in zip(streams, segments, strict=True)]
        back = decode_many(stored, gaussian_tables(), num_threads)
        assert all(np.array_equal(a, symbols) for a, (symbols, _) in zip(back, segments, strict=True))


def test_kernels_are_compiled_once() -> None:
    """Every call above used one signature, decoding one a width of the start table: others would compile again."""
    encode([0], [0], gaussian_tables())
    assert len(rans._push_all.signatures) <= 1
    assert len(rans._pull_all.signatures) <= 2
