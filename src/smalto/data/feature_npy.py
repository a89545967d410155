"""NumPy's .npy and .npz files, read in slices and written row group by row group.

A bfloat16 array is stored as ml_dtypes stores it: the descriptor ``<V2`` and the bit patterns.

Source: NumPy format, versions 1.0 to 3.0 (numpy.lib.format); APPNOTE.TXT of the ZIP format through zipfile.
"""

from __future__ import annotations

import ast
import io
import math
import re
import struct
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from smalto.data.feature_array import BFLOAT16, MAX_AXES, FeatureArray, FeatureFileError, raw_bytes, storage_dtype
from smalto.errors import UsageError

SINGLE_NAME = "features"
_MAGIC = b"\x93NUMPY"
_MAX_HEADER_BYTES = 1 << 16
_DESCRIPTOR = re.compile(r"^([<>=|]?)([fV])([1-9][0-9]?)$")
_DTYPE_NAMES = {"f2": "float16", "f4": "float32", "f8": "float64", "V2": BFLOAT16}
_ORDINARY_ZIP = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MAX_RATIO = 1032  # of deflate
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class _NpyHeader:
    dtype_name: str
    big_endian: bool
    fortran: bool
    shape: tuple[int, ...]
    data_start: int

    @property
    def stored(self) -> np.dtype:
        held = storage_dtype(self.dtype_name)
        return held.newbyteorder(">" if self.big_endian else "<")

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.stored.itemsize


def open_npy(path: Path) -> list[FeatureArray]:
    """The one array of a .npy file, named ``features``.

    Raises:
        FeatureFileError: damaged, or not floating-point values.
    """
    with path.open("rb") as stream:
        header = _read_header(stream, str(path))
        held = stream.seek(0, io.SEEK_END) - header.data_start
    if held != header.num_bytes:
        raise FeatureFileError(f"{path}: {held} bytes of values, its header says {header.num_bytes}; get a fresh copy")

    def read(start: int, stop: int) -> np.ndarray:
        if header.fortran and len(header.shape) > 1 and header.num_bytes:
            mapped = np.memmap(path, header.stored, "r", header.data_start, header.shape, "F")
            return np.array(mapped[start:stop], dtype=storage_dtype(header.dtype_name), order="C")
        row_bytes = header.num_bytes // max(1, header.shape[0] if header.shape else 1)
        with path.open("rb") as stream:
            stream.seek(header.data_start + start * row_bytes)
            return _as_rows(read_exactly(stream, (stop - start) * row_bytes, str(path)), header, start, stop)

    return [FeatureArray(SINGLE_NAME, header.dtype_name, header.shape, read, str(path))]


def open_npz(path: Path, names: Sequence[str] | None) -> list[FeatureArray]:
    """Arrays of a .npz file in the order in which it lists them.

    A compressed array is cheap to read from front to back; each step backwards starts again at its beginning.
    The checksum of an array is tested when its last value is read after all others were read in order.

    Raises:
        FeatureFileError: damaged, encrypted, or not floating-point values.
    """
    arrays: list[FeatureArray] = []
    with _damage_named(path), zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        found = [member.filename.removesuffix(".npy") for member in members]
        if len(set(found)) != len(found):
            raise FeatureFileError(f"{path}: an array name stands twice; write the file again")
        for name, member in zip(found, members, strict=True):
            if names is not None and name not in names:
                continue
            if member.flag_bits & 1 or member.compress_type not in _ORDINARY_ZIP:
                raise FeatureFileError(f"{path}: {name} is encrypted or oddly compressed; save it with numpy.savez")
            with archive.open(member) as stream:
                header = _read_header(stream, f"{path}: {name}")
            if member.file_size > _MAX_RATIO * member.compress_size + _MAX_HEADER_BYTES:
                raise FeatureFileError(f"{path}: {name} claims more values than the file can hold; get a fresh copy")
            if member.file_size != header.data_start + header.num_bytes:
                raise FeatureFileError(f"{path}: {name} has another length than its header says; get a fresh copy")
            reader = _MemberReader(path, member.filename, header)
            arrays.append(FeatureArray(name, header.dtype_name, header.shape, reader.read, str(path)))
    return arrays


class _MemberReader:
    """Slices of one array of a .npz; the stream stays where the last slice ended."""

    def __init__(self, path: Path, member: str, header: _NpyHeader) -> None:
        self._path = path
        self._member = member
        self._header = header
        self._lock = threading.Lock()
        self._stream: IO[bytes] | None = None

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start .. stop - 1."""
        header = self._header
        with self._lock, _damage_named(self._path):
            if header.fortran and len(header.shape) > 1:
                values = np.frombuffer(self._bytes(0, header.num_bytes), header.stored)
                rows = values.reshape(header.shape, order="F")[start:stop]
                return np.array(rows, dtype=storage_dtype(header.dtype_name), order="C")
            row_bytes = header.num_bytes // max(1, header.shape[0] if header.shape else 1)
            data = self._bytes(start * row_bytes, (stop - start) * row_bytes)
            last = not header.shape or stop == header.shape[0]
            if last:
                self._close()
        return _as_rows(data, header, start, stop)

    def _bytes(self, first: int, count: int) -> bytearray:
        if self._stream is None:
            with zipfile.ZipFile(self._path) as archive:  # the member keeps the file open after the archive closes
                self._stream = archive.open(self._member)
        place = self._header.data_start + first
        try:
            if self._stream.tell() != place:
                self._stream.seek(place)
            return read_exactly(self._stream, count, f"{self._path}: {self._member}")
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class _damage_named:
    """Turns what zipfile and zlib raise on damaged files into one line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, (FeatureFileError, UsageError)):
            return
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise FeatureFileError(f"{self._path}: damaged .npz ({reason}); get a fresh copy") from error


