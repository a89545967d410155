"""Pairs of faces for verification: a list of pairs and one .tar of their pictures.

A line of the list names two pictures by number: ``NAME i j`` of one person, ``NAME i OTHER j`` of two, by tabs.
Half of every fold of 600 pairs shows one person.

Source: LFW (Huang et al. 2007), pairs.txt, view 2.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from smalto.data.photographs import read_image
from smalto.errors import ImageError, UsageError

PAIRS_PER_FOLD = 600
PAIRS_FILE = "pairs_folds_1_to_5.txt"
TRAINING_FILE = "train_1600_deepfunneled_250px.tar"
PICTURES_FILE = "pairs_folds_1_to_5.tar"
CROP_PX = 112
_BOX = (19, 15, 131, 127)  # left, top, right, bottom of a face in a picture of 150 px
_BOX_SIDE_PX = 150
_FUNNELLED_BOX = (69, 65, 181, 177)  # in a deep-funnelled picture of 250 px
_FUNNELLED_SIDE_PX = 250
_MAX_PICTURE_BYTES = 1 << 24


@dataclass(frozen=True)
class FacePair:
    """Two pictures and whether they show one person.

    Args:
        first: file name of a picture.
        second: file name of the other.
        same: they show one person.
        fold: 1, 2, ...
    """

    first: str
    second: str
    same: bool
    fold: int


@dataclass(frozen=True)
class FacePictures:
    """Pictures in a .tar, read where they lie.

    Args:
        path: the .tar file.
        places: file name -> (first byte, number of bytes) in it.
    """

    path: Path
    places: dict[str, tuple[int, int]]

    @classmethod
    def open(cls, path: str | Path) -> FacePictures:
        """Read the table of a .tar.

        Raises:
            UsageError: it is missing or damaged.
        """
        try:
            with tarfile.open(path, "r:") as archive:
                places = {member.name: (member.offset_data, member.size) for member in archive if member.isreg()}
        except (OSError, tarfile.TarError) as error:
            raise UsageError(f"{path}: not a readable .tar ({error}); get a fresh copy") from error
        return cls(Path(path), places)

    def names(self) -> tuple[str, ...]:
        """File names, sorted."""
        return tuple(sorted(self.places))

    def pixels(self, name: str) -> np.ndarray:
        """A picture by file name: (H, W, 3) uint8.

        Raises:
            UsageError: no such picture.
            ImageError: damaged.
        """
        if name not in self.places:
            raise UsageError(f"{self.path}: no picture {name}; see names()")
        start, count = self.places[name]
        with self.path.open("rb") as stream:
            stream.seek(start)
            data = BytesIO(stream.read(min(count, _MAX_PICTURE_BYTES)))
        try:
            return read_image(data).pixels
        except ImageError as error:
            raise ImageError(f"{self.path}: {name}: {error}") from error


@dataclass(frozen=True)
class FaceSet:
    """Pairs and their pictures.

    Args:
        pictures: of the pairs.
        pairs: in the order of the list.
    """

    pictures: FacePictures
    pairs: tuple[FacePair, ...]

    @classmethod
    def open(cls, folder: str | Path) -> FaceSet:
        """Read the list and the .tar's table in ``folder``.

        Raises:
            UsageError: a file is missing or damaged, or a picture of a pair is not in the .tar.
        """
        root = Path(folder)
        pairs = read_pairs(root / PAIRS_FILE)
        pictures = FacePictures.open(root / PICTURES_FILE)
        for pair in pairs:
            for name in (pair.first, pair.second):
                if name not in pictures.places:
                    raise UsageError(f"{pictures.path}: {name} of {PAIRS_FILE} is not in it; get a fresh copy")
        return cls(pictures, pairs)

    def names(self) -> tuple[str, ...]:
        """Every picture that a pair names, sorted."""
        return tuple(sorted({name for pair in self.pairs for name in (pair.first, pair.second)}))

    def pixels(self, name: str) -> np.ndarray:
        """A picture by file name: (H, W, 3) uint8.

        Raises:
            UsageError: no such picture.
            ImageError: damaged.
        """
        return self.pictures.pixels(name)


def read_pairs(path: str | Path) -> tuple[FacePair, ...]:
    """The pairs of a list, in order.

    Raises:
        UsageError: the list is missing, or a line is not a pair.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); name the folder of the faces") from error
    pairs: list[FacePair] = []
    for number, line in enumerate(lines):
        cells = line.split("\t")
        same = len(cells) == 3
        places = (1, 2) if same else (1, 3)
        if len(cells) not in (3, 4) or not all(cells[place].isdecimal() for place in places):
            raise UsageError(f"{path}: line {number + 1} is not a pair; get a fresh copy")
        other = cells[0] if same else cells[2]
        first, second = (
            f"{person}_{int(cells[place]):04d}.jpg" for person, place in zip((cells[0], other), places, strict=True)
        )
        pairs.append(FacePair(first, second, same, 1 + number // PAIRS_PER_FOLD))
    return tuple(pairs)


def face_crop(pixels: np.ndarray) -> np.ndarray:
    """The face in an aligned, centred picture, 112 x 112.

    Args:
        pixels: (H, W, 3) uint8: 150 px as the pairs come, 250 px deep-funnelled; other sizes are taken to show what
            those of 150 px show, and the box is scaled alike.

    Returns:
        (112, 112, 3) uint8.
    """
    from PIL import Image as Pil

    height, width = pixels.shape[:2]
    if height == width == _FUNNELLED_SIDE_PX:
        left, top, right, bottom = _FUNNELLED_BOX
        return np.ascontiguousarray(pixels[top:bottom, left:right])
    if height == width == _BOX_SIDE_PX:
        left, top, right, bottom = _BOX
        return np.ascontiguousarray(pixels[top:bottom, left:right])
    scale_x, scale_y = width / _BOX_SIDE_PX, height / _BOX_SIDE_PX
    box = (_BOX[0] * scale_x, _BOX[1] * scale_y, _BOX[2] * scale_x, _BOX[3] * scale_y)
    picture = Pil.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize((CROP_PX, CROP_PX), Pil.Resampling.BILINEAR, box=box))
