"""Files appear whole or not at all, whatever stops the writing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smalto.errors import SmaltoError
from smalto.files import replace_file, replacing


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    target = tmp_path / "file"
    replace_file(target, b"first")
    replace_file(str(target), b"second")
    assert target.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_file_leaves_the_old_one_and_nothing_else(tmp_path: Path, stop: type[BaseException]) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def write() -> None:
        with replacing(target) as stream:
            stream.write(b"half")
            raise stop

    with pytest.raises(stop):
        write()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_old_file_stays_readable_until_the_end(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with replacing(target) as stream:
        stream.write(b"new")
        stream.flush()
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        replace_file(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SmaltoError, match=r"nowhere.*cannot write here"):
        replace_file(tmp_path / "nowhere" / "file", b"")


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        with replacing(tmp_path / "file"):
            raise OSError(28, "No space left on device")

    with pytest.raises(SmaltoError, match=r"file: cannot write \(No space left on device\)"):
        fill()
    assert list(tmp_path.iterdir()) == []
