"""Label maps: numbers for scripts, colours and a legend for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil

from smalto.errors import UsageError
from smalto.types import LabelMap

NAMES = ("Sky", "Road", "Tree")
COLOURS = ((10, 20, 200), (120, 60, 120), (20, 200, 20))


def _map(height: int = 40, width: int = 150) -> LabelMap:
    ids = np.zeros((height, width), np.uint8)
    ids[:, width // 2 :] = 2
    ids[0, 0] = 255
    return LabelMap(ids, NAMES, COLOURS)


def test_numbers_come_back(tmp_path: Path) -> None:
    labels = _map()
    labels.save(tmp_path / "a.npy")
    assert np.array_equal(np.load(tmp_path / "a.npy"), labels.ids)


def test_the_picture_shows_classes_and_a_legend_of_those_present(tmp_path: Path) -> None:
    labels = _map()
    labels.save(tmp_path / "a.png")
    shown = np.asarray(Pil.open(tmp_path / "a.png"))
    assert shown.shape[1] == labels.width
    assert shown.shape[0] > labels.height
    assert np.array_equal(shown[: labels.height], labels.coloured())
    assert tuple(shown[0, 0]) == (0, 0, 0)
    assert tuple(shown[5, 5]) == COLOURS[0]
    legend = {tuple(colour) for colour in shown[labels.height :].reshape(-1, 3).tolist()}
    assert {COLOURS[0], COLOURS[2]} <= legend
    assert min(sum(colour) for colour in legend) < 60  # the names
    assert COLOURS[1] not in legend


def test_a_narrow_map_still_has_room_for_its_legend() -> None:
    shown = _map(8, 6).to_pil()
    assert shown.width > 6
    assert shown.height >= 8 + 2 * 18


def test_what_is_no_label_map_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="label map is"):
        LabelMap(np.zeros((4, 4), np.int64), NAMES, COLOURS)
    with pytest.raises(UsageError, match="label map is"):
        LabelMap(np.zeros((4, 4), np.uint8), NAMES, COLOURS[:2])
    with pytest.raises(UsageError, match=r"use \.png"):
        _map().save(tmp_path / "a.xyz")
