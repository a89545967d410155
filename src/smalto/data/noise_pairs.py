"""Pairs of a noisy photograph and its clean counterpart, as the PolyU set has them: NAME_real.JPG and NAME_mean.JPG.

Source: Xu et al., "Real-world noisy image denoising: a new benchmark", 2018: the mean of many shots of a still scene
stands for the clean picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from smalto.data.photographs import picture_files, read_image
from smalto.errors import ImageError, UsageError
from smalto.types import Image

NOISY, CLEAN = "_real", "_mean"


@dataclass(frozen=True)
class NoisePair:
    """Two files of one scene.

    Args:
        name: of the scene.
        noisy: one shot.
        clean: the mean of many.
    """

    name: str
    noisy: Path
    clean: Path

    def read(self) -> tuple[Image, Image]:
        """The noisy picture and the clean one, of one size.

        Raises:
            ImageError: one cannot be read, or their sizes differ.
        """
        noisy, clean = read_image(self.noisy), read_image(self.clean)
        if (noisy.height, noisy.width) != (clean.height, clean.width):
            raise ImageError(f"{self.noisy}: not of the size of {self.clean.name}; get a fresh copy")
        return noisy, clean


def noise_pairs(folder: str | Path) -> tuple[NoisePair, ...]:
    """The pairs in a folder and below it, by name.

    Raises:
        UsageError: there are none, or a picture has no counterpart.
    """
    files = {path.with_suffix(""): path for path in picture_files(folder)}
    pairs = []
    for stem, path in files.items():
        if stem.name.endswith(NOISY):
            scene = stem.name[: -len(NOISY)]
            clean = files.get(stem.with_name(scene + CLEAN))
            if clean is None:
                raise UsageError(f"{path}: has no {scene}{CLEAN} beside it; get a whole copy of the set")
            pairs.append(NoisePair(scene, path, clean))
    if not pairs:
        raise UsageError(f"{folder}: no pairs NAME{NOISY} and NAME{CLEAN} inside; name the folder that holds them")
    return tuple(sorted(pairs, key=lambda pair: pair.name))
