"""Bytes from memory, files, pipes, and HTTP servers with and without Range."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from smalto.bits.byte_source import FIRST_REQUEST_BYTES, HttpSource, MemorySource, open_source, spool
from smalto.bits.packet import PART_HYPER, PART_MAIN, Packet, PacketReader
from smalto.errors import DamagedPacket, LimitExceeded, NotAPacket, SmaltoError, UsageError
from tests.bits.packet_examples import LITE, TILES, section

DATA = bytes(range(256)) * 100
LARGE = Packet(
    height=4000,
    width=4000,
    spaces=(LITE,),
    sections=(section(PART_HYPER, (os.urandom(9_000),)), section(PART_MAIN, (os.urandom(50_000), os.urandom(60_000)))),
)


class Shelf(ThreadingHTTPServer):
    """A server of one file; ``mode`` says how it treats Range."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ShelfHandler)
        self.data = DATA
        self.mode = "ranges"
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        """Address of the file."""
        return f"http://127.0.0.1:{self.server_address[1]}/a.smalto"


class ShelfHandler(BaseHTTPRequestHandler):
    """Answers GET with the shelf's bytes."""

    server: Shelf

    def do_GET(self) -> None:
        """Serve the file, a range of it, or an error, as the shelf's mode asks."""
        shelf, asked = self.server, self.headers.get("Range")
        shelf.ranges.append(asked)
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname" if shelf.mode == "to file" else shelf.url)
            self.end_headers()
            return
        if shelf.mode == "gone":
            self.send_error(404)
            return
        if shelf.mode == "no ranges" or (shelf.mode == "forgetful" and len(shelf.ranges) > 1):
            self._answer(200, shelf.data)
            return
        first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) + 1, len(shelf.data))
        if start >= len(shelf.data):
            self.send_error(416)
            return
        if shelf.mode == "shifted":
            start += 1
        total = "*" if shelf.mode == "no size" else str(len(shelf.data))
        field = "nonsense" if shelf.mode == "nonsense" else f"bytes {start}-{stop - 1}/{total}"
        body = shelf.data[start:stop]
        self._answer(206, body[:-1] if shelf.mode == "cut" else body, field, len(body))

    def _answer(self, status: int, body: bytes, content_range: str | None = None, length: int | None = None) -> None:
        self.send_response(status)
        tag = f'"{len(self.server.ranges)}"' if self.server.mode == "changing" else '"same"'
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if content_range is not None:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Shelf()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def _memory(_: Path) -> object:
    return DATA


def _path(folder: Path) -> object:
    (folder / "a").write_bytes(DATA)
    return folder / "a"


def _later_in_a_stream(_: Path) -> object:
    stream = io.BytesIO(b"before" + DATA)
    stream.seek(6)
    return stream


