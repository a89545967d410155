"""A window over a source: the same bytes as the source gives, in fewer reads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smalto.bits import byte_window
from smalto.bits.byte_source import open_source
from smalto.bits.byte_window import ByteWindow, missing_bytes

DATA = bytes(range(256)) * 40


class _Counted:
    """A source that tells how often it was read."""

    def __init__(self) -> None:
        self.source, self.reads = open_source(DATA), 0
        self.name, self.size = self.source.name, self.source.size

    def read(self, offset: int, length: int) -> bytes:
        self.reads += 1
        return self.source.read(offset, length)

    def close(self) -> None:
        self.source.close()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12000), st.integers(0, 12000)), max_size=20))
def test_bytes_are_those_of_the_source(asked: list[tuple[bool, int, int]]) -> None:
    window = ByteWindow(_Counted())
    for is_fetched, first, length in asked:
        if is_fetched:
            window.fetch(first, length, first + length + 500)
        assert bytes(window.read(first, length)) == DATA[first : first + length]


def test_what_is_held_is_not_read_again() -> None:
    source = _Counted()
    window = ByteWindow(source)
    assert window.head(byte_window.FIRST_READ_BYTES) == DATA[:4096]
    assert window.head(100)[:100] == DATA[:100]
    assert bytes(window.read(50, 200)) == DATA[50:250]
    assert source.reads == 1
    assert window.head(5000) == DATA[:5000]
    window.fetch(6000, 10, 9000)
    assert bytes(window.read(8000, 1000)) == DATA[8000:9000]
    assert source.reads == 3
    assert bytes(window.read(100, 5)) == DATA[100:105]
    assert bytes(window.read(8999, 1)) == DATA[8999:9000]
    assert source.reads == 4


def test_the_end_is_told() -> None:
    window = ByteWindow(_Counted())
    assert bytes(window.read(len(DATA) - 3, 10)) == DATA[-3:]
    assert missing_bytes(7, 12) == "bytes 7-11 are missing, the file is cut short; fetch it whole again"
