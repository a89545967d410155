"""RAW files become upright RGGB mosaics for the encoder, and answers are cut back to the true samples."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pil

from smalto.data.raw_mosaic import PATTERNS, Mosaic, display_mosaic
from smalto.errors import ImageError, UsageError
from smalto.layers.bayer import channel_map, mosaic_of
from smalto.systems.raw_pictures import encoder_input, is_raw_file, read_raw, upright
from smalto.types import PlaneSpec
from tests.data.test_camera_raw import SAMPLES, dng

needs_rawpy = pytest.mark.skipif(importlib.util.find_spec("rawpy") is None, reason="rawpy is not installed")
SIDECAR = {"width": 64, "height": 48, "pattern": "GRBG", "black_level": 64, "white_level": 1023, "gains": [2, 1, 1.5]}


def _sidecar(path: Path, **changes: object) -> Path:
    path.with_suffix(".json").write_text(json.dumps(SIDECAR | changes))
    return path


def _written(folder: Path, ending: str) -> Path:
    path = folder / f"scene{ending}"
    if ending == ".npy":
        np.save(path, SAMPLES)
    elif ending == ".png":
        Pil.fromarray(SAMPLES).save(path)
    else:
        path.write_bytes(SAMPLES.astype("<u2").tobytes())
    return path


@pytest.mark.parametrize("ending", [".raw", ".bin", ".npy", ".png"])
def test_samples_are_the_same_in_every_file(tmp_path: Path, ending: str) -> None:
    path = _sidecar(_written(tmp_path, ending))
    mosaic = read_raw(path)
    np.testing.assert_allclose(mosaic.values, np.clip((SAMPLES - 64.0) / 959, 0, 1), atol=1e-6)
    assert (mosaic.pattern, mosaic.gains, mosaic.source) == ("GRBG", (2, 1, 1.5), str(path))
    assert is_raw_file(path)


@needs_rawpy
@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_camera_files_come_upright(tmp_path: Path, orientation: int, turns: int) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(dng(SAMPLES, "GBRG", orientation))
    (tmp_path / "straight.dng").write_bytes(dng(SAMPLES, "GBRG"))
    straight = read_raw(tmp_path / "straight.dng")
    mosaic = read_raw(path)
    assert is_raw_file(path)
    assert np.array_equal(mosaic.values, np.rot90(straight.values, turns))
    assert mosaic.pattern == upright(straight, turns).pattern


@given(pattern=st.sampled_from(PATTERNS), turns=st.integers(-4, 4), height=st.integers(2, 7), width=st.integers(2, 7))
def test_a_turned_mosaic_is_a_mosaic_of_the_turned_picture(pattern: str, turns: int, height: int, width: int) -> None:
    picture = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    mosaic = Mosaic(mosaic_of(picture, pattern)[0, 0].numpy(), pattern)
    turned = upright(mosaic, turns)
    expected = mosaic_of(torch.rot90(picture, turns, (2, 3)), turned.pattern)[0, 0]
    assert np.array_equal(turned.values, expected.numpy())


@given(pattern=st.sampled_from(PATTERNS), height=st.integers(2, 11), width=st.integers(2, 11))
def test_the_encoder_gets_rggb_and_answers_are_cut_back(pattern: str, height: int, width: int) -> None:
    values = np.random.default_rng(0).random((height, width), np.float32)
    mosaic = Mosaic(values, pattern, gains=(1.5, 1.0, 2.0))
    given_ = encoder_input(mosaic)
    shown = display_mosaic(mosaic).values
    assert (given_.height, given_.width) == (height, width)
    row, column = given_.offset
    for plane in (PlaneSpec("z_b", "grid", 1, 2, 2), PlaneSpec("z_t", "grid", 1, 4)):
        cells = plane.grid(height + row, width + column)
        assert given_.values.shape == (1, 1, cells[0] * plane.stride, cells[1] * plane.stride)
    assert np.array_equal(given_.cropped(given_.values)[0, 0].numpy(), shown)


@given(pattern=st.sampled_from(PATTERNS), height=st.integers(2, 11), width=st.integers(2, 11))
def test_padding_continues_the_layout(pattern: str, height: int, width: int) -> None:
    """A mosaic in which each sample tells its colour is, padded, the RGGB mosaic of that kind."""

    def telling(layout: str, rows: int, columns: int) -> Mosaic:
        return Mosaic(channel_map(layout, rows, columns).numpy().astype(np.float32) / 4, layout, gains=(1.0, 1.0, 1.0))

    padded = encoder_input(telling(pattern, height, width)).values[0, 0].numpy()
    assert np.array_equal(padded, display_mosaic(telling("RGGB", *padded.shape)).values)


def test_pngs_are_mosaics_only_where_a_sidecar_states_a_pattern(tmp_path: Path) -> None:
    path = _written(tmp_path, ".png")
    assert not is_raw_file(path)
    for text in ("{}", "[]", "not JSON", '{"task": "segment"}'):
        path.with_suffix(".json").write_text(text)
        assert not is_raw_file(path)
    assert is_raw_file(_sidecar(path))
    assert not is_raw_file(tmp_path / "photo.jpg")
    assert is_raw_file("A.NEF")
    assert is_raw_file("a.raf")


@pytest.mark.parametrize("ending", [".npy", ".png", ".raw"])
def test_another_size_than_the_sidecar_says_is_named(tmp_path: Path, ending: str) -> None:
    with pytest.raises(ImageError, match=r"scene.*(correct|uint16)"):
        read_raw(_sidecar(_written(tmp_path, ending), width=62))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="CFA pattern are unknown"):
        read_raw(_written(tmp_path, ".npy"))
    whole = _sidecar(tmp_path / "scene.npy").read_bytes()
    for damaged in (b"", b"nothing", whole[:-5]):
        (tmp_path / "scene.npy").write_bytes(damaged)
        with pytest.raises(ImageError, match=r"scene\.npy"):
            read_raw(tmp_path / "scene.npy")
    np.save(tmp_path / "scene.npy", SAMPLES.astype(np.float32))
    with pytest.raises(ImageError, match="float32"):
        read_raw(tmp_path / "scene.npy")
    with pytest.raises(ImageError, match=r"gone\.raw: cannot be read"):
        read_raw(_sidecar(tmp_path / "gone.raw"))
    for mode in ("L", "RGB"):
        Pil.new(mode, (64, 48)).save(tmp_path / "grey.png")
        with pytest.raises(ImageError, match=r"grey\.png"):
            read_raw(_sidecar(tmp_path / "grey.png"))
    (tmp_path / "grey.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"grey\.png"):
        read_raw(tmp_path / "grey.png")
    with pytest.raises(UsageError, match="sides of 2 or more"):
        encoder_input(Mosaic(np.zeros((1, 8), np.float32), "RGGB"))
