"""``smalto systems`` shows image systems, then learned feature codecs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome
from tests.weights.installed import use_folder
from tests.weights.test_index import FEATURES, FILE, SYSTEM, _write

CARD = {"licence": "CC0", "data": "noise", "scores": {"ViT tokens": "1 bit"}, "limits": "draft"}


def test_both_kinds_are_listed(smalto: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, feature_codecs={"planes-0": {**FEATURES, **CARD}})
    use_folder(monkeypatch, tmp_path)
    text = smalto("systems").out
    assert text.index("lite-0 (default, draft: may vanish)") < text.index("other-1")
    assert text.index("other-1") < text.index("planes-0 (draft: may vanish)")
    assert "  tier      hyperprior  codec 03\n  size      0.00 M parameters, 0.0 MB\n  licence   CC0" in text
    assert "sha256" not in text
    records = json.loads(smalto("systems", "--json").out)
    assert [record["name"] for record in records] == ["lite-0", "other-1", "planes-0"]
    assert records[2]["tier"] == "hyperprior"
    assert "space" not in records[2]


def test_one_by_name(smalto: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, feature_codecs={"planes-0": {**FEATURES, **CARD}})
    use_folder(monkeypatch, tmp_path)
    text = smalto("systems", "planes-0").out
    assert "  score     ViT tokens: 1 bit\n  data      noise\n  limits    draft\n" in text
    assert "  weights   planes: x.safetensors, 5 bytes, sha256 ab\n" in text
    (record,) = json.loads(smalto("systems", "planes-0", "--json").out)
    assert record["codec_digest"] == "03"
    assert "encoders  base" in smalto("systems", "default").out
    assert smalto("systems", "planes-9").code == 2


def test_cards_of_parts_are_shown(
    smalto: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"space": FILE, "raw": FILE, "denoise": FILE}
    cards = {"raw": {**CARD, "licence": "CC BY"}, "denoise": {"licence": "CC0", "recipe": "smalto train"}}
    space = {**SYSTEM, "files": files, "licence": "CC0", "further_codec_digests": ["0a"], "part_cards": cards}
    _write(tmp_path, systems={"lite-0": SYSTEM, "neural-space": space})
    use_folder(monkeypatch, tmp_path)
    text = smalto("systems", "neural-space").out
    assert "decoder 01  codec 02, 0a\n" in text
    assert "  licence   space, denoise: CC0\n  licence   raw: CC BY\n" in text
    assert "\n\n  raw\n  licence   CC BY\n  score     ViT tokens: 1 bit\n  data      noise\n  limits    draft\n" in text
    assert text.endswith("\n\n  denoise\n  licence   CC0\n  recipe    smalto train\n")
    assert "data" not in smalto("systems").out
    (record,) = json.loads(smalto("systems", "neural-space", "--json").out)
    assert record["part_cards"]["raw"]["scores"] == CARD["scores"]
    assert record["further_codec_digests"] == ["0a"]
    assert "codec 02\n" in smalto("systems", "lite-0").out
