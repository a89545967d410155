"""The main job on one picture: encode it, answer every task from the one file, and set JPEG and WebP beside it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PilImages

from smalto.data.photographs import read_image
from smalto.files import replace_file
from smalto.measure.classical import JPEG, WEBP, ClassicalCodec, EncodedPicture
from smalto.measure.psnr import psnr_db
from smalto.types import Image

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

    from smalto.systems import System

CROP_PX = 160
RIVALS = (JPEG, WEBP)
DECODER_TASK = "reconstruct"
UPSCALE_TASK = "upscale"


@dataclass(frozen=True)
class Shown:
    """One picture of the report.

    Args:
        label: what it is.
        file: its name in the report's folder.
        caption: what was measured about it, or an empty text.
    """

    label: str
    file: str
    caption: str = ""


@dataclass(frozen=True)
class Demonstration:
    """What came out of one picture.

    Args:
        title: the picture's name.
        height: in pixels.
        width: in pixels.
        packet_file: name of the .smalto file in the report's folder.
        num_bytes: its whole size.
        psnr_db: of the reconstruction.
        encode_s: seconds to encode, in process, the system loaded.
        answer_s: seconds to decode the latent and answer every task.
        whole: the original, the reconstruction and the classical codecs, whole.
        crop: the same, cut out where there is most detail.
        enlarged: the cut-out at twice the size: bicubic beside the answer of `upscale`.
        answers: answers of further tasks.
    """

    title: str
    height: int
    width: int
    packet_file: str
    num_bytes: int
    psnr_db: float
    encode_s: float
    answer_s: float
    whole: tuple[Shown, ...]
    crop: tuple[Shown, ...]
    enlarged: tuple[Shown, ...]
    answers: tuple[Shown, ...]

    @property
    def bits_per_pixel(self) -> float:
        """Of the whole file."""
        return 8 * self.num_bytes / (self.height * self.width)


def warm_up(system: System) -> None:
    """Encode and answer once on a small grey picture, so that later times hold no compilation."""
    grey = Image(np.full((64, 64, 3), 128, np.uint8))
    system.run(_single_tasks(system), system.encode(grey))


def _single_tasks(system: System) -> list[str]:
    """The tasks that one picture answers."""
    return [task for task in system.tasks if system.num_views(task) == 1]


def demonstrate(system: System, picture: Path, folder: Path, quality: str | float) -> Demonstration:
    """Encode ``picture``, answer every task, write all pictures into ``folder``.

    Args:
        system: what encodes and answers.
        picture: the file to show.
        folder: where everything goes; it exists.
        quality: ``low``, ``medium``, ``high`` or 0..100.
    """
    image = read_image(picture)
    started = time.perf_counter()
    packet = system.encode(image, quality=quality)
    encode_s = time.perf_counter() - started
    started = time.perf_counter()
    tasks = _single_tasks(system)
    answers = dict(zip(tasks, system.run(tasks, packet), strict=True))
    answer_s = time.perf_counter() - started
    stem = picture.stem
    packet.save(folder / f"{stem}.smalto")

    album = _Album(folder, stem, image.to_pil().convert("RGB"))
    ours = answers[DECODER_TASK].to_pil().convert("RGB")
    album.add("original", album.original, "")
    album.add("smalto", ours, _caption(len(packet), album.original, ours))
    for codec in RIVALS:
        album.add_rival(codec, len(packet))
    enlarged, others = (), []
    for task, answer in answers.items():
        if task == UPSCALE_TASK:
            enlarged = album.enlarge(ours, answer.to_pil().convert("RGB"))
        elif task != DECODER_TASK:
            answer.save(folder / f"{stem}.{task}.png")
            others.append(Shown(task, f"{stem}.{task}.png"))
    return Demonstration(
        title=picture.name,
        height=image.height,
        width=image.width,
        packet_file=f"{stem}.smalto",
        num_bytes=len(packet),
        psnr_db=_psnr_db(album.original, ours),
        encode_s=encode_s,
        answer_s=answer_s,
        whole=tuple(album.whole),
        crop=tuple(album.crops),
        enlarged=enlarged,
        answers=tuple(others),
    )


def detail_corner(pixels: np.ndarray, side: int) -> tuple[int, int]:
    """Top left corner (y, x) of the ``side`` x ``side`` window with the largest sum of absolute differences.

    Args:
        pixels: (H, W, 3) uint8.
        side: window side in pixels; a smaller picture gives (0, 0).
    """
    grey = pixels.astype(np.float64).mean(axis=2)
    energy = np.zeros_like(grey)
    energy[1:] += np.abs(np.diff(grey, axis=0))
    energy[:, 1:] += np.abs(np.diff(grey, axis=1))
    height, width = (min(side, length) for length in grey.shape)
    sums = np.pad(energy, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    windows = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    y, x = np.unravel_index(int(windows.argmax()), windows.shape)
    return int(y), int(x)


class _Album:
    """Pictures of one demonstration: writes each one whole and cut out at the same place."""

    def __init__(self, folder: Path, stem: str, original: PilImage) -> None:
        self.original = original
        self.whole: list[Shown] = []
        self.crops: list[Shown] = []
        self._folder = folder
        self._stem = stem
        y, x = detail_corner(np.asarray(original), CROP_PX)
        self._box = (x, y, min(x + CROP_PX, original.width), min(y + CROP_PX, original.height))

    def add(self, label: str, picture: PilImage, caption: str) -> None:
        """A picture that is written as PNG."""
        name = f"{self._stem}.{label}.png"
        self._write(name, picture)
        self._show(label, name, picture, caption)

    def add_rival(self, codec: ClassicalCodec, num_bytes: int) -> None:
        """A classical codec's own file: the largest that is not larger than ``num_bytes``, else its smallest."""
        pixels = np.asarray(self.original)
        lowest = codec.qualities[0]
        rival = EncodedPicture(codec.encode(pixels, lowest), lowest)
        note = ", its smallest"
        if len(rival.data) <= num_bytes:
            rival, note = codec.encode_to_size(pixels, num_bytes), ""
        picture = PilImages.fromarray(codec.decode(rival.data))
        name = f"{self._stem}.equal-size.{codec.name}"
        replace_file(self._folder / name, rival.data)
        caption = f"{_caption(len(rival.data), self.original, picture)}, quality {rival.quality}{note}"
        self._show(codec.label, name, picture, caption)

    def enlarge(self, ours: PilImage, upscaled: PilImage) -> tuple[Shown, ...]:
        """The cut-out at twice the size, bicubic and from the latent; the whole answer is written too."""
        self._write(f"{self._stem}.{UPSCALE_TASK}.png", upscaled)
        left, top, right, bottom = self._box
        box = (2 * left, 2 * top, 2 * right, 2 * bottom)
        doubled = (2 * ours.width, 2 * ours.height)
        bicubic = PilImages.Resampling.BICUBIC
        rows = (
            ("original, bicubic x2", "original-x2", self.original.resize(doubled, bicubic)),
            ("smalto, bicubic x2", "smalto-x2", ours.resize(doubled, bicubic)),
            ("smalto, upscale from the latent", "upscale-x2", upscaled),
        )
        shown = []
        for label, name, picture in rows:
            self._write(f"{self._stem}.crop.{name}.png", picture.crop(box))
            shown.append(Shown(label, f"{self._stem}.crop.{name}.png"))
        return tuple(shown)

    def _show(self, label: str, name: str, picture: PilImage, caption: str) -> None:
        crop = f"{self._stem}.crop.{label}.png"
        self._write(crop, picture.crop(self._box))
        self.whole.append(Shown(label, name, caption))
        self.crops.append(Shown(label, crop))

    def _write(self, name: str, picture: PilImage) -> None:
        buffer = BytesIO()
        picture.save(buffer, "PNG")
        replace_file(self._folder / name, buffer.getvalue())


def _caption(num_bytes: int, original: PilImage, picture: PilImage) -> str:
    return f"{num_bytes:,} bytes, {_psnr_db(original, picture):.2f} dB"


def _psnr_db(original: PilImage, picture: PilImage) -> float:
    return psnr_db(np.asarray(original), np.asarray(picture))
