"""DNG files through LibRaw, written here from the format's definition; without rawpy a clear line."""

from __future__ import annotations

import importlib
import importlib.util
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from smalto.data.camera_raw import read_camera_file
from smalto.data.raw_mosaic import PATTERNS
from smalto.errors import ImageError, MissingExtra

needs_rawpy = pytest.mark.skipif(importlib.util.find_spec("rawpy") is None, reason="rawpy is not installed")
SAMPLES = (np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 7) % 1024
BLACKS = (64, 65, 66, 67)
_SIZES = {1: "B", 3: "H", 4: "I"}  # TIFF types: byte, short, long
_ASCII, _RATIONAL, _SIGNED_RATIONAL = 2, 5, 10


def dng(samples: np.ndarray, pattern: str, orientation: int = 1, white: int = 1023) -> bytes:
    """A minimal DNG 1.4: one uncompressed strip of CFA samples."""
    height, width = samples.shape
    strip = samples.astype("<u2").tobytes()
    identity = [1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1]
    fields: list[tuple[int, int, Sequence[int] | bytes]] = [
        (254, 4, [0]), (256, 4, [width]), (257, 4, [height]), (258, 3, [16]), (259, 3, [1]), (262, 3, [32803]),
        (271, _ASCII, b"Maker\0"), (272, _ASCII, b"Model\0"), (273, 4, [0]), (274, 3, [orientation]), (277, 3, [1]),
        (278, 4, [height]), (279, 4, [len(strip)]), (284, 3, [1]), (33421, 3, [2, 2]),
        (33422, 1, ["RGB".index(colour) for colour in pattern]), (50706, 1, [1, 4, 0, 0]), (50707, 1, [1, 1, 0, 0]),
        (50708, _ASCII, b"Maker Model\0"), (50713, 3, [2, 2]), (50714, 3, BLACKS), (50717, 4, [white]),
        (50721, _SIGNED_RATIONAL, identity), (50728, _RATIONAL, [1, 2, 1, 1, 2, 3]), (50778, 3, [21]),
    ]  # fmt: skip
    packed = [(tag, kind, *_packed(kind, values)) for tag, kind, values in fields]
    place = 8 + 2 + 12 * len(packed) + 4
    data_start = place + sum(len(body) for *_, body in packed if len(body) > 4)
    directory, outside = struct.pack("<H", len(packed)), b""
    for tag, kind, count, body in packed:
        held = struct.pack("<I", data_start) if tag == 273 else body
        if len(held) > 4:
            outside, held = outside + held, struct.pack("<I", place + len(outside))
        directory += struct.pack("<HHI", tag, kind, count) + held.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + outside + strip


def _packed(kind: int, values: Sequence[int] | bytes) -> tuple[int, bytes]:
    if isinstance(values, bytes):
        return len(values), values
    if kind in (_RATIONAL, _SIGNED_RATIONAL):
        return len(values) // 2, struct.pack(f"<{len(values)}{'i' if kind == _SIGNED_RATIONAL else 'I'}", *values)
    return len(values), struct.pack(f"<{len(values)}{_SIZES[kind]}", *values)


@needs_rawpy
@pytest.mark.parametrize("pattern", PATTERNS)
def test_samples_levels_and_balance(tmp_path: Path, pattern: str) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(dng(SAMPLES, pattern))
    mosaic = read_camera_file(path).mosaic
    black = np.tile(np.array(BLACKS, dtype=np.float64).reshape(2, 2), (24, 32))
    np.testing.assert_allclose(mosaic.values, np.clip((SAMPLES - black) / (1023 - black), 0, 1), atol=1e-6)
    assert mosaic.pattern == pattern
    assert mosaic.gains == pytest.approx((2.0, 1.0, 1.5))


@needs_rawpy
@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_how_the_picture_is_turned(tmp_path: Path, orientation: int, turns: int) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(dng(SAMPLES, "RGGB", orientation))
    capture = read_camera_file(path)
    assert capture.quarter_turns == turns
    assert capture.mosaic.values.shape == SAMPLES.shape


@needs_rawpy
def test_what_is_no_camera_file(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    with pytest.raises(ImageError, match="cannot be read"):
        read_camera_file(path)
    whole = dng(SAMPLES, "RGGB")
    for data in (b"", b"II*\0", whole[:200], bytes(range(256)) * 8):
        path.write_bytes(data)
        with pytest.raises(ImageError, match=r"a\.dng: ") as caught:
            read_camera_file(path)
        assert "\n" not in str(caught.value)


def test_without_rawpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def absent(name: str, package: str | None = None) -> object:
        if name == "rawpy":
            raise ModuleNotFoundError("No module named 'rawpy'")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtra, match=r"pip install 'smalto\[raw\]'"):
        read_camera_file(tmp_path / "a.dng")
