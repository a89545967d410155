"""Which output each input gets, and what is refused before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from smalto.cli.outputs import Job, is_url, naming, plan_jobs, write_target
from smalto.errors import DamagedPacket, SmaltoError, UsageError


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    names = [tmp_path / "a.png", tmp_path / "sub" / "a.jpg", tmp_path / "b.c.png"]
    (tmp_path / "sub").mkdir()
    for name in names:
        name.write_bytes(b"x")
    return [str(name) for name in names]


def test_default_is_beside_the_input(pictures: list[str], tmp_path: Path) -> None:
    jobs = plan_jobs(pictures, None, None, ".smalto")
    assert [job.target for job in jobs] == [
        str(tmp_path / "a.smalto"),
        str(tmp_path / "sub" / "a.smalto"),
        str(tmp_path / "b.c.smalto"),
    ]


def test_folder_is_made(pictures: list[str], tmp_path: Path) -> None:
    jobs = plan_jobs([pictures[0], pictures[2]], None, str(tmp_path / "new" / "deep"), ".x.png")
    assert [job.target for job in jobs] == [str(tmp_path / "new" / "deep" / name) for name in ("a.x.png", "b.c.x.png")]
    assert (tmp_path / "new" / "deep").is_dir()


def test_two_inputs_with_one_output_name_are_refused_before_the_folder_is_made(
    pictures: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"a\.png and .*a\.jpg: both would become"):
        plan_jobs(pictures[:2], None, str(tmp_path / "new"), ".smalto")
    assert not (tmp_path / "new").exists()


def test_one_input_named_twice_is_refused(pictures: list[str]) -> None:
    with pytest.raises(UsageError, match="both would become"):
        plan_jobs([pictures[0], pictures[0]], None, None, ".smalto")


def test_collision_through_a_link_is_seen(pictures: list[str], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "sub", target_is_directory=True)
    with pytest.raises(UsageError, match="both would become"):
        plan_jobs([pictures[1], str(tmp_path / "link" / "a.jpg")], None, None, ".smalto")


@pytest.mark.parametrize(
    ("output", "directory", "count", "message"),
    [
        ("out", "dir", 1, "only one of them"),
        ("out", None, 2, "one output for 2 inputs"),
    ],
)
def test_contradictions(
    pictures: list[str], output: str | None, directory: str | None, count: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan_jobs(pictures[:count], output, directory, ".smalto")


def test_output_that_is_a_folder_or_an_input_is_refused(pictures: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder; use -d"):
        plan_jobs(pictures[:1], str(tmp_path), None, ".smalto")
    with pytest.raises(UsageError, match="would replace the input"):
        plan_jobs(pictures[:1], pictures[0], None, ".smalto")
    with pytest.raises(UsageError, match=r"there is no folder .*nowhere"):
        plan_jobs(pictures[:1], str(tmp_path / "nowhere" / "x"), None, ".smalto")


def test_missing_inputs_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.png: no such file"):
        plan_jobs([str(tmp_path / "nowhere.png")], None, None, ".smalto")
    with pytest.raises(UsageError, match="is a folder"):
        plan_jobs([str(tmp_path)], None, None, ".smalto")


def test_pipe_goes_to_the_pipe_unless_named(tmp_path: Path) -> None:
    assert plan_jobs(["-"], None, None, ".smalto") == [Job("-", "-")]
    assert plan_jobs(["-"], str(tmp_path / "o"), None, ".smalto") == [Job("-", str(tmp_path / "o"))]
    with pytest.raises(UsageError, match="only once"):
        plan_jobs(["-", "-"], None, None, ".smalto")


def test_bytes_are_never_written_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with pytest.raises(UsageError, match="terminal"):
        plan_jobs(["-"], None, None, ".smalto")


def test_web_addresses_are_inputs_and_become_files_here() -> None:
    assert is_url("https://example.org/a/photo.smalto?x=1")
    assert plan_jobs(["https://example.org/a/photo.smalto?x=1"], None, None, ".png") == [
        Job("https://example.org/a/photo.smalto?x=1", "photo.png")
    ]


def test_pairs_become_one_output_named_after_the_first(pictures: list[str], tmp_path: Path) -> None:
    left, right, other = pictures
    (job,) = plan_jobs([left, right], None, None, ".depth.png", 2)
    assert job == Job(left, str(tmp_path / "a.depth.png"), (right,))
    assert job.sources == (left, right)
    assert job.source_name == f"{left} and {right}"
    assert plan_jobs([left, right], str(tmp_path / "o"), None, ".png", 2)[0].target == str(tmp_path / "o")
    assert [job.target for job in plan_jobs([left, right, other, right], None, None, ".x", 2)] == [
        str(tmp_path / "a.x"),
        str(tmp_path / "b.c.x"),
    ]
    with pytest.raises(UsageError, match="one output for 4 inputs"):
        plan_jobs([left, right, other, right], "o", None, ".x", 2)
    with pytest.raises(UsageError, match="would replace the input"):
        plan_jobs([left, right], right, None, ".x", 2)


def test_target_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "o"
    target.write_bytes(b"old")
    write_target(str(target), b"new")
    assert target.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["o"]


def test_errors_gain_the_file_name_once_and_keep_their_kind() -> None:
    with pytest.raises(DamagedPacket, match=r"^a\.smalto: broken$"), naming("a.smalto"):
        raise DamagedPacket("broken")
    with pytest.raises(SmaltoError, match=r"^a\.smalto: broken$"), naming("a.smalto"):
        raise SmaltoError("a.smalto: broken")
