"""The benchmark counts every byte, averages as it says, and names codecs that break their contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil

from smalto.bench.picture_codecs import ClassicalPeer
from smalto.bench.rate_distortion import Measurement, RdSettings, measure, measure_one, summarise
from smalto.bench.rd_tables import curve_points
from smalto.bench.results import Table
from smalto.errors import UsageError
from smalto.measure.classical import JPEG
from smalto.measure.psnr import psnr_db
from smalto.types import Image

OWN = '''
import zlib
import numpy as np
from smalto.types import Image

class Steps:
    """Coarser steps, deflated: a codec of three lines."""
    def __init__(self):
        self.stage_seconds = {}
    def encode(self, image, quality):
        step = max(1, 101 - quality)
        self.stage_seconds = {"round": 0.25}
        head = bytes([step]) + image.height.to_bytes(2, "big") + image.width.to_bytes(2, "big")
        return head + zlib.compress((image.pixels // step).tobytes())
    def decode(self, data):
        self.stage_seconds = {"unround": 0.5}
        step, shape = data[0], (int.from_bytes(data[1:3], "big"), int.from_bytes(data[3:5], "big"), 3)
        levels = np.frombuffer(zlib.decompress(data[5:]), np.uint8).reshape(shape).astype(int)
        return Image(np.clip(levels * step + step // 2, 0, 255).astype(np.uint8))
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    root.mkdir()
    rows, columns = np.mgrid[0:48, 0:64]
    for number in range(2):
        grain = np.random.default_rng(number).normal(0, 4 + 4 * number, (48, 64))
        planes = [120 + 60 * np.sin(rows / (7 + k) + number) + columns / 2 + grain for k in range(3)]
        Pil.fromarray(np.clip(np.stack(planes, axis=-1), 0, 255).astype(np.uint8)).save(root / f"{number}.png")
    with_alpha = np.dstack([np.asarray(Pil.open(root / "0.png")), np.full((48, 64), 7, np.uint8)])
    Pil.fromarray(with_alpha).save(root / "2.png")
    return root


@pytest.fixture
def own(tmp_path: Path) -> str:
    (tmp_path / "steps.py").write_text(OWN)
    return f"{tmp_path / 'steps.py'}:Steps"


def cells(table: Table, **wanted: object) -> list[dict[str, object]]:
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def test_jpeg_rows_are_what_a_plain_loop_gives(folder: Path) -> None:
    result = measure(RdSettings(folder, peers=("jpeg",), system=None, published=""))
    expected = []
    for path in sorted(folder.glob("*.png")):
        pixels = np.asarray(Pil.open(path).convert("RGB"))
        data = JPEG.encode(pixels, 20)
        expected.append((8 * len(data) / (48 * 64), psnr_db(JPEG.decode(data), pixels)))
        (row,) = cells(result.table("pictures"), picture=path.name, quality=20)
        assert row["num_bytes"] == len(data)
        assert (row["bpp"], row["psnr_db"]) == pytest.approx(expected[-1])
    (point,) = cells(result.table("curves"), quality=20)
    assert (point["bpp"], point["psnr_db"]) == pytest.approx(tuple(np.mean(expected, axis=0)))
    assert [table.name for table in result.tables] == ["pictures", "curves"]


def test_published_curves_stand_beside_kodak_alone(folder: Path, tmp_path: Path) -> None:
    settings = RdSettings(folder, peers=("jpeg",), system=None)
    curves = measure(settings).table("curves")
    assert "published curves left out" in curves.note
    assert set(curves.column("origin")) == {"measured"}
    kodak = tmp_path / "kodak"
    kodak.mkdir()
    for number in range(1, 25):
        Pil.new("RGB", (16, 16), (number, 9, 9)).save(kodak / f"kodim{number:02d}.png")
    curves = measure(replace(settings, folder=kodak)).table("curves")
    assert "published curves left out" not in curves.note
    assert "ELIC" in curves.column("codec")


def test_an_own_codec_with_stages_beside_a_peer(folder: Path, own: str) -> None:
    calls: list[tuple[int, int, str]] = []
    settings = RdSettings(folder, qualities=(60, 90), peers=("webp",), system=None, codec=own, published="")
    result = measure(settings, progress=lambda *call: calls.append(call))
    rows = cells(result.table("pictures"), codec=own)
    assert len(rows) == 6
    assert {row["encode.round_s"] for row in rows} == {0.25}
    assert {row["decode.unround_s"] for row in rows} == {0.5}
    assert calls[-1][:2] == (6 + 3 * 10, 6 + 3 * 10)
    (saving,) = cells(result.table("savings"), against="webp")
    assert saving["bd_rate_psnr_percent"] is None or float(str(saving["bd_rate_psnr_percent"])) > 0
    assert "steps.py:Steps" in result.command
    assert str(folder.parent) not in result.command


def row(codec: str, quality: int, num_bytes: int, psnr: float, picture: str = "a") -> Measurement:
    return Measurement(codec, picture, quality, 100, 80, num_bytes, psnr, 0.9 + quality / 1000, 0.1, 0.2)


def test_savings_and_gains_of_known_curves(tmp_path: Path) -> None:
    rows = [row("jpeg", q, 200 * q, 20 + q / 4) for q in (1, 2, 4, 8)]
    rows += [row("smalto", q, 150 * q, 20 + q / 4) for q in (1, 2, 4, 8)]
    result = summarise(rows, RdSettings(tmp_path, published="kodak"))
    (jpeg,) = cells(result.table("savings"), against="jpeg")
    assert jpeg["bd_rate_psnr_percent"] == pytest.approx(-25.0)
    assert jpeg["bd_rate_ms_ssim_percent"] == pytest.approx(-25.0)
    assert float(str(jpeg["bd_psnr_db"])) > 0
    assert jpeg["common_psnr_db"] == "20.25..22.00"
    (elic,) = cells(result.table("savings"), against="ELIC")
    assert (elic["bd_rate_psnr_percent"], elic["common_psnr_db"]) == (None, "none")
    gains = cells(result.table("gains"))
    by_rate = {line["bpp"]: line["over jpeg"] for line in gains}
    assert float(str(by_rate[0.4])) > 0
    assert by_rate[0.15] is None  # below JPEG's first point


def test_means_are_over_pictures() -> None:
    rows = [row("smalto", 5, 1000, 30.0, "a"), row("smalto", 5, 3000, 40.0, "b")]
    result = summarise(rows, RdSettings(Path("kodak"), published=""))
    assert curve_points(result.table("curves"), "smalto") == [(pytest.approx(2.0), pytest.approx(35.0))]


def test_equal_points_count_once() -> None:
    rows = [row("smalto", q, 1000, 30.0) for q in (0, 10)] + [row("smalto", 20, 2000, 33.0)]
    curves = summarise(rows, RdSettings(Path("kodak"), published="")).table("curves")
    assert curve_points(curves, "smalto") == [(1.0, 30.0), (2.0, 33.0)]


def test_peers_of_an_earlier_run_are_taken_over(folder: Path, own: str, tmp_path: Path) -> None:
    first = measure(RdSettings(folder, peers=("jpeg",), system=None, published=""))
    first.save(tmp_path / "rd.json")
    settings = RdSettings(
        folder, qualities=(50,), peers=("jpeg",), system=None, codec=own, published="", peers_from=tmp_path / "rd.json"
    )
    calls: list[int] = []
    second = measure(settings, progress=lambda done, total, what: calls.append(total))
    assert set(calls) == {3}
    columns = first.table("pictures").columns
    taken = [tuple(line[name] for name in columns) for line in cells(second.table("pictures"), codec="jpeg")]
    assert taken == list(first.table("pictures").rows)
    assert f"taken from the run of {first.date}" in second.table("curves").note
    Pil.new("RGB", (48, 48)).save(folder / "new.png")
    with pytest.raises(UsageError, match="other pictures"):
        measure(settings)


class Broken:
    """Breaks the contract as its quality says."""

    def encode(self, image: Image, quality: int) -> bytes:
        return bytes([quality]) if quality else "text"  # type: ignore[return-value]

    def decode(self, data: bytes) -> Image:
        return Image(np.zeros((3, 3, 3), np.uint8))


def test_broken_codecs_are_named() -> None:
    image = Image(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UsageError, match="returned str, not bytes"):
        measure_one("own", Broken(), image, 0, "a.png")
    with pytest.raises(UsageError, match="no Image of 4x4"):
        measure_one("own", Broken(), image, 1, "a.png")


def test_lossless_is_capped() -> None:
    image = Image(np.full((8, 8, 3), 128, np.uint8))
    measured = measure_one("jpeg", ClassicalPeer(JPEG), image, 95, "grey.png")
    assert measured.psnr_db == 100.0
    assert measured.ms_ssim == pytest.approx(1.0)


def test_wrong_settings_are_named(folder: Path) -> None:
    with pytest.raises(UsageError, match="'gif' is unknown"):
        RdSettings(folder, peers=("gif",))
    with pytest.raises(UsageError, match="each once"):
        RdSettings(folder, qualities=(1, 1))
    with pytest.raises(UsageError, match="not known"):
        RdSettings(folder, published="clic")
    with pytest.raises(UsageError, match="nothing to measure"):
        measure(RdSettings(folder, peers=(), system=None))
