"""The page of pictures of the shared space."""

from __future__ import annotations

import numpy as np
import pytest

from smalto.bench.space_album import album_rows, capture_of, draw_album
from smalto.data.raw_mosaic import display_mosaic
from smalto.errors import UsageError
from smalto.types import Image
from tests.bench.space_systems import space_system
from tests.tiny_models import scene, tiny_system


def test_a_capture_developed_is_the_picture_again() -> None:
    picture = Image(scene(8, 12))
    shown = display_mosaic(capture_of(picture)).values
    assert np.abs(shown[::2, ::2] * 255 - picture.pixels[::2, ::2, 0]).max() < 0.01
    assert np.abs(shown[1::2, 1::2] * 255 - picture.pixels[1::2, 1::2, 2]).max() < 0.01


def test_every_task_of_the_system_has_its_tile() -> None:
    rows = [album_rows(space_system(), Image(scene(64, 80)), quality=60) for _ in range(2)]
    assert [tile[0] for tile in rows[0]] == ["original", "file", "quality 100", "noise 25", "denoise", "planes turned"]
    assert all(tile[2].shape == (64, 80, 3) for tile in rows[0])
    assert "bpp" in rows[0][1][1]
    sheet = draw_album(rows)
    assert sheet.size == (6 * 196, 2 * 224)


def test_other_systems_are_refused() -> None:
    with pytest.raises(UsageError, match="not the shared neural space"):
        album_rows(tiny_system(), Image(scene(64, 80)))
