"""Random access to bytes that are in memory, in a file, in a pipe, or behind an HTTP server."""

from __future__ import annotations

import io
import tempfile
import threading
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from smalto.errors import DamagedPacket, LimitExceeded, SmaltoError, UsageError

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.request import OpenerDirector

FIRST_REQUEST_BYTES = 4096
HTTP_TIMEOUT_S = 30.0
MAX_SPOOLED_BYTES = 1 << 30
_IN_MEMORY_BYTES = 1 << 23
_BLOCK_BYTES = 1 << 16

Openable = bytes | bytearray | memoryview | str | Path | BinaryIO


class ByteSource(Protocol):
    """Bytes that can be read from any place.

    Attributes:
        name: what to call them in messages.
        size: how many there are, or None while that is not known.
    """

    name: str
    size: int | None

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset`` on, fewer only where the bytes end."""
        ...

    def close(self) -> None:
        """Give back what the source itself opened."""
        ...


class MemorySource:
    """Bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview, name: str = "packet") -> None:
        self.name = name
        self._view = memoryview(data).cast("B")
        self.size: int | None = len(self._view)

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset`` on, fewer at the end."""
        return bytes(self._view[offset : offset + length])

    def close(self) -> None:
        """Nothing to give back."""


class FileSource:
    """A seekable binary file; reads are serialised, so threads may share it.

    Args:
        stream: the open file.
        name: what to call it in messages.
        owned: close the stream with the source.
    """

    def __init__(self, stream: BinaryIO, name: str, owned: bool) -> None:
        self.name = name
        self._stream = stream
        self._owned = owned
        self._lock = threading.Lock()
        self._start = 0 if owned else stream.tell()
        self.size: int | None = max(stream.seek(0, io.SEEK_END) - self._start, 0)
        stream.seek(self._start)

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset`` on, fewer at the end."""
        length = max(min(length, (self.size or 0) - offset), 0)
        parts: list[bytes] = []
        try:
            with self._lock:
                self._stream.seek(self._start + offset)
                while length > 0 and (part := self._stream.read(length)):
                    parts.append(part)
                    length -= len(part)
        except OSError as error:
            raise SmaltoError(f"{self.name}: cannot be read ({error.strerror}); try again") from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close the file when the source opened it."""
        if self._owned:
            self._stream.close()


def spool(stream: BinaryIO, name: str, max_bytes: int = MAX_SPOOLED_BYTES) -> FileSource:
    """A stream that cannot seek, copied to a temporary file (in memory while under 8 MiB).

    Raises:
        LimitExceeded: the stream is longer than ``max_bytes``.
    """
    kept = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - the source closes it
    total = 0
    try:
        while block := stream.read(_BLOCK_BYTES):
            total += len(block)
            if total > max_bytes:
                raise LimitExceeded(
                    f"{name}: more than {max_bytes} bytes arrive; save the file and open it by its path"
                )
            kept.write(block)
    except BaseException:
        kept.close()
        raise
    return FileSource(kept, name, owned=True)  # pyright: ignore[reportArgumentType]


class HttpSource:
    """A file behind an HTTP server, read by Range requests.

    The first request asks for 4 KiB: whole small files and nearly every header come with it. A server that ignores
    Range sends everything, which is then kept in a temporary file and read from there.

    Args:
        url: http:// or https://.
        timeout_s: longest wait for the server.
        max_bytes: most to keep of a server that ignores Range.

    Raises:
        SmaltoError: the server cannot be reached or answers with an error.
    """

    def __init__(self, url: str, timeout_s: float = HTTP_TIMEOUT_S, max_bytes: int = MAX_SPOOLED_BYTES) -> None:
        self.name = url
        self.size: int | None = None
        self.num_requests = 0
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._tag: str | None = None
        self._whole: FileSource | None = None
        self._opener = _http_opener()
        self._head = self._request(0, FIRST_REQUEST_BYTES)

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset`` on, fewer at the end."""
        if self.size is not None:
            length = max(min(length, self.size - offset), 0)
        if self._whole is not None:
            return self._whole.read(offset, length)
        if length == 0 or offset + length <= len(self._head):
            return self._head[offset : offset + length]
        return self._request(offset, length)

    def close(self) -> None:
        """Drop what was kept."""
        if self._whole is not None:
            self._whole.close()

    def _request(self, offset: int, length: int) -> bytes:
        from urllib.error import HTTPError, URLError
        from urllib.request import Request

        fields = {"Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity"}
        self.num_requests += 1
        try:
            request = Request(self.name, headers=fields)
            with self._opener.open(request, timeout=self._timeout_s) as response:
                return self._answer(response, offset, length)
        except HTTPError as error:
            with error:
                if error.code == 416 and (offset == 0 or self.size is None):
                    self.size = 0 if offset == 0 else None
                    return b""
            raise SmaltoError(
                f"{self.name}: the server answers {error.code} {error.reason}; check the address"
            ) from error
        except SmaltoError:
            raise
        except (URLError, OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise SmaltoError(
                f"{self.name}: cannot be fetched ({reason}); check the address and the network"
            ) from error

    def _answer(self, response: HTTPResponse, offset: int, length: int) -> bytes:
        tag = response.headers.get("ETag")
        if response.status != 206:
            if self.size is not None or self._head_known():
                raise DamagedPacket(f"{self.name}: the server stopped sending ranges while reading; fetch it whole")
            self._whole = spool(response, self.name, self._max_bytes)  # pyright: ignore[reportArgumentType]
            self.size = self._whole.size
            return self._whole.read(offset, length)
        start, total = _content_range(response.headers.get("Content-Range"), self.name)
        if start != offset:
            raise SmaltoError(
                f"{self.name}: the server sends bytes from {start}, not {offset}; save the file and open that"
            )
        if self._head_known() and (tag != self._tag or total != self.size):
            raise DamagedPacket(f"{self.name}: the file changed on the server while it was read; open it again")
        self._tag, self.size = tag, total
        return _read_fully(response, length)

    def _head_known(self) -> bool:
        return self.num_requests > 1


def _http_opener() -> OpenerDirector:
    """An opener for http and https alone: a redirection cannot lead to files or other protocols."""
    from urllib import request

    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.UnknownHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPRedirectHandler(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _content_range(field: str | None, name: str) -> tuple[int, int | None]:
    """First byte and whole size from ``bytes 0-99/1234`` (size None when ``*``)."""
    try:
        unit, _, rest = (field or "").strip().partition(" ")
        span, _, total = rest.partition("/")
        if unit.lower() != "bytes":
            raise ValueError(unit)
        return int(span.partition("-")[0]), None if total == "*" else int(total)
    except ValueError as error:
        raise SmaltoError(
            f"{name}: the server's Content-Range {field!r} makes no sense; save the file and open that"
        ) from error


def _read_fully(stream: HTTPResponse, length: int) -> bytes:
    parts: list[bytes] = []
    while length > 0 and (part := stream.read(min(length, 1 << 20))):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _open_path(path: str | Path) -> FileSource:
    """A file by its name; a named pipe is copied first."""
    try:
        stream = open(path, "rb")  # noqa: SIM115 - the source closes it
        if stream.seekable():
            return FileSource(stream, str(path), owned=True)
        with stream:
            return spool(stream, str(path))
    except SmaltoError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SmaltoError(f"{path}: cannot be opened ({reason}); check the path") from error


def open_source(target: Openable) -> ByteSource:
    """The source for bytes, a path, an http(s) URL, or a binary file object (copied first when it cannot seek).

    Raises:
        SmaltoError: a file or server cannot be read.
        UsageError: the target is none of these.

    Example:
        >>> open_source(b"abcdef").read(2, 3)
        b'cde'
    """
    if isinstance(target, (bytes, bytearray, memoryview)):
        return MemorySource(target)
    if isinstance(target, str) and target.lower().startswith(("http://", "https://")):
        return HttpSource(target)
    if isinstance(target, (str, Path)):
        return _open_path(target)
    if isinstance(target, io.TextIOBase) or not callable(getattr(target, "read", None)):
        raise UsageError(f"a {type(target).__name__} cannot be opened; give bytes, a path, a URL or a binary file")
    name = getattr(target, "name", None)
    name = name if isinstance(name, str) else "stream"
    seekable = getattr(target, "seekable", None)
    if seekable is not None and seekable():
        return FileSource(target, name, owned=False)
    return spool(target, name)
