"""Labelled street scenes: CamVid and Cityscapes as people hold them, both in CamVid's eleven classes.

Layouts that are read, each recognised by its folders, in a folder or in a .tar of it:

- CamVid in the SegNet split: ``train``, ``val``, ``test`` with pictures and ``trainannot``, ... with PNGs of class ids
  0..10, 11 for void;
- Cityscapes: ``leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png`` and ``gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png``.

Source: Brostow et al. 2009 (CamVid), Badrinarayanan et al. 2017 (the split); Cordts et al. 2016 (Cityscapes); the map
of Cityscapes' classes to CamVid's follows the Shared Neural Space paper's setting.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from smalto.data.photographs import EXTENSIONS, read_image
from smalto.errors import ImageError, UsageError
from smalto.types import Image, LabelMap

Split = Literal["train", "val", "test"]
VOID = 255
CLASSES = (
    "Sky",
    "Building",
    "Pole",
    "Road",
    "Pavement",
    "Tree",
    "SignSymbol",
    "Fence",
    "Car",
    "Pedestrian",
    "Bicyclist",
)
COLOURS = (
    (128, 160, 216),
    (128, 0, 0),
    (192, 192, 128),
    (128, 64, 128),
    (232, 112, 200),
    (80, 144, 32),
    (224, 160, 0),
    (96, 96, 144),
    (64, 0, 160),
    (224, 32, 48),
    (0, 144, 160),
)
_CITYSCAPES_IDS = {
    7: "Road",
    8: "Pavement",
    11: "Building",
    13: "Fence",
    17: "Pole",
    19: "SignSymbol",  # traffic light
    20: "SignSymbol",
    21: "Tree",
    23: "Sky",
    24: "Pedestrian",
    25: "Bicyclist",  # rider
    26: "Car",
    33: "Bicyclist",
}  # wall, terrain, truck, bus, train and motorcycle have no counterpart; the rest is void there too


@dataclass(frozen=True)
class LabelledFiles:
    """A picture and its labels, not read yet.

    Args:
        root: folder or .tar.
        picture: path inside it.
        labels: path inside it.
        kind: of the labels' ids.
    """

    root: Path
    picture: str
    labels: str
    kind: Literal["camvid", "cityscapes"]

    @property
    def name(self) -> str:
        """The picture's name."""
        return PurePosixPath(self.picture).stem

    def stamp(self) -> str:
        """What changes when the files do."""
        paths = [self.root] if self.root.is_file() else [self.root / self.picture, self.root / self.labels]
        states = [path.stat() for path in paths]
        return "\0".join([self.picture, *(f"{state.st_size} {state.st_mtime_ns}" for state in states)])


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """A picture and the class of each of its pixels.

    Args:
        picture: 8 bits a channel.
        ids: (H, W) uint8: 0..10 as ``CLASSES`` names them, ``VOID`` where nothing counts.
        name: of the picture.
    """

    picture: Image
    ids: np.ndarray
    name: str


class LabelledTree:
    """The labelled pictures of one split.

    Args:
        root: a folder in one of the layouts, or a .tar of it.
        split: which part; Cityscapes' own ``test`` is not labelled.

    Raises:
        UsageError: not such a folder, or the split is not in it.
    """

    def __init__(self, root: str | Path, split: Split) -> None:
        self.root = Path(root)
        self._members = _tar_members(self.root) if self.root.is_file() else {}
        names = list(self._members) if self.root.is_file() else _folder_names(self.root, split)
        self.files = tuple(_paired(self.root, sorted(names), split))
        if not self.files:
            raise UsageError(
                f"{self.root}: no labelled pictures of split {split}; expected {split}/ and {split}annot/ (CamVid), or "
                f"leftImg8bit/{split}/ and gtFine/{split}/ (Cityscapes)"
            )

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> LabelledPicture:
        """One picture and its labels.

        Raises:
            ImageError: one cannot be read, their sizes differ, or the ids are of another set.
        """
        files = self.files[index]
        picture, raw = read_image(self._open(files.picture)), self._open(files.labels)
        ids = _class_ids(_grey_levels(raw, f"{self.root}/{files.labels}"), files)
        if ids.shape != (picture.height, picture.width):
            raise ImageError(f"{self.root}/{files.labels}: labels {ids.shape} are not of their picture's size")
        return LabelledPicture(picture, ids, files.name)

    def _open(self, name: str) -> BytesIO:
        if not self._members:
            stream = BytesIO((self.root / name).read_bytes())
        else:
            offset, size = self._members[name]
            with self.root.open("rb") as handle:
                handle.seek(offset)
                stream = BytesIO(handle.read(size))
        stream.name = f"{self.root}/{name}"
        return stream


