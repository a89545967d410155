"""encode, decode, run and demo with the installed default system, on small pictures."""

from __future__ import annotations

import base64
import functools
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImages

import smalto as package
from smalto import Packet, systems
from smalto.systems.joined_packets import join_packets
from tests.cli.conftest import Outcome

Command = Callable[..., Outcome]
TASKS = ("reconstruct", "upscale")


@pytest.fixture(scope="module")
def loaded() -> Callable[..., package.System]:
    """``smalto.load``, remembering what it loaded."""
    return functools.cache(systems.load)


@pytest.fixture(autouse=True)
def load_once(monkeypatch: pytest.MonkeyPatch, loaded: Callable[..., package.System]) -> None:
    """Every command of this module gets the same loaded system."""
    monkeypatch.setattr(package, "load", loaded)


def _picture(height: int, width: int, mode: str = "RGB") -> PilImages.Image:
    y, x = np.mgrid[0:height, 0:width]
    planes = [128 + 80 * np.sin(x / 11 + y / 17), 128 + 60 * np.cos(y / 9), 128 + 50 * np.sin(x / 5), 255.0 * (x > y)]
    pixels = np.stack(planes, axis=2).astype(np.uint8)
    return PilImages.fromarray(pixels, "RGBA").convert(mode) if mode != "RGBA" else PilImages.fromarray(pixels)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture whose sides are no multiples of anything."""
    path = tmp_path / "waves.png"
    _picture(75, 101).save(path)
    return path


@pytest.fixture
def coded(picture: Path, smalto: Command) -> Path:
    """The picture, encoded beside itself."""
    assert smalto("encode", picture).code == 0
    return picture.with_suffix(".smalto")


def test_encode_says_the_true_size(smalto: Command, picture: Path) -> None:
    outcome = smalto("encode", picture)
    size = picture.with_suffix(".smalto").stat().st_size
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == (
        f"{picture} -> {picture.with_suffix('.smalto')}: {size:,} bytes, {8 * size / (75 * 101):.3f} bits per pixel\n"
    )


def test_quiet_encode_is_silent(smalto: Command, picture: Path) -> None:
    assert smalto("encode", picture, "-q") == Outcome(0, "", "")
    assert picture.with_suffix(".smalto").exists()


def test_quality_rises_in_rate(smalto: Command, picture: Path, tmp_path: Path) -> None:
    sizes = []
    for quality in ("0", "low", "medium", "high", "100"):
        assert smalto("encode", picture, "-o", tmp_path / "q.smalto", "--quality", quality).code == 0
        sizes.append((tmp_path / "q.smalto").stat().st_size)
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_words_are_the_documented_numbers(smalto: Command, picture: Path, tmp_path: Path) -> None:
    for word, number in (("low", "20"), ("medium", "40"), ("high", "60")):
        smalto("encode", picture, "-o", tmp_path / "word.smalto", "--quality", word)
        smalto("encode", picture, "-o", tmp_path / "number.smalto", "--quality", number)
        assert (tmp_path / "word.smalto").read_bytes() == (tmp_path / "number.smalto").read_bytes()


def test_bpp_is_met_from_below(smalto: Command, picture: Path, tmp_path: Path) -> None:
    smalto("encode", picture, "-o", tmp_path / "q.smalto", "--quality", "70")
    limit = 8 * (tmp_path / "q.smalto").stat().st_size / (75 * 101)
    assert smalto("encode", picture, "-o", tmp_path / "b.smalto", "--bpp", f"{limit:.6f}").code == 0
    size = (tmp_path / "b.smalto").stat().st_size
    assert 0.8 * limit < 8 * size / (75 * 101) <= limit + 1e-5


def test_a_rate_that_cannot_be_met_is_wrong_usage_and_leaves_nothing(smalto: Command, picture: Path) -> None:
    outcome = smalto("encode", picture, "--bpp", "0.0001")
    assert outcome.code == 2
    assert str(picture) in outcome.err
    assert not picture.with_suffix(".smalto").exists()


def test_unknown_names_are_wrong_usage(smalto: Command, picture: Path, coded: Path) -> None:
    assert smalto("encode", picture, "--system", "nobody").code == 2
    assert smalto("encode", picture, "--encoder", "nobody").code == 2
    assert smalto("systems", "nobody").code == 2
    outcome = smalto("run", "levitate", coded)
    assert outcome.code == 2
    assert "reconstruct" in outcome.err


def test_something_that_is_no_picture_is_exit_3(smalto: Command, coded: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    for name in (tmp_path / "text.png", coded):
        outcome = smalto("encode", name, "-o", tmp_path / "never.smalto")
        assert outcome.code == 3
        assert str(name) in outcome.err
    assert not (tmp_path / "never.smalto").exists()


def test_decode_gives_the_picture_back(smalto: Command, picture: Path, coded: Path) -> None:
    assert smalto("decode", coded).code == 0
    with PilImages.open(picture.with_name("waves.decoded.png")) as decoded:
        assert (decoded.size, decoded.mode) == ((101, 75), "RGB")


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA"])
def test_grey_and_alpha_come_back(smalto: Command, tmp_path: Path, mode: str) -> None:
    original = _picture(40, 50, mode)
    original.save(tmp_path / "p.png")
    assert smalto("encode", tmp_path / "p.png").code == 0
    assert smalto("decode", tmp_path / "p.smalto", "-o", tmp_path / "back.png").code == 0
    with PilImages.open(tmp_path / "back.png") as back:
        assert (back.size, back.mode) == (original.size, mode)
        if "A" in mode:
            assert back.getchannel("A").tobytes() == original.getchannel("A").tobytes()


def test_decode_chooses_the_format_by_extension(smalto: Command, coded: Path, tmp_path: Path) -> None:
    assert smalto("decode", coded, "-o", tmp_path / "a.jpg").code == 0
    assert smalto("decode", coded, "-o", tmp_path / "a.npy").code == 0
    with PilImages.open(tmp_path / "a.jpg") as decoded:
        assert decoded.format == "JPEG"
    assert np.load(tmp_path / "a.npy").shape == (75, 101, 3)
    outcome = smalto("decode", coded, "-o", tmp_path / "a.docx")
    assert outcome.code == 2
    assert "'.docx'" in outcome.err


def test_upscale_doubles_and_compare_stands_beside(smalto: Command, coded: Path) -> None:
    assert smalto("run", "upscale", coded, "--compare").code == 0
    with PilImages.open(coded.with_name("waves.upscale.png")) as answer:
        assert answer.size == (202, 150)
        right = np.asarray(answer)
    with PilImages.open(coded.with_name("waves.upscale.compare.png")) as sheet:
        shown = np.asarray(sheet)  # a caption above each, a gap between them
        assert shown.shape == (20 + 150, 202 + 6 + 202, 3)
        assert np.array_equal(shown[20:, 208:], right)
        assert not np.array_equal(shown[20:, :202], right)


def test_compare_needs_something_to_compare(smalto: Command, coded: Path) -> None:
    assert smalto("run", "reconstruct", coded, "--compare").code == 2
    assert smalto("run", "upscale", coded, "-o", "-", "--compare").code == 2


def test_json_answer_holds_the_picture(smalto: Command, coded: Path, tmp_path: Path) -> None:
    assert smalto("run", "upscale", coded, "-o", tmp_path / "a.json").code == 0
    assert smalto("run", "upscale", coded, "-o", tmp_path / "a.png").code == 0
    record = json.loads((tmp_path / "a.json").read_text())
    assert (record["task"], record["width"], record["height"]) == ("upscale", 202, 150)
    with (
        PilImages.open(io.BytesIO(base64.b64decode(record["png_base64"]))) as held,
        PilImages.open(tmp_path / "a.png") as written,
    ):
        assert held.tobytes() == written.tobytes()


def test_several_files_into_a_folder(smalto: Command, coded: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.smalto"
    other.write_bytes(coded.read_bytes())
    assert smalto("decode", coded, other, "-d", tmp_path / "out").code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["other.decoded.png", "waves.decoded.png"]


def test_a_file_of_two_spaces_is_read_by_the_one_that_is_installed(
    smalto: Command, coded: Path, packet: Packet, tmp_path: Path
) -> None:
    own = Packet.load(coded)
    other = replace(packet, height=own.height, width=own.width, metadata={}, file_id=b"")
    join_packets([other, own]).save(tmp_path / "both.smalto")
    assert smalto("decode", coded, tmp_path / "both.smalto").code == 0
    assert (tmp_path / "both.decoded.png").read_bytes() == (tmp_path / "waves.decoded.png").read_bytes()
    record = json.loads(smalto("info", tmp_path / "both.smalto", "--json").out)
    assert [space["name"] for space in record["spaces"]] == ["elsewhere-0", own.spaces[0].name]
    assert set(TASKS) <= set(record["tasks"])


def test_damage_is_exit_3_and_leaves_the_old_output(smalto: Command, coded: Path, tmp_path: Path) -> None:
    data = bytearray(coded.read_bytes())
    data[-10] ^= 1
    coded.write_bytes(data)
    (tmp_path / "old.png").write_bytes(b"old")
    outcome = smalto("decode", coded, "-o", tmp_path / "old.png")
    assert outcome.code == 3
    assert str(coded) in outcome.err
    assert (tmp_path / "old.png").read_bytes() == b"old"


def test_a_space_that_is_not_installed_is_exit_1_and_names_the_digest(smalto: Command, packet_file: Path) -> None:
    outcome = smalto("decode", packet_file)
    assert outcome.code == 1
    assert "elsewhere-0" in outcome.err
    assert b"decoder!".hex() in outcome.err


def test_info_names_the_tasks_of_a_file(smalto: Command, coded: Path) -> None:
    record = json.loads(smalto("info", coded, "--json").out)
    assert set(TASKS) <= set(record["tasks"])
    assert record["bytes"] == coded.stat().st_size


def test_systems_lists_the_default(smalto: Command) -> None:
    (first, *_) = json.loads(smalto("systems", "--json").out)
    assert set(TASKS) <= set(first["tasks"])
    text = smalto("systems").out
    assert text.startswith(f"{first['name']} (default")
    assert first["decoder_digest"] in text
    assert "sha256" in smalto("systems", first["name"]).out


def test_pipes_carry_bytes_and_nothing_else(picture: Path, coded: Path) -> None:
    program = "from smalto.cli import main; main()"
    encode = [sys.executable, "-c", program, "encode", "-"]
    encoded = subprocess.run(encode, input=picture.read_bytes(), capture_output=True, check=True)
    assert encoded.stdout == coded.read_bytes()
    decode = [sys.executable, "-c", program, "decode", "-", "-q"]
    decoded = subprocess.run(decode, input=encoded.stdout, capture_output=True, check=True)
    assert decoded.stderr == b""
    with PilImages.open(io.BytesIO(decoded.stdout)) as answer:
        assert (answer.format, answer.size) == ("PNG", (101, 75))


def test_demo_writes_one_page_that_needs_only_its_folder(smalto: Command, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    assert smalto("demo", picture, "-o", out).code == 0
    page = (out / "index.html").read_text()
    assert "http" not in page
    named = {part.split('"')[0] for part in page.replace('href="', 'src="').split('src="')[1:]}
    assert named
    for name in named:
        assert (out / name).is_file(), name
    packet = Packet.load(out / "waves.smalto")
    assert f"{len(packet):,} bytes" in page
    for codec in ("jpeg", "webp"):
        rival = out / f"waves.equal-size.{codec}"
        assert rival.stat().st_size <= len(packet) or "its smallest" in page
    with PilImages.open(out / "waves.upscale.png") as upscaled:
        assert upscaled.size == (202, 150)


def test_demo_refuses_two_pictures_of_one_name(smalto: Command, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    _picture(20, 20).save(tmp_path / "other" / "waves.jpg")
    outcome = smalto("demo", picture, tmp_path / "other" / "waves.jpg", "-o", tmp_path / "out")
    assert outcome.code == 2
    assert not (tmp_path / "out").exists()