class Pipe(io.RawIOBase):
    """A stream that cannot seek and gives little at a time."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(min(size, 1000) if size >= 0 else -1)

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("make", [_memory, _path, _later_in_a_stream, lambda _: Pipe(DATA)])
def test_every_source_reads_the_same(make: Callable[[Path], object], tmp_path: Path) -> None:
    source = open_source(make(tmp_path))  # type: ignore[arg-type]
    assert source.size == len(DATA)
    for offset, length in ((0, 10), (100, 5000), (len(DATA) - 3, 10), (len(DATA), 5), (len(DATA) + 9, 5), (7, 0)):
        assert source.read(offset, length) == DATA[offset : offset + length]
    source.close()


def test_a_named_pipe_is_copied_first(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(TILES.to_bytes(),))
    writer.start()
    with Packet.open(path) as reader:
        writer.join()
        assert reader.sections() == TILES.sections


def test_a_stream_is_bounded() -> None:
    with pytest.raises(LimitExceeded, match="more than 999 bytes"):
        spool(Pipe(DATA), "pipe", max_bytes=999)  # type: ignore[arg-type]
    source = spool(Pipe(DATA), "pipe", max_bytes=len(DATA))  # type: ignore[arg-type]
    assert source.size == len(DATA)
    source.close()


@pytest.mark.parametrize("target", [7, None, io.StringIO("text")])
def test_what_cannot_be_opened_is_named(target: object) -> None:
    with pytest.raises(UsageError, match="cannot be opened"):
        open_source(target)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["", "no/such/file", "a\0b", "."])
def test_paths_that_cannot_be_opened(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SmaltoError, match="cannot be opened"):
        open_source(path)


def test_memory_of_any_buffer() -> None:
    assert MemorySource(memoryview(DATA)[::1]).read(1, 3) == DATA[1:4]
    assert open_source(bytearray(b"abc")).size == 3


def test_http_reads_only_the_ranges_asked_for(shelf: Shelf) -> None:
    shelf.data = LARGE.to_bytes()
    with Packet.open(shelf.url) as reader:
        assert reader.header == LARGE.header
        assert shelf.ranges == ["bytes=0-4095"]
        assert reader.chunk(1, 1) == LARGE.sections[1].chunks[1]
        entry = LARGE.header.sections[1]
        first, length = reader.chunk_range(1, 1)
        lengths = f"bytes={entry.offset}-{entry.offset + 11}"
        assert shelf.ranges[1:] == [lengths, f"bytes={first}-{first + length + 3}"]
        assert reader.section(0) == LARGE.sections[0]
        assert len(shelf.ranges) == 4


def test_http_fetches_a_whole_file_in_two_requests(shelf: Shelf) -> None:
    shelf.data = LARGE.to_bytes()
    assert Packet.load(shelf.url) == LARGE
    assert len(shelf.ranges) == 2


def test_http_fetches_a_small_file_in_one_request(shelf: Shelf) -> None:
    shelf.data = TILES.to_bytes()
    assert Packet.load(shelf.url) == TILES
    assert len(shelf.ranges) == 1


def test_http_without_ranges_reads_everything_once(shelf: Shelf) -> None:
    shelf.data, shelf.mode = LARGE.to_bytes(), "no ranges"
    with Packet.open(shelf.url) as reader:
        assert reader.sections() == LARGE.sections
        assert reader.verify().healthy
    assert len(shelf.ranges) == 1


def test_http_without_a_size(shelf: Shelf) -> None:
    shelf.data, shelf.mode = LARGE.to_bytes() + b"more", "no size"
    reader = Packet.open(shelf.url)
    assert reader.section(0) == LARGE.sections[0]
    assert not reader.verify().healthy
    shelf.data = LARGE.to_bytes()
    assert Packet.load(shelf.url) == LARGE


def test_http_prefix_and_redirection(shelf: Shelf) -> None:
    shelf.data = LARGE.to_bytes()[:-1]
    with Packet.open(shelf.url.replace("a.smalto", "elsewhere")) as reader:
        assert reader.section(0) == LARGE.sections[0]
        assert not reader.is_present(1)
        with pytest.raises(DamagedPacket, match="are missing"):
            reader.section(1)


def test_http_redirection_to_a_file_is_refused(shelf: Shelf) -> None:
    shelf.mode = "to file"
    with pytest.raises(SmaltoError, match="elsewhere: "):
        open_source(shelf.url.replace("a.smalto", "elsewhere"))


@pytest.mark.parametrize(
    ("mode", "error", "message"),
    [
        ("gone", SmaltoError, "answers 404"),
        ("nonsense", SmaltoError, "makes no sense"),
        ("shifted", SmaltoError, "sends bytes from 1, not 0"),
        ("changing", DamagedPacket, "changed on the server"),
        ("forgetful", DamagedPacket, "stopped sending ranges"),
        ("cut", SmaltoError, "cannot be fetched|are missing|ends"),
    ],
)
def test_http_servers_that_misbehave(shelf: Shelf, mode: str, error: type[SmaltoError], message: str) -> None:
    shelf.data, shelf.mode = LARGE.to_bytes(), mode
    with pytest.raises(error, match=message) as caught:
        Packet.load(shelf.url)
    assert "\n" not in str(caught.value)


def test_http_of_nothing_and_of_no_server(shelf: Shelf) -> None:
    shelf.data = b""
    with pytest.raises(NotAPacket):
        Packet.open(shelf.url)
    with pytest.raises(SmaltoError, match="cannot be fetched"):
        open_source("http://127.0.0.1:1/a.smalto")
    with pytest.raises(SmaltoError, match="cannot be fetched"):
        open_source("http://[broken/a.smalto")


def test_http_source_counts_and_bounds(shelf: Shelf) -> None:
    source = HttpSource(shelf.url)
    assert source.size == len(DATA)
    assert source.read(10, 20) == DATA[10:30]
    assert source.num_requests == 1
    assert source.read(FIRST_REQUEST_BYTES, 9) == DATA[FIRST_REQUEST_BYTES : FIRST_REQUEST_BYTES + 9]
    assert source.read(len(DATA) + 5, 9) == b""
    assert source.num_requests == 2
    shelf.mode = "no ranges"
    with pytest.raises(LimitExceeded):
        HttpSource(shelf.url, max_bytes=100)


def test_the_reader_closes_what_it_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.smalto"
    path.write_bytes(b"not ours")
    with pytest.raises(NotAPacket):
        Packet.open(path)
    TILES.save(path)
    source = open_source(path)
    with PacketReader(source):
        pass
    with pytest.raises(ValueError, match="closed"):
        source.read(0, 1)
