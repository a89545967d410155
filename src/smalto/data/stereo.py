"""Stereo pairs with known disparity: Middlebury and SceneFlow as people hold them.

Layouts that are read, each recognised by its files:

- a folder a scene: ``left.png``, ``right.png`` and ``disparity_left_xN.png`` (8-bit, value / N, 0 unknown) or
  ``disparity_left.pfm``;
- Middlebury's third evaluation: ``im0.png``, ``im1.png`` and ``disp0GT.pfm`` (infinite where unknown);
- SceneFlow: ``frames_finalpass/**/left/NAME.png`` and ``.../right/NAME.png`` beside ``disparity/**/left/NAME.pfm``.

Source: Scharstein et al., Middlebury stereo sets 2003, 2005, 2006, 2014; Mayer et al. 2016 (SceneFlow).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smalto.data.pfm import read_pfm
from smalto.data.photographs import read_image
from smalto.errors import ImageError, UsageError
from smalto.types import Image

_SCALED = re.compile(r"^disparity_left_x([1-9][0-9]{0,4})\.png$")
_VIEWS = (("left.png", "right.png"), ("im0.png", "im1.png"))
_FRAMES = ("frames_finalpass", "frames_cleanpass")
_PICTURES = (".png", ".webp")


@dataclass(frozen=True, eq=False)
class StereoPair:
    """Two rectified views and the disparity of the left one.

    Args:
        left: the left view.
        right: the right view, of the same size.
        disparity: (H, W) float32 pixels: a point at column x of the left view is at x - disparity in the right one;
            0 where it is not known.
        name: of the scene.

    Raises:
        ImageError: sizes differ.
    """

    left: Image
    right: Image
    disparity: np.ndarray
    name: str

    def __post_init__(self) -> None:
        sizes = [(view.height, view.width) for view in (self.left, self.right)]
        if sizes[0] != sizes[1] or self.disparity.shape != sizes[0]:
            raise ImageError(
                f"{self.name}: views {sizes[0]} and {sizes[1]} and disparity {self.disparity.shape} differ in size; "
                "get a fresh copy"
            )

    @property
    def is_known(self) -> np.ndarray:
        """(H, W) bool: where the disparity is known."""
        return self.disparity > 0


@dataclass(frozen=True)
class StereoFiles:
    """Where a pair lies; ``read_pair`` opens it.

    Args:
        left: the left view.
        right: the right view.
        disparity: .pfm in pixels, or 8-bit .png.
        divisor: what values of a .png are divided by.
        name: of the scene.
    """

    left: Path
    right: Path
    disparity: Path
    divisor: float
    name: str


def stereo_files(folder: str | Path) -> tuple[StereoFiles, ...]:
    """Every stereo pair under a folder, in any of the layouts above, sorted by name.

    Args:
        folder: of one scene, of scenes, or of a SceneFlow set.

    Raises:
        UsageError: no such folder, or no pair in it.
        ImageError: a disparity map without its views.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"{root}: not a folder; name a folder of stereo pairs")
    found = [*_scenes(root), *_sceneflow(root)]
    if not found:
        raise UsageError(
            f"{root}: no stereo pairs here; expected left.png, right.png and disparity_left_xN.png or .pfm, "
            "im0.png, im1.png and disp0GT.pfm, or frames_finalpass/ and disparity/"
        )
    return tuple(sorted(found, key=lambda pair: pair.name))


def read_pair(files: StereoFiles) -> StereoPair:
    """Open a pair.

    Raises:
        ImageError: a file is missing or damaged, a disparity map has colours or more than 8 bits, or sizes differ.
    """
    return StereoPair(read_image(files.left), read_image(files.right), _disparity(files), files.name)


def _scenes(root: Path) -> list[StereoFiles]:
    """Pairs of folders that hold one scene each."""
    maps = [path for path in root.rglob("disparity_left*") if _SCALED.match(path.name)]
    maps += [*root.rglob("disparity_left.pfm"), *root.rglob("disp0GT.pfm")]
    found: list[StereoFiles] = []
    for path in maps:
        views = _VIEWS[path.name == "disp0GT.pfm"]
        left, right = (path.parent / view for view in views)
        _require(path, left, right)
        match = _SCALED.match(path.name)
        name = path.parent.relative_to(root).as_posix() if path.parent != root else root.name
        found.append(StereoFiles(left, right, path, float(match[1]) if match else 1.0, name))
    return found


def _sceneflow(root: Path) -> list[StereoFiles]:
    """Pairs of SceneFlow sets: the frames' path is the disparity's, with another first folder."""
    found: list[StereoFiles] = []
    for maps in sorted(path for path in root.rglob("disparity") if path.is_dir()):
        frames = next((maps.with_name(name) for name in _FRAMES if maps.with_name(name).is_dir()), None)
        for path in sorted(maps.rglob("left/*.pfm")):
            if frames is None:
                raise ImageError(f"{path}: has no {_FRAMES[0]} folder beside its set; unpack the frames too")
            inside = path.relative_to(maps)
            picture = frames / inside.parent
            suffix = next((end for end in _PICTURES if (picture / (path.stem + end)).is_file()), _PICTURES[0])
            left = picture / (path.stem + suffix)
            right = picture.parent / "right" / left.name
            _require(path, left, right)
            scene = (maps.parent.relative_to(root) / inside.parent.parent / path.stem).as_posix()
            found.append(StereoFiles(left, right, path, 1.0, scene))
    return found


def _require(disparity: Path, *views: Path) -> None:
    for view in views:
        if not view.is_file():
            raise ImageError(f"{disparity}: its view {view.name} is not at {view}; get a fresh copy")


def _disparity(files: StereoFiles) -> np.ndarray:
    """(H, W) float32 pixels, 0 where the file knows nothing: zero, negative or not finite."""
    if files.disparity.suffix.lower() == ".pfm":
        values = read_pfm(files.disparity)
        if values.ndim != 2:
            raise ImageError(f"{files.disparity}: a disparity map has one plane, this has three; get a fresh copy")
    else:
        image = read_image(files.disparity)
        if image.pixels.dtype != np.uint8 or not image.grey:
            raise ImageError(f"{files.disparity}: not an 8-bit grey picture, as a scaled disparity map is")
        values = image.pixels[:, :, 0].astype(np.float32) / np.float32(files.divisor)
    return np.where(np.isfinite(values) & (values > 0), values, np.float32(0.0))
