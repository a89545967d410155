"""Captures are read as their format says, and nothing that lies about itself is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smalto.data import raw_mosaic
from smalto.data.raw_mosaic import (
    CaptureFormat,
    Mosaic,
    display_mosaic,
    format_of,
    mosaic_of_samples,
    mosaic_tensor,
    read_capture,
)
from smalto.errors import ImageError, SmaltoError, UsageError
from smalto.layers import bayer

SAMPLES = np.arange(35, dtype=np.uint16).reshape(5, 7) * 29
FORMAT = CaptureFormat(7, 5, "GRBG", black_level=64, white_level=964, gains=(2.0, 1.0, 1.5))
SIDECAR = {"width": 7, "height": 5, "pattern": "GRBG", "black_level": 64, "white_level": 964, "gains": [2.0, 1, 1.5]}


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "scene.raw"
    path.write_bytes(SAMPLES.astype("<u2").tobytes())
    return path


def test_both_rooms_know_the_same_layouts() -> None:
    assert raw_mosaic.PATTERNS == bayer.PATTERNS


def test_samples_become_linear_values(capture: Path) -> None:
    mosaic = read_capture(capture, FORMAT)
    expected = np.clip((SAMPLES.astype(np.float64) - 64) / 900, 0, 1)
    np.testing.assert_allclose(mosaic.values, expected, atol=1e-7)
    assert mosaic.values.dtype == np.float32
    assert (mosaic.height, mosaic.width, mosaic.pattern, mosaic.source) == (5, 7, "GRBG", str(capture))
    assert mosaic_tensor(mosaic).shape == (1, 1, 5, 7)
    assert torch.equal(mosaic_tensor(mosaic)[0, 0], torch.from_numpy(mosaic.values))


def test_a_sidecar_says_the_same(capture: Path) -> None:
    capture.with_suffix(".json").write_text(json.dumps(SIDECAR))
    assert format_of(capture) == replace(FORMAT, gains=(2.0, 1, 1.5))
    assert np.array_equal(read_capture(capture).values, read_capture(capture, FORMAT).values)


def test_black_may_differ_by_place() -> None:
    known = CaptureFormat(4, 3, "RGGB", black_level=(10, 20, 30, 40), white_level=110)
    values = mosaic_of_samples(np.full((3, 4), 60, dtype=np.uint16), known).values
    cell = np.array([[50 / 100, 40 / 90], [30 / 80, 20 / 70]])
    np.testing.assert_allclose(values, np.tile(cell, (2, 2))[:3], rtol=1e-6)


@pytest.mark.parametrize(("name", "bits"), [("scene_7x5_grbg_10bit_u16le.raw", 10), ("7x5_GRBG_14bit.bin", 14)])
def test_a_name_may_say_the_format(tmp_path: Path, name: str, bits: int) -> None:
    path = tmp_path / name
    path.write_bytes(SAMPLES.astype("<u2").tobytes())
    assert format_of(path) == CaptureFormat(7, 5, "GRBG", white_level=2**bits - 1)
    np.testing.assert_allclose(read_capture(path).values * (2**bits - 1), SAMPLES, atol=1e-3)


@pytest.mark.parametrize("name", ["scene.raw", "scene_7x5_10bit.raw", "scene_7x5_rgbw_10bit.raw", "7x5.json"])
def test_a_name_that_says_nothing_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="unknown; write"):
        format_of(tmp_path / name)


@pytest.mark.parametrize("name", ["a_0x5_rggb_10bit.raw", "a_9000x5_rggb_10bit.raw", "a_7x5_rggb_17bit.raw"])
def test_a_name_that_lies_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="impossible format"):
        format_of(tmp_path / name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 8}, "correct width and height"),
        ({"width": 0}, "width 0"),
        ({"width": 7.0}, "width 7.0"),
        ({"height": True}, "height True"),
        ({"height": 10**400}, "height"),
        ({"width": 8193}, "8192"),
        ({"pattern": "RGBW"}, "RGGB, GRBG, GBRG, BGGR"),
        ({"pattern": ["RGGB"]}, "RGGB, GRBG, GBRG, BGGR"),
        ({"black_level": 964}, "not above the black level"),
        ({"black_level": [0, 0, 0, 1000]}, "not above the black level"),
        ({"black_level": [0, 0]}, "nor four"),
        ({"black_level": -1}, "nor four"),
        ({"black_level": float("nan")}, "nor four"),
        ({"white_level": 70000}, "65535"),
        ({"white_level": "1023"}, "65535"),
        ({"white_level": 10**400}, "65535"),
        ({"gains": [1, 0, 1]}, "three positive"),
        ({"gains": 2}, "three positive"),
        ({"gains": [1, float("inf"), 1]}, "three positive"),
        ({"exposure": 3}, "unknown field 'exposure'"),
    ],
)
def test_sidecars_that_lie(capture: Path, changes: dict[str, object], message: str) -> None:
    capture.with_suffix(".json").write_text(json.dumps({**SIDECAR, **changes}))
    with pytest.raises(ImageError, match=message) as caught:
        read_capture(capture)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "7", "{", '{"width": 7}', "[" * 60000, "\x00", " " * 70000])
def test_sidecars_that_are_none(capture: Path, text: str) -> None:
    capture.with_suffix(".json").write_text(text)
    with pytest.raises(ImageError, match=r"scene\.json"):
        read_capture(capture)


@given(
    text=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(sorted(SIDECAR)) | st.text(max_size=3), inner)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_format_or_one_clear_line(text: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.raw"
    path.write_bytes(bytes(70))
    path.with_suffix(".json").write_text(json.dumps({**SIDECAR, **text} if isinstance(text, dict) else text))
    outcome = _outcome(path)
    assert outcome == (5, 7) or (isinstance(outcome, str) and "\n" not in outcome)


@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_mosaic_or_one_clear_line(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "a_7x5_rggb_10bit.raw").write_bytes(data)
    (folder / "b.raw").write_bytes(bytes(70))
    (folder / "b.json").write_bytes(data)
    if len(data) == 70:
        values = read_capture(folder / "a_7x5_rggb_10bit.raw").values
        assert float(values.min()) >= 0.0
        assert float(values.max()) <= 1.0
    else:
        with pytest.raises(ImageError, match=r"70; correct"):
            read_capture(folder / "a_7x5_rggb_10bit.raw")
    with pytest.raises(ImageError):
        read_capture(folder / "b.raw")


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        read_capture(tmp_path / "none.raw", FORMAT)
    with pytest.raises(SmaltoError):
        read_capture(tmp_path, FORMAT)


def test_wrong_arrays_are_told() -> None:
    with pytest.raises(UsageError, match="uint16"):
        mosaic_of_samples(SAMPLES.astype(np.int32), FORMAT)
    with pytest.raises(UsageError, match="uint16"):
        mosaic_of_samples(SAMPLES[:4], FORMAT)
    for values, pattern, gains in (
        (np.zeros((4, 4)), "RGGB", None),
        (np.zeros((4, 4), np.float32), "rggb", None),
        (np.zeros((4, 4), np.float32), "RGGB", (1.0, -1.0, 1.0)),
    ):
        with pytest.raises(UsageError, match="mosaic: "):
            Mosaic(values, pattern, gains=gains)


def test_balance_and_curve_keep_the_layout() -> None:
    linear = np.full((4, 4), 0.25, np.float32)
    linear[0::2, 0::2], linear[1::2, 1::2] = 0.125, 0.5  # red half, blue twice as bright as green
    shown = display_mosaic(Mosaic(linear, "RGGB"))
    assert shown.gains == (2.0, 1.0, 0.5)
    np.testing.assert_allclose(shown.values, 1.055 * 0.25 ** (1 / 2.4) - 0.055, atol=1e-6)
    assert np.array_equal(display_mosaic(Mosaic(linear, "RGGB", gains=(2.0, 1.0, 0.5))).values, shown.values)
    bright = display_mosaic(Mosaic(linear, "RGGB"), (100.0, 1.0, 1.0))
    assert float(bright.values[0, 0]) == pytest.approx(1.0)


def test_a_dark_capture_is_left_as_it_is() -> None:
    dark = Mosaic(np.zeros((4, 6), np.float32), "BGGR")
    assert display_mosaic(dark).gains == (1.0, 1.0, 1.0)
    assert not display_mosaic(dark).values.any()


def test_the_shared_captures(data_folder: Path) -> None:
    """One scene's colour planes in four layouts, and a chart; levels as measured."""
    scenes = {path.stem.split("_")[3]: read_capture(path) for path in sorted((data_folder / "raw").glob("DSC*.raw"))}
    assert sorted(scenes) == ["bggr", "gbrg", "grbg", "rggb"]
    for layout, mosaic in scenes.items():
        assert mosaic.pattern == layout.upper()
        assert (mosaic.height, mosaic.width) == (512, 768)
        assert round(float(mosaic.values.min()) * 16383) == 616
        assert float(mosaic.values.max()) == 1.0
        planes, reference = _planes(mosaic), _planes(scenes["rggb"])
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(planes, reference, strict=True))
    chart = read_capture(data_folder / "raw" / "chart_1920x1080_rggb_10bit_u16le.raw")
    assert (chart.height, chart.width, chart.pattern) == (1080, 1920, "RGGB")
    assert round(float(chart.values.max()) * 1023) == 1020
    assert not np.any(np.rint(chart.values * 1023).astype(int) % 4)  # 8 bits, shifted by two


def _outcome(path: Path) -> tuple[int, ...] | str:
    try:
        return read_capture(path).values.shape
    except SmaltoError as error:
        return str(error)


def _planes(mosaic: Mosaic) -> list[np.ndarray]:
    """Red, the greens in reading order, blue."""
    places = sorted(range(4), key=lambda k: ("RGB".index(mosaic.pattern[k]), k))
    return [mosaic.values[k // 2 :: 2, k % 2 :: 2] for k in places]
