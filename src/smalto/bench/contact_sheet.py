"""One picture that shows a demonstration: cut-outs beside each other, and the same place at twice the size."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image as PilImages
from PIL import ImageDraw, ImageFont

from smalto.bench.demonstration import Demonstration, Shown
from smalto.files import replace_file

TILE_PX = 320
GAP_PX = 12
TEXT_PX = 15
_PAPER, _INK = (255, 255, 255), (30, 30, 30)


def write_contact_sheet(shown: Demonstration, folder: Path) -> Path:
    """Write ``NAME.sheet.png`` from the pictures of a demonstration, which lie in ``folder``.

    The upper row holds the cut-outs of the original, ours and the classical codecs, enlarged without smoothing; the
    lower one the same place at twice the size, bicubic and from the latent.

    Returns:
        The sheet's path.
    """
    width = GAP_PX + max(len(shown.crop), len(shown.enlarged)) * (TILE_PX + GAP_PX)
    captions = {picture.label: picture.caption for picture in shown.whole}
    upper = _row(folder, [Shown(crop.label, crop.file, captions[crop.label]) for crop in shown.crop], width)
    rows = [upper] + ([_row(folder, shown.enlarged, width)] if shown.enlarged else [])
    head = f"{shown.title}: {shown.width} x {shown.height} pixels, one file of {shown.num_bytes:,} bytes, "
    head += f"{shown.bits_per_pixel:.3f} bits per pixel"
    top = GAP_PX + TEXT_PX + GAP_PX
    sheet = PilImages.new("RGB", (width, top + sum(row.height + GAP_PX for row in rows)), _PAPER)
    ImageDraw.Draw(sheet).text((GAP_PX, GAP_PX), head, _INK, ImageFont.load_default(TEXT_PX))
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + GAP_PX
    buffer = BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    target = folder / f"{Path(shown.title).stem}.sheet.png"
    replace_file(target, buffer.getvalue())
    return target


def _row(folder: Path, pictures: Sequence[Shown], width: int) -> PilImages.Image:
    """Pictures of one width side by side, their labels and captions below."""
    tiles = [_enlarged(folder / picture.file) for picture in pictures]
    height = max(tile.height for tile in tiles)
    row = PilImages.new("RGB", (width, height + 3 * TEXT_PX), _PAPER)
    draw, font = ImageDraw.Draw(row), ImageFont.load_default(TEXT_PX)
    for k, (picture, tile) in enumerate(zip(pictures, tiles, strict=True)):
        left = GAP_PX + k * (TILE_PX + GAP_PX)
        row.paste(tile, (left, 0))
        text = f"{picture.label}: {picture.caption}" if picture.caption else picture.label
        draw.text((left, height + TEXT_PX // 3), text, _INK, font)
    return row


def _enlarged(path: Path) -> PilImages.Image:
    """The picture at a tile's width, its pixels left square."""
    with PilImages.open(path) as picture:
        height = max(1, round(TILE_PX * picture.height / picture.width))
        return picture.convert("RGB").resize((TILE_PX, height), PilImages.Resampling.NEAREST)
