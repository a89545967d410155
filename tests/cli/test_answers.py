"""Every kind of answer in every form, and strips for people."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pil

from smalto.cli.answers import Answer, check_endings, side_by_side, write_answer
from smalto.cli.outputs import Job
from smalto.errors import UsageError
from smalto.types import DisparityMap, Image, LabelMap

HEIGHT, WIDTH = 30, 200
NAMES, COLOURS = ("Sky", "Road", "Tree"), ((10, 20, 200), (120, 60, 120), (20, 200, 20))


def _image() -> Image:
    return Image(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))


def _labels() -> LabelMap:
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[:, 150:] = 2
    ids[0, :20] = 255
    return LabelMap(ids, NAMES, COLOURS)


def _disparity() -> DisparityMap:
    pixels = np.linspace(1.5, 80.25, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH).copy()
    pixels[3, 4] = np.nan
    return DisparityMap(pixels)


def _json(answer: Answer, folder: Path) -> dict[str, Any]:
    write_answer(answer, str(folder / "a.json"), "some-task")
    record = json.loads((folder / "a.json").read_text())
    assert (record["task"], record["height"], record["width"]) == ("some-task", answer.height, answer.width)
    return record


def _held(text: str) -> np.ndarray:
    return np.asarray(Pil.open(io.BytesIO(base64.b64decode(text))))


@pytest.mark.parametrize(
    ("answer", "key", "numbers"),
    [
        (_image(), "pixels", _image().pixels),
        (_labels(), "ids", _labels().ids),
        (_disparity(), "disparity", _disparity().pixels),
    ],
)
def test_numbers_are_the_answers_own(answer: Answer, key: str, numbers: np.ndarray, tmp_path: Path) -> None:
    write_answer(answer, str(tmp_path / "a.npy"), "t")
    write_answer(answer, str(tmp_path / "a.NPZ"), "t")
    with np.load(tmp_path / "a.NPZ") as held:
        assert held.files == [key]
        for back in (np.load(tmp_path / "a.npy"), held[key]):
            assert back.dtype == numbers.dtype
            assert np.array_equal(back, numbers, equal_nan=numbers.dtype == np.float32)


def test_alpha_is_beside_the_pixels(tmp_path: Path) -> None:
    alpha = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    write_answer(Image(_image().pixels, alpha), str(tmp_path / "a.npz"), "t")
    with np.load(tmp_path / "a.npz") as held:
        assert np.array_equal(held["alpha"], alpha)


@pytest.mark.parametrize("answer", [_image(), _labels(), _disparity()])
def test_pictures_are_what_people_see(answer: Answer, tmp_path: Path) -> None:
    write_answer(answer, str(tmp_path / "a.png"), "t")
    assert np.array_equal(np.asarray(Pil.open(tmp_path / "a.png")), np.asarray(answer.to_pil()))


def test_json_of_labels_states_shares_and_ids(tmp_path: Path) -> None:
    record = _json(_labels(), tmp_path)
    assert record["kind"] == "labels"
    assert [(entry["id"], entry["name"], tuple(entry["colour"])) for entry in record["classes"]] == [
        (k, NAMES[k], COLOURS[k]) for k in range(3)
    ]
    shares = [entry["share"] for entry in record["classes"]]
    assert shares == pytest.approx([0.75 - 20 / 6000, 0.0, 0.25])
    assert sum(shares) + record["unknown_share"] == pytest.approx(1.0)
    assert np.array_equal(_held(record["ids_png_base64"]), _labels().ids)


@given(least=st.floats(-500, 500), span=st.sampled_from([0.0, 1e-3, 63.5, 4000.0]), unknown=st.floats(0, 1))
def test_json_of_disparity_holds_the_map_in_sixteen_bits(
    tmp_path_factory: pytest.TempPathFactory, least: float, span: float, unknown: float
) -> None:
    random = np.random.default_rng(0)
    pixels = (least + span * random.random((9, 13))).astype(np.float32)
    pixels[random.random((9, 13)) < unknown] = random.choice([np.nan, np.inf])
    known = np.isfinite(pixels)
    record = _json(DisparityMap(pixels), tmp_path_factory.mktemp("d"))
    assert (record["kind"], record["unit"]) == ("disparity", "px")
    levels = _held(record["png16_base64"]).astype(np.int64)
    assert np.array_equal(levels > 0, known)
    back = record["png16_offset"] + record["png16_scale"] * levels
    assert np.abs(back - pixels)[known].max(initial=0.0) <= 0.51 * record["png16_scale"] + 1e-9 * max(abs(least), 1)
    assert record["unknown_share"] == pytest.approx(1 - known.mean())
    if known.any():
        expected = [pixels[known].min(), pixels[known].max(), pixels[known].mean(dtype=np.float64)]
        assert [record["min"], record["max"], record["mean"]] == pytest.approx(expected)
    else:
        assert [record["min"], record["max"], record["mean"]] == [None] * 3


def test_endings_nothing_writes_are_refused() -> None:
    check_endings([Job("a", f"a{ending}") for ending in (".png", ".jpg", ".npy", ".npz", ".json", ".NPZ")])
    check_endings([Job("a", "-")])
    with pytest.raises(UsageError, match=r"a\.xyz: nothing writes .*\.npz"):
        check_endings([Job("a", "a.xyz")])


# -- strips ---------------------------------------------------------------------------------------------------------


def _strip(answer: Answer, task: str) -> np.ndarray:
    return np.asarray(Pil.open(io.BytesIO(side_by_side(_image(), answer, task))))


def _has_caption(strip: np.ndarray, left: int) -> bool:
    return bool((strip[:20, left : left + WIDTH].astype(int).sum(axis=2) < 200).any())


def test_before_and_after() -> None:
    answer = Image(255 - _image().pixels)
    strip = _strip(answer, "denoise")
    assert strip.shape == (20 + HEIGHT, 2 * WIDTH + 6, 3)
    assert np.array_equal(strip[20:, :WIDTH], _image().pixels)
    assert np.array_equal(strip[20:, WIDTH + 6 :], answer.pixels)
    assert _has_caption(strip, 0)
    assert _has_caption(strip, WIDTH + 6)


def test_decoded_then_blended_then_mask_with_legend() -> None:
    strip = _strip(_labels(), "segment")
    legend = np.asarray(_labels().to_pil())
    assert strip.shape == (20 + legend.shape[0], 3 * WIDTH + 12, 3)
    decoded, blended, mask = (strip[20:, k * (WIDTH + 6) :][:, :WIDTH] for k in range(3))
    assert np.array_equal(decoded[:HEIGHT], _image().pixels)
    middle = (_image().pixels.astype(float) + _labels().coloured()) / 2
    assert np.abs(blended[:HEIGHT] - middle).max() <= 1
    assert np.array_equal(mask, legend)
    assert all(_has_caption(strip, k * (WIDTH + 6)) for k in range(3))


def test_left_view_then_depth_with_scale() -> None:
    strip = _strip(_disparity(), "depth")
    scaled = np.asarray(_disparity().to_pil())
    assert strip.shape == (20 + scaled.shape[0], 2 * WIDTH + 6, 3)
    assert np.array_equal(strip[20 : 20 + HEIGHT, :WIDTH], _image().pixels)
    assert np.array_equal(strip[20:, WIDTH + 6 :], scaled)


def test_narrow_tiles_leave_room_for_their_captions() -> None:
    tiny = Image(np.zeros((2, 3, 3), np.uint8))
    strip = np.asarray(Pil.open(io.BytesIO(side_by_side(tiny, tiny, "denoise"))))
    assert strip.shape[1] > 2 * 40
