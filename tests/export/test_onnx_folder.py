"""The folder of an export: whole or not there, its manifest true, older exports replaced."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from smalto.errors import SmaltoError, UsageError
from smalto.export import onnx_folder
from smalto.export.onnx_folder import Export, ExportedFile, SystemFacts, check_folder, exported, write_export
from tests.export.onnx_examples import need_onnx, networks
from tests.export.test_onnx_quantisation import lite_calibration

FACTS = SystemFacts("tiny-0", "tiny-0", "00ff", "CC0", "nothing")


def made_up(*names: str) -> Export:
    network = networks()["lite decoder"]
    files = tuple(ExportedFile(network, f"{name}.onnx", name.encode(), "float32") for name in names)
    return Export(FACTS, files, ("a note",))


def held(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_manifest_and_readme_say_what_the_files_are(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    write_export(made_up("decoder"), folder)
    assert held(folder) == {"decoder.onnx", "manifest.json", "README.md"}
    assert held(folder.parent) == {"folder"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {key: manifest[key] for key in ("system", "space", "decoder_digest", "licence", "opset")} == {
        "system": "tiny-0", "space": "tiny-0", "decoder_digest": "00ff", "licence": "CC0", "opset": 18,
    }  # fmt: skip
    (entry,) = manifest["networks"]
    assert entry["sha256"] == hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest()
    assert entry["num_bytes"] == 7
    assert entry["inputs"][0]["shape"] == ["batch", 8, "height/16", "width/16"]
    assert entry["side_multiple_px"] == 16
    assert manifest["notes"][0] == "a note"
    assert "The codec" in manifest["notes"][-1]
    readme = (folder / "README.md").read_text()
    for text in ("tiny-0", "CC0", "decoder.onnx", "y (batch, 8, height/16, width/16)", "a note", "The codec"):
        assert text in readme


def test_an_earlier_export_is_replaced_and_nothing_else_is_touched(tmp_path: Path) -> None:
    write_export(made_up("decoder", "segment"), tmp_path / "out")
    (tmp_path / "out" / "mine.txt").write_text("mine")
    write_export(made_up("decoder"), tmp_path / "out")
    assert held(tmp_path / "out") == {"decoder.onnx", "manifest.json", "README.md", "mine.txt"}


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match=r"holds other things and no manifest\.json"):
        write_export(made_up("decoder"), tmp_path)
    with pytest.raises(UsageError, match="is a file; name a folder"):
        check_folder(tmp_path / "thesis.tex")
    (tmp_path / "manifest.json").write_text('{"networks": 3}')
    with pytest.raises(UsageError, match="is not of an earlier export"):
        write_export(made_up("decoder"), tmp_path)
    assert held(tmp_path) == {"thesis.tex", "manifest.json"}


def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "precious.onnx").write_text("")
    (tmp_path / "out").mkdir()
    rows = [{"file": "../precious.onnx"}, {"file": "notes.txt"}]
    (tmp_path / "out" / "manifest.json").write_text(json.dumps({"networks": rows}))
    (tmp_path / "out" / "notes.txt").write_text("")
    write_export(made_up("decoder"), tmp_path / "out")
    assert (tmp_path / "precious.onnx").exists()
    assert (tmp_path / "out" / "notes.txt").exists()


def test_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        if path.name == "segment.onnx":
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr(onnx_folder, "replace_file", full)
    with pytest.raises(SmaltoError, match=r"cannot write \(No space left on device\); choose another place with -o"):
        write_export(made_up("decoder", "segment"), tmp_path / "out")
    assert held(tmp_path) == set()


def test_float_and_int8_files_with_what_was_measured() -> None:
    need_onnx()
    network = networks()["lite decoder"]
    lines: list[str] = []
    made = exported([network], FACTS, {"decoder": lite_calibration("decoder")}, lines.append)
    assert made.files[0].name == "decoder.onnx"
    manifest = json.loads(made.manifest())
    assert manifest["networks"][0]["parity"]["max_share_of_range"] <= 1e-4
    assert len(lines) == 2
    if len(made.files) == 2:
        cost = manifest["networks"][1]["int8"]
        assert cost["snr_db"] >= network.snr_db
        assert made.files[1].name == "decoder-int8.onnx"
    else:
        assert "int8 is too costly" in manifest["notes"][0]
    without = exported([network], FACTS, {})
    assert without.notes == ("decoder: float32 only; single pictures cannot calibrate it",)
