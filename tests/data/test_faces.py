"""Pairs and their pictures are found by name; faces are cut where they are."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil

from smalto.data.faces import PAIRS_FILE, PICTURES_FILE, FacePair, FaceSet, face_crop, read_pairs
from smalto.errors import ImageError, UsageError

LINES = "Ada_B\t1\t3\nAda_B\t3\tCy_D\t12\n"


def pixels(value: int) -> np.ndarray:
    return np.full((150, 150, 3), value, np.uint8)


def make_set(root: Path, lines: str = LINES, damaged: bool = False) -> Path:
    (root / PAIRS_FILE).write_text(lines)
    with tarfile.open(root / PICTURES_FILE, "w") as archive:
        for name, value in (("Ada_B_0001.jpg", 40), ("Ada_B_0003.jpg", 90), ("Cy_D_0012.jpg", 200)):
            buffer = BytesIO()
            Pil.fromarray(pixels(value)).save(buffer, "PNG")
            data = b"no picture" if damaged else buffer.getvalue()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    return root


def test_pairs_and_pictures(tmp_path: Path) -> None:
    faces = FaceSet.open(make_set(tmp_path))
    assert faces.pairs == (
        FacePair("Ada_B_0001.jpg", "Ada_B_0003.jpg", True, 1),
        FacePair("Ada_B_0003.jpg", "Cy_D_0012.jpg", False, 1),
    )
    assert faces.names() == ("Ada_B_0001.jpg", "Ada_B_0003.jpg", "Cy_D_0012.jpg")
    assert np.array_equal(faces.pixels("Cy_D_0012.jpg"), pixels(200))
    with pytest.raises(UsageError, match="no picture x"):
        faces.pixels("x")


def test_folds_are_numbered(tmp_path: Path) -> None:
    (tmp_path / PAIRS_FILE).write_text(LINES * 301)
    pairs = read_pairs(tmp_path / PAIRS_FILE)
    assert [pairs[k].fold for k in (0, 599, 600, 601)] == [1, 1, 2, 2]


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        FaceSet.open(tmp_path)
    make_set(tmp_path, LINES + "Ada_B\t1\n")
    with pytest.raises(UsageError, match="line 3 is not a pair"):
        FaceSet.open(tmp_path)
    make_set(tmp_path, "Ada_B\t1\t7\n")
    with pytest.raises(UsageError, match=r"Ada_B_0007\.jpg of pairs_folds_1_to_5\.txt is not in it"):
        FaceSet.open(tmp_path)
    faces = FaceSet.open(make_set(tmp_path, damaged=True))
    with pytest.raises(ImageError, match=r"Ada_B_0001\.jpg"):
        faces.pixels("Ada_B_0001.jpg")
    (tmp_path / PICTURES_FILE).write_bytes(b"no tar" * 200)
    with pytest.raises(UsageError, match=r"not a readable \.tar"):
        FaceSet.open(tmp_path)


def test_the_face_is_cut_out() -> None:
    canvas = np.random.default_rng(0).integers(0, 256, (250, 250, 3), dtype=np.uint8)
    small = canvas[50:200, 50:200]
    assert np.array_equal(face_crop(canvas), canvas[65:177, 69:181])
    assert np.array_equal(face_crop(small), face_crop(canvas))
    ramp = np.stack([np.mgrid[0:150, 0:150][0], np.mgrid[0:150, 0:150][1], np.zeros((150, 150))], axis=2).astype(
        np.uint8
    )
    large = face_crop(ramp.repeat(2, axis=0).repeat(2, axis=1))
    assert large.shape == (112, 112, 3)
    assert np.abs(large.astype(int) - face_crop(ramp)).max() <= 1


def test_the_stored_pairs(data_folder: Path) -> None:
    faces = FaceSet.open(data_folder / "lfw")
    assert len(faces.pairs) == 3000
    assert len(faces.names()) == 3811
    for fold in range(1, 6):
        inside = [pair.same for pair in faces.pairs if pair.fold == fold]
        assert len(inside) == 600
        assert sum(inside) == 300
    assert face_crop(faces.pixels(faces.names()[0])).shape == (112, 112, 3)
