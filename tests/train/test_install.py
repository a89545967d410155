"""Installing released weights: the record is whole, and heads of another decoder stay out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smalto.train.install import main
from smalto.weights.store import write_arrays

CARD = {"licence": "CC0", "data": "none", "recipe": "none", "hardware": "none", "scores": {}, "limits": "all"}


def _run(folder: Path, part: str, decoder: str) -> Path:
    import numpy as np

    weights = folder / "weights"
    weights.mkdir(parents=True)
    sha256 = write_arrays(weights / f"{part}.safetensors", {"a": np.arange(3, dtype=np.float16)})
    record = {"decoder_digest": decoder, "sha256": sha256, "num_bytes": 10, "num_parameters": 3}
    (weights / f"{part}.json").write_text(json.dumps({**record, "codec_digest": "cd" * 8}))
    return folder


def _install(tmp_path: Path, *runs: Path, card: dict[str, object] | None = None) -> int:
    (tmp_path / "card.json").write_text(json.dumps(CARD if card is None else card))
    (tmp_path / "target").mkdir(exist_ok=True)
    return main([*map(str, runs), "--card", str(tmp_path / "card.json"), "--target", str(tmp_path / "target")])


def test_codec_and_head_are_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codec, head = _run(tmp_path / "a", "codec", "ab" * 8), _run(tmp_path / "b", "upscale", "ab" * 8)
    assert _install(tmp_path, codec, head) == 0
    assert capsys.readouterr().out == "lite-0: tasks reconstruct, upscale\n"
    index = json.loads((tmp_path / "target" / "index.json").read_text())
    system = index["systems"][index["default"]]
    assert system["tasks"] == ["reconstruct", "upscale"]
    for entry in system["files"].values():
        assert (tmp_path / "target" / entry["name"]).is_file()


def test_a_head_of_another_decoder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codec, head = _run(tmp_path / "a", "codec", "ab" * 8), _run(tmp_path / "b", "upscale", "ef" * 8)
    assert _install(tmp_path, codec, head) == 2
    assert "trained on another decoder" in capsys.readouterr().err
    assert not (tmp_path / "target" / "index.json").exists()


def test_no_codec_and_a_short_card_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _install(tmp_path, _run(tmp_path / "b", "upscale", "ab" * 8)) == 2
    assert "no run holds weights/codec.json" in capsys.readouterr().err
    assert _install(tmp_path, tmp_path / "b", card={"licence": "CC0"}) == 2
    assert "the card lacks data, recipe, hardware, scores, limits" in capsys.readouterr().err
