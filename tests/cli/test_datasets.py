"""Where pictures come from when a command is told, and when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from smalto.cli.datasets import DATA_VARIABLE, SAMPLES, find_data, sample_photographs
from smalto.errors import MissingExtra, UsageError


def test_what_is_named_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "elsewhere"))
    assert find_data(str(tmp_path), "kodak") == tmp_path


def test_the_variable_names_the_folder_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kodak").mkdir()
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert find_data(None, "kodak") == tmp_path / "kodak"


def test_nothing_named_and_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    with pytest.raises(UsageError, match="--data DIR"):
        find_data(None, "kodak")
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        find_data(str(tmp_path / "nowhere"), "kodak")


def test_samples_are_real_photographs_of_an_installed_package() -> None:
    pytest.importorskip("skimage", reason="the demo extra is not installed")
    paths = sample_photographs()
    assert [path.name for path in paths] == list(SAMPLES)
    assert all(path.is_file() for path in paths)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalto.cli.datasets.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'smalto\[demo\]'"):
        sample_photographs()
