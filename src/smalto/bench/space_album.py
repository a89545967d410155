"""One page of pictures of the shared neural space: ``python -m smalto.bench.space_album PICTURE... -o PAGE.png``.

A row a picture, cut out where there is most detail: the original; what its file decodes to; the same as an archive;
with Gaussian noise, and what the denoising head makes of the noisy one's file; as a mosaic, and what the RAW capture's
file decodes to; its planes turned and enlarged, then decoded. Every caption is measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PilImages
from PIL import ImageDraw, ImageFont
from PIL.Image import Image as PilImage

from smalto.bench.demonstration import detail_corner
from smalto.data.photographs import image_tensor, read_image
from smalto.data.raw_mosaic import Mosaic
from smalto.errors import SmaltoError, UsageError
from smalto.files import replace_file
from smalto.layers.bayer import channel_map, mosaic_of
from smalto.measure.psnr import psnr_db
from smalto.systems import System, load
from smalto.systems.shared_space import SPEC, SYSTEM_NAME
from smalto.types import Affine, Image

CUT_PX = 192
NOISE_DEVIATION = 25.0
TURN = Affine(rotation_degrees=20.0, scale=1.2)
_CAPTION_PX = 28
_SEED = 0


def album_rows(system: System, picture: Image, quality: str | float = "medium") -> list[tuple[str, str, np.ndarray]]:
    """The tiles of one picture: (label, caption, (H, W, 3) uint8); tasks that the system lacks are left out.

    Args:
        system: of the shared space.
        picture: of any size.
        quality: of the file that is no archive.

    Raises:
        UsageError: the system is not of the shared space.
    """
    if system.parts.spec != SPEC:
        raise UsageError(f"system {system.name} is not the shared neural space; name one that is")
    pixels = np.asarray(picture.to_pil().convert("RGB"))
    tiles = [("original", f"{picture.width} x {picture.height}", pixels)]
    finest = "archive" if system.parts.archive is not None else 100
    for name, level in (("file", quality), (f"quality {finest}", finest)):
        packet = system.encode(pixels, quality=level)
        answer = system.run("reconstruct", packet).pixels
        tiles.append((name, f"{_bpp(len(packet), pixels)}, {psnr_db(answer, pixels):.2f} dB", answer))
    if "denoise" in system.tasks:
        noise = np.random.default_rng(_SEED).normal(0, NOISE_DEVIATION, pixels.shape)
        noisy = np.clip(pixels + noise, 0, 255).round().astype(np.uint8)
        packet = system.encode(noisy, quality=finest)
        clean = system.run("denoise", packet).pixels
        tiles.append(("noise 25", f"{psnr_db(noisy, pixels):.2f} dB", noisy))
        tiles.append(("denoise", f"{_bpp(len(packet), pixels)}, {psnr_db(clean, pixels):.2f} dB", clean))
    if "raw" in system.parts.encoders:
        capture = capture_of(picture)
        packet = system.encode(capture, quality=finest)
        developed = system.run("reconstruct", packet).pixels
        tiles.append(("mosaic", "RGGB, one value a pixel", _as_seen(picture)))
        tiles.append(("RAW file", f"{_bpp(len(packet), pixels)}, {psnr_db(developed, pixels):.2f} dB", developed))
    turned = system.run("reconstruct", system.latent_of(pixels).transform(TURN)).pixels
    tiles.append(("planes turned", "20 degrees, 1.2 times", turned))
    return tiles


def capture_of(picture: Image) -> Mosaic:
    """The linear RGGB mosaic that a sensor without noise keeps of a picture; white is white already."""
    coded = mosaic_of(image_tensor(picture))[0, 0].double().numpy()
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    return Mosaic(linear.astype(np.float32), "RGGB", picture.source, (1.0, 1.0, 1.0))


def _as_seen(picture: Image) -> np.ndarray:
    """The mosaic with each value in its own colour."""
    x = image_tensor(picture)
    place = channel_map("RGGB", picture.height, picture.width)
    shown = torch.zeros_like(x).scatter(1, place[None, None], x.gather(1, place[None, None]))
    return (shown[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def _bpp(num_bytes: int, pixels: np.ndarray) -> str:
    return f"{8 * num_bytes / (pixels.shape[0] * pixels.shape[1]):.2f} bpp"


def draw_album(rows: Sequence[Sequence[tuple[str, str, np.ndarray]]]) -> PilImage:
    """Rows of tiles on one sheet, each cut out where the row's original has most detail."""
    columns = max(len(row) for row in rows)
    sheet = PilImages.new("RGB", (columns * (CUT_PX + 4), len(rows) * (CUT_PX + _CAPTION_PX + 4)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for number, row in enumerate(rows):
        y, x = detail_corner(row[0][2], CUT_PX)
        top = number * (CUT_PX + _CAPTION_PX + 4)
        for place, (label, caption, pixels) in enumerate(row):
            left = place * (CUT_PX + 4)
            sheet.paste(PilImages.fromarray(pixels[y : y + CUT_PX, x : x + CUT_PX]), (left, top + _CAPTION_PX))
            pen.text((left + 2, top + 2), label, fill="black", font=font)
            pen.text((left + 2, top + 14), caption, fill="black", font=font)
    return sheet


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m smalto.bench.space_album", description="pictures of the space")
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="PAGE.png")
    parser.add_argument("--quality", default="medium", help="of the file that is no archive")
    chosen = parser.parse_args(arguments)
    try:
        system = load(SYSTEM_NAME, dtype=torch.float32)
        rows = [album_rows(system, read_image(path), chosen.quality) for path in chosen.pictures]
        buffer = BytesIO()
        draw_album(rows).save(buffer, "PNG", optimize=True)
        replace_file(chosen.output, buffer.getvalue())
    except SmaltoError as error:
        sys.stderr.write(f"smalto: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
