"""The bytes of a file that were fetched last, so that small reads in a row cost one."""

from __future__ import annotations

from smalto.bits.byte_source import ByteSource

WINDOW_BYTES = 1 << 24
"""At most this much is fetched ahead in one read."""
FIRST_READ_BYTES = 4096


class ByteWindow:
    """A stretch of a source that is held in memory.

    Args:
        source: where the bytes come from.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._start, self._data = 0, b""

    def head(self, length: int) -> bytes:
        """Hold the first ``length`` bytes, or 4096 if those are more; all that are held, fewer where the file ends."""
        if not self._holds(0, length):
            self._start, self._data = 0, self._source.read(0, max(length, FIRST_READ_BYTES))
        return self._data

    def fetch(self, first: int, length: int, end: int) -> None:
        """Hold at least ``length`` bytes from ``first`` on, and more towards ``end``, up to 16 MiB."""
        if not self._holds(first, length):
            self._start, self._data = 0, b""  # not both stretches at once
            self._start, self._data = first, self._source.read(first, max(length, min(end - first, WINDOW_BYTES)))

    def read(self, first: int, length: int) -> memoryview:
        """``length`` bytes from ``first`` on, fewer where the file ends; they are read anew unless they are held."""
        if self._holds(first, length):
            return memoryview(self._data)[first - self._start : first - self._start + length]
        return memoryview(self._source.read(first, length))

    def _holds(self, first: int, length: int) -> bool:
        return self._start <= first and first + length <= self._start + len(self._data)


def missing_bytes(first: int, end: int) -> str:
    """What a message says of bytes first .. end - 1 behind the end of a file that is cut short."""
    return f"bytes {first}-{end - 1} are missing, the file is cut short; fetch it whole again"
