"""The record of installed weights: both kinds of records, older indexes, and what is really in the package."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from smalto.errors import UsageError, WeightsError
from smalto.weights import Card, feature_codec_record, installed_feature_codecs, installed_systems, system_record
from smalto.weights.index import weights_folder
from tests.weights.installed import use_folder

FILE = {"name": "x.safetensors", "sha256": "ab", "num_bytes": 5, "num_parameters": 4}
SYSTEM = {
    "space": "lite-0",
    "decoder_digest": "01",
    "codec_digest": "02",
    "tasks": ["reconstruct"],
    "encoders": ["base"],
    "files": {"codec": FILE},
}
FEATURES = {"tier": "hyperprior", "codec_digest": "03", "files": {"planes": FILE}}


def _write(folder: Path, **sections: object) -> None:
    content = {"default": "lite-0", "systems": {"other-1": SYSTEM, "lite-0": SYSTEM}, **sections}
    (folder / "index.json").write_text(json.dumps(content))


def test_both_kinds_of_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, feature_codecs={"planes-1": FEATURES, "planes-0": FEATURES})
    use_folder(monkeypatch, tmp_path)
    assert [record.name for record in installed_systems()] == ["lite-0", "other-1"]
    assert [record.name for record in installed_feature_codecs()] == ["planes-0", "planes-1"]
    record = feature_codec_record("planes-0")
    assert (record.tier, record.codec_digest, record.draft) == ("hyperprior", "03", True)
    assert record.files["planes"].num_bytes == 5
    assert not feature_codec_record("planes-1").draft
    assert system_record() == system_record("lite-0")
    with pytest.raises(UsageError, match="installed: planes-0, planes-1"):
        feature_codec_record("lite-0")


def test_an_index_without_feature_codecs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path)
    use_folder(monkeypatch, tmp_path)
    assert installed_feature_codecs() == ()
    with pytest.raises(UsageError, match="installed: none"):
        feature_codec_record("planes-0")
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot read the record of weights"):
        installed_systems()


def test_a_system_of_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = {"licence": "CC BY", "data": "captures", "scores": {"CPSNR": "40 dB"}}
    space = {
        **SYSTEM,
        "space": "neural-0",
        "files": {"space": FILE, "raw": FILE},
        "further_codec_digests": ["0a", "0b"],
        "trained_decoder_digests": ["0c"],
        "licence": "CC0",
        "part_cards": {"raw": raw},
    }
    (tmp_path / "index.json").write_text(json.dumps({"default": "x", "systems": {"x": space, "lite-0": SYSTEM}}))
    use_folder(monkeypatch, tmp_path)
    record = system_record("x")
    assert (record.further_codec_digests, record.trained_decoder_digests) == (("0a", "0b"), ("0c",))
    assert record.part_cards == {"raw": Card(**raw)}  # type: ignore[arg-type]
    assert (record.card_of("raw").licence, record.card_of("space").licence) == ("CC BY", "CC0")
    assert hash(record) == hash(system_record("x"))
    for codec, is_read in (("02", True), ("0a", True), ("0b", True), ("0c", False), ("", False)):
        assert record.reads("neural-0", "01", codec) is is_read
    assert not record.reads("neural-0", "0c", "02")  # files name decoders as shipped
    assert not record.reads("neural-1", "01", "02")
    old = system_record("lite-0")
    assert (old.further_codec_digests, old.part_cards, old.card_of("codec")) == ((), {}, old)
    assert old.reads("lite-0", "01", "02")
    assert not old.reads("lite-0", "01", "0a")


def test_every_installed_file_is_on_record_and_all_are_small() -> None:
    records = (*installed_systems(), *installed_feature_codecs())
    files = {file.name: file for record in records for file in record.files.values()}
    found = {path.name: path for path in weights_folder().glob("*.safetensors")}
    assert found.keys() == files.keys()
    for name, path in found.items():
        assert path.stat().st_size == files[name].num_bytes
        assert hashlib.sha256(path.read_bytes()).hexdigest() == files[name].sha256
    assert sum(path.stat().st_size for path in weights_folder().iterdir() if path.is_file()) < 24_000_000
