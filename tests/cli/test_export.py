"""``smalto export``: what it refuses before any work, and one real run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import smalto as package
from tests.cli.conftest import Outcome
from tests.export.onnx_examples import need_onnx
from tests.tiny_models import tiny_system

Command = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere-9",), "no system is called 'nowhere-9'"),
        (("lite-0", "--format", "paper"), "--format paper: there is no such format; use onnx"),
        (("lite-0", "--calibration", "."), "only int8 is calibrated; add --int8"),
        (("lite-0", "--int8", "--calibration", "nowhere"), "--calibration nowhere: no such folder"),
    ],
)
def test_wrong_usage(smalto: Command, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    outcome = smalto("export", *arguments, "-o", tmp_path / "out")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert message in outcome.err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused_before_any_work(smalto: Command, tmp_path: Path) -> None:
    need_onnx()
    (tmp_path / "notes.txt").write_text("")
    outcome = smalto("export", "lite-0", "-o", tmp_path)
    assert outcome.code == 2
    assert "holds other things" in outcome.err


def test_parts_become_files(smalto: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_onnx()
    monkeypatch.setattr(package, "load", lambda name: tiny_system())
    missing = smalto("export", "lite-0", "--part", "segment", "-o", tmp_path / "out")
    assert (missing.code, len(missing.err.splitlines())) == (2, 1)
    assert "system lite-0 has no 'segment' to export; it has encoder, decoder, upscale" in missing.err
    done = smalto("export", "lite-0", "--part", "decoder", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [entry["file"] for entry in manifest["networks"]] == ["decoder.onnx"]
    assert manifest["licence"] == "CC BY-SA 4.0"
    assert "decoder.onnx" in done.err