def label_map(ids: np.ndarray, source: str = "labels") -> LabelMap:
    """Class ids (H, W) uint8 with CamVid's names and colours."""
    return LabelMap(ids, CLASSES, COLOURS, source)


def _folder_names(root: Path, split: str) -> list[str]:
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder or .tar; name the labelled pictures with --data")
    parts = (split, f"{split}annot", f"leftImg8bit/{split}", f"gtFine/{split}")
    found = (path for part in parts for path in (root / part).rglob("*") if path.is_file())
    return [path.relative_to(root).as_posix() for path in found]


def _tar_members(root: Path) -> dict[str, tuple[int, int]]:
    """Name -> (offset, size) of every file of an uncompressed tar."""
    try:
        with tarfile.open(root, "r:") as archive:
            return {m.name.removeprefix("./"): (m.offset_data, m.size) for m in archive if m.isfile()}
    except tarfile.TarError as error:
        raise UsageError(f"{root}: not a folder and not a .tar; name the labelled pictures with --data") from error


def _paired(root: Path, names: list[str], split: str) -> list[LabelledFiles]:
    """Pictures that have labels; a picture without them is an error."""
    known, pairs = set(names), []
    for name in names:
        path = PurePosixPath(name)
        if path.suffix.lower() not in EXTENSIONS:
            continue
        if path.parts[0] == split:
            labels = PurePosixPath(f"{split}annot", *path.parts[1:]).with_suffix(".png")
            pairs.append(LabelledFiles(root, name, labels.as_posix(), "camvid"))
        elif path.parts[:2] == ("leftImg8bit", split) and path.stem.endswith("_leftImg8bit"):
            scene = path.stem.removesuffix("_leftImg8bit")
            labels = PurePosixPath("gtFine", *path.parts[1:-1], f"{scene}_gtFine_labelIds.png")
            pairs.append(LabelledFiles(root, name, labels.as_posix(), "cityscapes"))
    for pair in pairs:
        if pair.labels not in known:
            raise UsageError(f"{root}/{pair.picture}: has no labels {pair.labels}; get a whole copy of the set")
    return pairs


def _grey_levels(stream: BytesIO, name: str) -> np.ndarray:
    """(H, W) uint8 of a PNG as it is stored: no colour management, palette indexes stay indexes."""
    from PIL import Image as Pil

    try:
        with Pil.open(stream, formats=("PNG",)) as picture:
            levels = np.asarray(picture)
    except (OSError, ValueError, SyntaxError, Pil.DecompressionBombError) as error:
        raise ImageError(f"{name}: cannot be read as a PNG ({error}); get a fresh copy") from error
    if levels.ndim != 2 or levels.dtype != np.uint8:
        raise ImageError(f"{name}: labels are one 8-bit channel of class ids, not {levels.dtype} {levels.shape}")
    return levels


def _class_ids(levels: np.ndarray, files: LabelledFiles) -> np.ndarray:
    """Ids as stored to ids of ``CLASSES``."""
    if files.kind == "camvid":
        if int(levels.max()) > len(CLASSES) and set(np.unique(levels[levels > len(CLASSES)]).tolist()) != {VOID}:
            raise ImageError(f"{files.root}/{files.labels}: holds class {int(levels.max())}; CamVid's ids end at 11")
        return np.where(levels < len(CLASSES), levels, VOID).astype(np.uint8)
    table = np.full(256, VOID, np.uint8)
    for number, name in _CITYSCAPES_IDS.items():
        table[number] = CLASSES.index(name)
    return table[levels]
