"""Classical codecs: bytes, sizes, PSNR targets, and the measured points on Kodak."""

from __future__ import annotations

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil

from smalto.errors import ImageError, UsageError
from smalto.measure.classical import AVIF, CODECS, JPEG, WEBP, ClassicalCodec
from smalto.measure.psnr import psnr_db


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """A picture with edges, slopes and texture."""
    rows, columns = np.mgrid[0:96, 0:128]
    grain = np.random.default_rng(0).normal(0, 6, (96, 128))
    disc = 60.0 * ((rows - 40) ** 2 + (columns - 70) ** 2 < 900)
    return np.clip(
        np.stack([rows + disc + grain, columns + grain, 200 - rows / 2 - disc + grain], axis=-1), 0, 255
    ).astype(np.uint8)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
def test_quality_raises_rate_and_psnr(codec: ClassicalCodec, pixels: np.ndarray) -> None:
    files = [codec.encode(pixels, quality) for quality in (10, 50, 90)]
    scores = [psnr_db(codec.decode(data), pixels) for data in files]
    assert len(files[0]) < len(files[1]) < len(files[2])
    assert scores[0] < scores[1] < scores[2]
    assert Pil.open(BytesIO(files[0])).format == codec.format


def test_jpeg_is_progressive_and_optimised(pixels: np.ndarray) -> None:
    data = JPEG.encode(pixels, 75)
    assert b"\xff\xc2" in data  # start of a progressive frame
    plain = BytesIO()
    Pil.fromarray(pixels).save(plain, "JPEG", quality=75)
    assert len(data) < len(plain.getvalue())


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
def test_encode_to_size_is_the_best_that_fits(codec: ClassicalCodec, pixels: np.ndarray) -> None:
    found = codec.encode_to_size(pixels, 3000)
    assert len(found.data) <= 3000
    assert found.data == codec.encode(pixels, found.quality)
    assert len(codec.encode(pixels, found.quality + 1)) > 3000
    assert codec.encode_to_size(pixels, 10**7).quality == codec.qualities[1]
    with pytest.raises(UsageError, match="smallest file"):
        codec.encode_to_size(pixels, 10)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
def test_encode_to_psnr_is_the_least_that_reaches_it(codec: ClassicalCodec, pixels: np.ndarray) -> None:
    found = codec.encode_to_psnr(pixels, 30.0)
    assert psnr_db(codec.decode(found.data), pixels) >= 30.0
    assert psnr_db(codec.decode(codec.encode(pixels, found.quality - 1)), pixels) < 30.0
    with pytest.raises(UsageError, match="best file"):
        codec.encode_to_psnr(pixels, 90.0)


def test_wrong_use_is_named(pixels: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"outside 1\.\.95"):
        JPEG.encode(pixels, 0)
    with pytest.raises(UsageError, match="not uint8"):
        WEBP.encode(pixels[:, :, 0], 50)
    with pytest.raises(ImageError, match="damaged"):
        AVIF.decode(AVIF.encode(pixels, 50)[:100])


def test_torch_is_not_imported() -> None:
    code = (
        "import sys, numpy as np\n"
        "from smalto.measure.bd_rate import bd_rate\n"
        "from smalto.measure.classical import JPEG\n"
        "from smalto.measure.psnr import psnr_db\n"
        "pixels = np.zeros((8, 8, 3), np.uint8)\n"
        "psnr_db(JPEG.decode(JPEG.encode(pixels, 50)), pixels)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "quality", "bpp", "psnr"),
    [
        (JPEG, 10, 0.268, 26.67),
        (JPEG, 20, 0.458, 29.14),
        (JPEG, 30, 0.615, 30.49),
        (JPEG, 50, 0.865, 32.17),
        (WEBP, 5, 0.217, 28.11),
        (WEBP, 20, 0.377, 30.19),
        (WEBP, 40, 0.577, 32.20),
        (WEBP, 60, 0.769, 33.73),
        (AVIF, 25, 0.189, 28.60),
        (AVIF, 35, 0.308, 30.41),
        (AVIF, 45, 0.494, 32.46),
        (AVIF, 55, 0.721, 34.28),
    ],
)
def test_the_reference_points_on_kodak(codec: ClassicalCodec, quality: int, bpp: float, psnr: float) -> None:
    folder = Path(os.environ.get("SMALTO_DATA", "")) / "kodak"
    if not os.environ.get("SMALTO_DATA") or not folder.is_dir():
        pytest.skip("SMALTO_DATA names no folder with kodak in it")
    points = []
    for path in sorted(folder.glob("*.png")):
        picture = np.asarray(Pil.open(path).convert("RGB"))
        data = codec.encode(picture, quality)
        points.append((8 * len(data) / picture[:, :, 0].size, psnr_db(codec.decode(data), picture)))
    assert np.mean(points, axis=0) == pytest.approx((bpp, psnr), rel=0.01)
