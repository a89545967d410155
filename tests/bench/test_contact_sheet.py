"""The sheet shows the pictures it was given, at whole multiples of their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as PilImages

from smalto.bench.contact_sheet import GAP_PX, TILE_PX, write_contact_sheet
from smalto.bench.demonstration import Demonstration, Shown


def _colour(folder: Path, name: str, side: int, colour: tuple[int, int, int]) -> Shown:
    PilImages.new("RGB", (side, side), colour).save(folder / f"{name}.png")
    return Shown(name, f"{name}.png", f"caption of {name}")


def test_every_picture_is_on_the_sheet(tmp_path: Path) -> None:
    red, green = _colour(tmp_path, "red", 160, (255, 0, 0)), _colour(tmp_path, "green", 160, (0, 255, 0))
    blue = _colour(tmp_path, "blue", 320, (0, 0, 255))
    shown = Demonstration(
        "boat.png", 200, 200, "boat.smalto", 999, 30.0, 0.1, 0.1, (red, green), (red, green), (blue,), ()
    )
    path = write_contact_sheet(shown, tmp_path)
    assert path.name == "boat.sheet.png"
    with PilImages.open(path) as picture:
        sheet = np.asarray(picture.convert("RGB"))
    assert sheet.shape[1] == GAP_PX + 2 * (TILE_PX + GAP_PX)
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        assert (sheet == np.array(colour)).all(axis=2).sum() == TILE_PX * TILE_PX


def test_without_enlarged_pictures_there_is_one_row(tmp_path: Path) -> None:
    red = _colour(tmp_path, "red", 7, (255, 0, 0))
    shown = Demonstration("boat.png", 7, 7, "boat.smalto", 99, 30.0, 0.1, 0.1, (red,), (red,), (), ())
    with PilImages.open(write_contact_sheet(shown, tmp_path)) as picture:
        assert picture.height < 2 * TILE_PX