def write_npy(stream: BinaryIO, array: FeatureArray) -> None:
    """Write one array, row group by row group."""
    stream.write(_header_bytes(array))
    for group in array.groups():
        stream.write(raw_bytes(group))


def write_npz(stream: BinaryIO, arrays: Sequence[FeatureArray]) -> None:
    """Write arrays, uncompressed; equal arrays give equal bytes."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for array in arrays:
            member = zipfile.ZipInfo(f"{array.name}.npy", _ZIP_DATE)
            with archive.open(member, "w", force_zip64=True) as inner:
                inner.write(_header_bytes(array))
                for group in array.groups():
                    inner.write(raw_bytes(group))


def _header_bytes(array: FeatureArray) -> bytes:
    kind = {name: descriptor for descriptor, name in _DTYPE_NAMES.items()}[array.dtype_name]
    text = repr({"descr": f"<{kind}", "fortran_order": False, "shape": array.shape})
    padding = -(len(_MAGIC) + 4 + len(text) + 1) % 64
    text += " " * padding + "\n"
    return _MAGIC + b"\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin-1")


def _read_header(stream: IO[bytes], source: str) -> _NpyHeader:
    start = stream.read(len(_MAGIC) + 2)
    if len(start) < len(_MAGIC) + 2 or not start.startswith(_MAGIC):
        raise FeatureFileError(f"{source}: not a .npy file; save the array with numpy.save")
    form = "<H" if start[6] == 1 else "<I"
    size = struct.calcsize(form)
    length_bytes = stream.read(size)
    if start[6] not in (1, 2, 3) or len(length_bytes) < size:
        raise FeatureFileError(f"{source}: unknown or damaged .npy version; save the array with numpy.save")
    (length,) = struct.unpack(form, length_bytes)
    text = stream.read(length) if length <= _MAX_HEADER_BYTES else b""
    if len(text) != length:
        raise FeatureFileError(f"{source}: damaged .npy header; get a fresh copy")
    try:
        found = ast.literal_eval(text.decode("latin-1").strip())
        descriptor, fortran, shape = found["descr"], found["fortran_order"], found["shape"]
        valid = set(found) == {"descr", "fortran_order", "shape"} and isinstance(fortran, bool)
        valid = valid and isinstance(shape, tuple) and len(shape) <= MAX_AXES
        valid = valid and all(type(side) is int and 0 <= side < 1 << 62 for side in shape)
    except Exception as error:  # literal_eval raises many kinds on damaged text
        raise FeatureFileError(f"{source}: damaged .npy header; get a fresh copy") from error
    if not valid:
        raise FeatureFileError(f"{source}: damaged .npy header; get a fresh copy")
    match = _DESCRIPTOR.match(descriptor) if isinstance(descriptor, str) else None
    dtype_name = _DTYPE_NAMES.get(match[2] + match[3]) if match else None
    if match is None or dtype_name is None:
        raise refused_dtype(source, descriptor if isinstance(descriptor, str) else "structured")
    data_start = len(start) + size + length
    return _NpyHeader(dtype_name, match[1] == ">", fortran, shape, data_start)


def refused_dtype(source: str, dtype: str) -> FeatureFileError:
    """The error for arrays that are not floating-point."""
    what = "Python objects" if dtype in ("|O", "O") else f"dtype {dtype[:24]}"
    advice = "features are float16, bfloat16, float32 or float64; convert it, or name the other arrays only"
    return FeatureFileError(f"{source}: {what} is refused: {advice}")


def read_exactly(stream: IO[bytes], count: int, source: str) -> bytearray:
    """The next ``count`` bytes.

    Raises:
        FeatureFileError: there are fewer.
    """
    data = bytearray(count)
    view, place = memoryview(data), 0
    while place < count:
        found = stream.readinto(view[place:])  # type: ignore[attr-defined]
        if not found:
            raise FeatureFileError(f"{source}: ends too early; it is truncated, or changed while it was read")
        place += found
    return data


def _as_rows(data: bytearray, header: _NpyHeader, start: int, stop: int) -> np.ndarray:
    values = np.frombuffer(data, header.stored).reshape(stop - start, *header.shape[1:])
    return values.astype(storage_dtype(header.dtype_name), copy=False)
