"""``smalto bench upscale``: super-resolution from the latent, as the multi-task paper measures it.

Each picture is halved (bicubic); the half is coded; its reconstruction is compared with the half, the answer of
``upscale`` with the original. Beside it the decoded half enlarged bicubically: what one would do without the task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pil

from smalto.bench.results import BenchResult, Table, bench_result
from smalto.data.photographs import image_tensor, picture_files, read_image
from smalto.errors import UsageError
from smalto.measure.psnr import psnr_db
from smalto.measure.ssim import ssim
from smalto.systems.system import System
from smalto.types import Image

PUBLISHED_NOTE = (
    "The paper (HiFiC, its table 1, Kodak): low .168 bpp, IR 23.53 dB / .719, ISR 29.55 / .787; "
    "high .485 bpp, IR 26.12 / .821, ISR 31.11 / .827. Its ISR exceeds its own IR by 5-6 dB; "
    "under the rule used here ISR stays below IR at every rate, so the two columns are not comparable."
)
_COLUMNS = ("quality", "bpp", "ir_psnr_db", "ir_ssim", "isr_psnr_db", "isr_ssim", "bicubic_psnr_db", "bicubic_ssim")


@dataclass(frozen=True)
class UpscaleSettings:
    """What to measure.

    Args:
        folder: pictures at the larger size.
        qualities: of the coded halves.
    """

    folder: Path
    qualities: tuple[int, ...] = (20, 40, 60, 80, 100)


def bench_upscale(
    system: System, settings: UpscaleSettings, progress: Callable[[int, int, str], None] | None = None
) -> BenchResult:
    """Measure reconstruction and super-resolution on a folder.

    Args:
        system: answers ``reconstruct`` and ``upscale``.
        settings: pictures and qualities.
        progress: called with (pictures done, pictures in all, the last one's name).

    Raises:
        UsageError: the folder has no pictures, or the system does not upscale.
    """
    files = picture_files(settings.folder)
    if "upscale" not in system.parts.heads:
        raise UsageError(f"system {system.name} does not answer upscale; name another with --system")
    rows: dict[int, list[Sequence[float]]] = {quality: [] for quality in settings.qualities}
    for number, path in enumerate(files):
        original = _even(read_image(path))
        half = halved(original)
        for quality in settings.qualities:
            rows[quality].append(_measure(system, original, half, quality))
        if progress is not None:
            progress(number + 1, len(files), path.name)
    means = [(quality, *(float(v) for v in np.mean(values, axis=0))) for quality, values in rows.items()]
    note = f"Means over {len(files)} pictures; bpp of the whole file over the half's pixels. {PUBLISHED_NOTE}"
    command = f"smalto bench upscale --data {settings.folder.name} --qualities {','.join(map(str, settings.qualities))}"
    table = Table("upscale", _COLUMNS, tuple(means), note)
    return bench_result("upscale", command, [table], ("smalto", "torch", "numpy", "pillow"))


def halved(picture: Image) -> Image:
    """A picture of even sides at half its size, bicubic with antialiasing (Pillow)."""
    small = picture.to_pil().convert("RGB").resize((picture.width // 2, picture.height // 2), Pil.Resampling.BICUBIC)
    return Image(np.asarray(small), source=picture.source)


def upscale_text(result: BenchResult) -> str:
    """The result as Markdown."""
    table = result.table("upscale")
    return f"# Super-resolution from the latent\n\n{result.heading()}\n{table.to_markdown()}\n{table.note}\n"


def _even(picture: Image) -> Image:
    pixels = np.asarray(picture.to_pil().convert("RGB"))
    return Image(pixels[: picture.height // 2 * 2, : picture.width // 2 * 2], source=picture.source)


def _measure(system: System, original: Image, half: Image, quality: int) -> Sequence[float]:
    packet = system.encode(half, quality=quality)
    decoded, large = system.run(["reconstruct", "upscale"], packet)
    plain = decoded.to_pil().resize((original.width, original.height), Pil.Resampling.BICUBIC)
    bpp = 8 * len(packet) / (half.height * half.width)
    pairs = ((decoded, half), (large, original), (Image(np.asarray(plain)), original))
    figures = [figure for answer, truth in pairs for figure in _quality(answer, truth)]
    return [bpp, *figures]


def _quality(answer: Image, truth: Image) -> tuple[float, float]:
    return psnr_db(answer.pixels, truth.pixels), float(ssim(image_tensor(answer), image_tensor(truth)).mean())
