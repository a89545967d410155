"""Files of several spaces, tasks of several views and RAW captures, with systems that only count what they get."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pil

import smalto as package
from smalto.bits.packet import PART_MAIN, Packet, Section, SpaceEntry
from smalto.cli.registry import VIEWS, find_system, num_views, system_for, writing_systems
from smalto.data.raw_mosaic import Mosaic
from smalto.errors import UsageError
from smalto.systems import SYSTEMS
from smalto.types import DisparityMap, Image, LabelMap
from smalto.weights import SystemRecord, WeightFile, index, installed_systems
from tests.cli.conftest import Outcome

Command = Callable[..., Outcome]
FILE = WeightFile("w.safetensors", "00", 1, 1)


def _record(name: str, space: str, tasks: Sequence[str], parts: Sequence[str] = ("codec",)) -> SystemRecord:
    letter = name[0].encode().hex()
    return SystemRecord(
        name=name,
        space=space,
        decoder_digest=letter * 8,
        codec_digest=letter * 8,
        tasks=tuple(tasks),
        encoders=("base",),
        files=dict.fromkeys(parts, FILE),
    )


RECORDS = (
    _record("lite-0", "lite-0", ["reconstruct", "upscale"]),
    _record("lite-2", "lite-2", ["reconstruct", "upscale"]),
    _record("neural-space", "neural-0", ["reconstruct", "denoise", "segment", "depth"], ["space", "raw"]),
    _record("quick-10", "quick-10", ["segment"]),
    _record("quick-9", "quick-9", ["reconstruct"]),
)


class CountingSystem:
    """Writes what it is told into its one section, and answers with it."""

    def __init__(self, record: SystemRecord) -> None:
        self.name, self.record = record.name, record

    def encode(self, image: object, **settings: Any) -> Packet:
        """A packet whose section is the settings."""
        if settings["quality"] == "archive" and self.name != "neural-space":
            raise UsageError(f"system {self.name} has no quality 'archive'")
        kind = "raw" if isinstance(image, Mosaic) else "picture"
        assert isinstance(image, Mosaic | Image)
        told = json.dumps({"kind": kind, **settings}).encode()
        digest = bytes.fromhex(self.record.decoder_digest).ljust(8, b"\0")
        return Packet(
            height=image.height,
            width=image.width,
            spaces=(SpaceEntry(self.record.space, digest, digest),),
            sections=(Section(0, 0, PART_MAIN, 1, 0, True, (told,)),),
        )

    def run(self, tasks: Sequence[str] | str, source: Packet | Sequence[Packet]) -> object:
        """Answers whose values tell the views' sizes."""
        views = [source] if isinstance(source, Packet) else list(source)
        names = [tasks] if isinstance(tasks, str) else list(tasks)
        assert len(views) == max(num_views(name) for name in names)
        answers = [self._answer(name, views) for name in names]
        return answers[0] if isinstance(tasks, str) else answers

    def _answer(self, task: str, views: list[Packet]) -> Image | LabelMap | DisparityMap:
        size = views[0].height, views[0].width
        if task == "depth":
            first_is_left = views[0].sections[0].chunks[0] == b"left"
            return DisparityMap(np.full(size, 10.0 * first_is_left + len(views), np.float32))
        if task == "segment":
            return LabelMap(np.zeros(size, np.uint8), ("Sky",), ((1, 2, 3),))
        return Image(np.full((*size, 3), self.name.encode()[-1], np.uint8))


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another record of weights, and systems that need none."""
    records = {record.name: _padded(record) for record in RECORDS}
    monkeypatch.setattr(index, "_index", lambda: index._Index("lite-2", records, {}))
    monkeypatch.setattr(package, "load", lambda name, device: CountingSystem(records[name]))


def _padded(record: SystemRecord) -> SystemRecord:
    digests = {
        "decoder_digest": record.decoder_digest.ljust(16, "0"),
        "codec_digest": record.codec_digest.ljust(16, "0"),
    }
    return SystemRecord(**{**vars(record), **digests})


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Pil.new("RGB", (40, 30), "teal").save(path)
    return path


def _entry(name: str) -> SpaceEntry:
    record = find_system(name)
    return SpaceEntry(record.space, bytes.fromhex(record.decoder_digest), bytes.fromhex(record.codec_digest))


def _told(packet: Packet, space: int = 0) -> dict[str, Any]:
    section = packet.find(space, 0)
    assert section is not None
    return json.loads(section.chunks[0])


# -- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "system"),
    [
        ("default", "lite-2"),
        ("lite-0", "lite-0"),
        ("lite", "lite-2"),
        ("quick", "quick-10"),
        ("neural-space", "neural-space"),
        ("neural-0", "neural-space"),
        ("neural", "neural-space"),
    ],
)
def test_a_name_without_its_version_is_the_newest(name: str, system: str) -> None:
    assert find_system(name).name == system


@pytest.mark.parametrize("name", ["lit", "lite-", "lite-1", "lite-00", "", "neural-space-0", "quick-"])
def test_names_of_nothing_are_wrong_usage(name: str) -> None:
    with pytest.raises(UsageError, match="no system is called"):
        find_system(name)


@pytest.mark.parametrize(
    ("system", "further", "expected"),
    [
        (None, None, ["lite-2"]),
        ("neural-space", None, ["neural-space"]),
        (None, "lite,neural-space", ["lite-2", "neural-space"]),
        (None, "neural-space, lite-0", ["neural-space", "lite-0"]),
        ("lite", "neural-space,lite-2,neural", ["lite-2", "neural-space"]),
        ("default", "neural-0", ["lite-2", "neural-space"]),
    ],
)
def test_the_systems_of_a_file(system: str | None, further: str | None, expected: list[str]) -> None:
    assert [record.name for record in writing_systems(system, further)] == expected


def test_the_system_of_a_task_reads_every_file_and_answers_it() -> None:
    both, lite = [_entry("lite-0"), _entry("neural-space")], [_entry("lite-0")]
    assert system_for([both], "upscale") == "lite-0"
    assert system_for([both], "denoise") == "neural-space"
    assert system_for([both], "reconstruct") == "lite-0"
    assert system_for([both[::-1]], "reconstruct") == "neural-space"
    assert system_for([both, both[1:]], "depth") == "neural-space"
    assert system_for([[SpaceEntry("else-0", bytes(8), bytes(8))]], "depth") == "default"
    with pytest.raises(UsageError, match=r"depth is not answered from space lite-0.*--system neural-space"):
        system_for([lite], "depth")
    with pytest.raises(UsageError, match="no installed system answers it"):
        system_for([lite], "levitate")


def test_views_are_those_of_the_systems_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for record in installed_systems():
        assert record.name in SYSTEMS
        system = package.load(record.name)
        for task in record.tasks:
            assert num_views(task) == system.num_views(task)
    assert set(VIEWS.values()) == {2}


# -- encode ---------------------------------------------------------------------------------------------------------


def test_with_puts_both_spaces_into_one_file(smalto: Command, picture: Path) -> None:
    outcome = smalto("encode", picture, "--with", "lite,neural-space", "--quality", "high", "--tile", "512")
    assert outcome.code == 0
    packet = Packet.load(picture.with_suffix(".smalto"))
    assert [entry.name for entry in packet.spaces] == ["lite-2", "neural-0"]
    expected = {"kind": "picture", "quality": "high", "bpp": None, "encoder": None, "tile": 512}
    assert [_told(packet, space) for space in (0, 1)] == [expected, expected]
    record = json.loads(smalto("info", picture.with_suffix(".smalto"), "--json").out)
    assert record["tasks"] == ["reconstruct", "upscale", "denoise", "segment", "depth"]
    assert [section["space"] for section in record["sections"]] == ["lite-2", "neural-0"]
    assert smalto("encode", picture, "--system", "lite-0", "--with", "lite-0,neural").code == 0
    assert [entry.name for entry in Packet.load(picture.with_suffix(".smalto")).spaces] == ["lite-0", "neural-0"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--with", "lite,neural-space", "--bpp", "1"], "--bpp: says something of one space"),
        (["--with", "lite,neural-space", "--encoder", "base"], "--encoder: says something of one space"),
        (["--with", "lite,nobody"], "no system is called 'nobody'"),
        (["--quality", "archive"], "no quality 'archive'"),
        (["--system", "neural-space", "--quality", "archive", "--bpp", "2"], "only one of them"),
        (["--quality", "zip"], "use low, medium, high, archive or a number"),
    ],
)
def test_what_does_not_go_together(smalto: Command, picture: Path, options: list[str], message: str) -> None:
    outcome = smalto("encode", picture, *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert not picture.with_suffix(".smalto").exists()


def test_archive_reaches_the_system(smalto: Command, picture: Path) -> None:
    assert smalto("encode", picture, "--system", "neural-space", "--quality", "archive").code == 0
    assert _told(Packet.load(picture.with_suffix(".smalto")))["quality"] == "archive"
    assert smalto("demo", picture, "--quality", "archive").code == 2


# -- RAW ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "scene.npy"
    np.save(path, np.full((30, 41), 500, np.uint16))
    sidecar = {"width": 41, "height": 30, "pattern": "BGGR", "white_level": 1023}
    path.with_suffix(".json").write_text(json.dumps(sidecar))
    return path


def test_raw_captures_reach_a_system_that_encodes_them(smalto: Command, capture: Path, picture: Path) -> None:
    assert smalto("encode", capture, picture, "--system", "neural-space").code == 0
    packet = Packet.load(capture.with_suffix(".smalto"))
    assert (packet.height, packet.width, _told(packet)["kind"]) == (30, 41, "raw")
    assert _told(Packet.load(picture.with_suffix(".smalto")))["kind"] == "picture"


def test_raw_captures_are_refused_by_other_systems(
    smalto: Command, capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for options in ([], ["--with", "neural-space,lite"]):
        outcome = smalto("encode", capture, *options)
        assert outcome.code == 2
        assert (
            f"{capture}: a RAW capture, and system lite-2 has no RAW encoder; use --system neural-space" in outcome.err
        )
    monkeypatch.setattr(index, "_index", lambda: index._Index("lite-0", {"lite-0": RECORDS[0]}, {}))
    assert "no installed system has one" in smalto("encode", capture).err


def test_raw_files_that_say_nothing_or_lie_are_named(smalto: Command, capture: Path) -> None:
    capture.with_suffix(".json").write_text('{"width": 40, "height": 30, "pattern": "BGGR"}')
    outcome = smalto("encode", capture, "--system", "neural-space")
    assert outcome.code == 3
    assert str(capture) in outcome.err
    capture.with_suffix(".json").unlink()
    assert smalto("encode", capture, "--system", "neural-space").code == 2


# -- run ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def views(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "left.smalto", tmp_path / "right.smalto"
    for path in paths:
        told = Section(0, 0, PART_MAIN, 1, 0, True, (path.stem.encode(),))
        Packet(height=30, width=200, spaces=(_entry("neural-space"),), sections=(told,)).save(path)
    return paths


def test_depth_takes_the_left_file_then_the_right(smalto: Command, views: tuple[Path, Path], tmp_path: Path) -> None:
    left, right = views
    outcome = smalto("run", "depth", left, right, "-o", tmp_path / "d.npy")
    assert (outcome.code, outcome.err) == (0, f"{left} and {right} -> {tmp_path / 'd.npy'}: depth\n")
    depth = np.load(tmp_path / "d.npy")
    assert (depth.dtype, depth.shape, depth.max()) == (np.float32, (30, 200), 12.0)
    smalto("run", "depth", right, left, "-o", tmp_path / "d.npy")
    assert np.load(tmp_path / "d.npy").max() == 2.0


def test_pairs_become_answers_beside_the_left_files(smalto: Command, views: tuple[Path, Path]) -> None:
    left, right = views
    assert smalto("run", "depth", left, right, right, left, "--compare").code == 0
    names = {path.name for path in left.parent.iterdir()}
    assert {"left.depth.png", "left.depth.compare.png", "right.depth.png", "right.depth.compare.png"} <= names
    with Pil.open(left.with_name("left.depth.png")) as shown:
        assert shown.size == (200, 30 + 34)


def test_half_a_pair_is_wrong_usage(smalto: Command, views: tuple[Path, Path]) -> None:
    left, right = views
    for files in ([left], [left, right, left]):
        outcome = smalto("run", "depth", *files)
        assert outcome.code == 2
        assert "the left file, then the right" in outcome.err


def test_a_damaged_right_file_is_the_one_named(smalto: Command, views: tuple[Path, Path]) -> None:
    left, right = views
    right.write_bytes(right.read_bytes()[:-1])
    outcome = smalto("run", "depth", left, right)
    assert outcome.code == 3
    assert str(right) in outcome.err
    assert str(left) not in outcome.err


def test_each_task_is_answered_by_the_space_that_can(smalto: Command, picture: Path, tmp_path: Path) -> None:
    assert smalto("encode", picture, "--with", "quick-10,lite-0,neural-space").code == 0
    coded = picture.with_suffix(".smalto")
    for task, system in (("upscale", "lite-0"), ("denoise", "neural-space")):
        assert smalto("run", task, coded, "-o", tmp_path / "x.npy").code == 0
        assert np.load(tmp_path / "x.npy").max() == ord(system[-1])
    assert smalto("decode", coded, "-o", tmp_path / "x.npy").code == 0  # quick-10 cannot
    assert np.load(tmp_path / "x.npy").max() == ord("0")
    assert smalto("run", "segment", coded, "-o", tmp_path / "x.json", "--system", "neural").code == 0
    assert json.loads((tmp_path / "x.json").read_text())["classes"][0]["name"] == "Sky"


def test_a_task_that_the_file_cannot_answer_says_how_to_encode(smalto: Command, picture: Path) -> None:
    assert smalto("encode", picture, "--system", "lite").code == 0
    outcome = smalto("run", "segment", picture.with_suffix(".smalto"))
    assert outcome.code == 2
    assert "segment is not answered from space lite-2" in outcome.err
    assert str(picture.with_suffix(".smalto")) in outcome.err
