"""Installing trained weights: coded, recorded by the digests of what comes back, beside what else is installed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from smalto.codecs.index_planes import freeze_index_planes
from smalto.errors import WeightsError
from smalto.systems import feature_networks, multitask_codec
from smalto.systems.feature_codec import FeatureCodec
from smalto.systems.multitask_codec import lite_networks
from smalto.train.image_codec import CodecObjective
from smalto.train.index_planes import IndexPlaneObjective, IndexPlaneObjectiveConfig
from smalto.train.install import install, main
from smalto.train.release import publish_codec
from smalto.train.release_planes import load_planes_training_state, publish_index_planes
from smalto.weights import feature_codec_record, system_record
from smalto.weights.store import digest, read_arrays, read_installed, write_arrays
from tests.codecs.test_index_planes import TINY
from tests.tiny_models import TINY_CODEC, TINY_DECODER, TINY_ENCODER
from tests.train.small import SMALL
from tests.weights.installed import use_folder

CARD = {"licence": "CC0", "data": "none", "recipe": "none", "hardware": "none", "scores": {}, "limits": "all"}


def _batches(channels: int) -> Iterator[Tensor]:
    """Smooth noise of one colour (expanded to three channels) or of three."""
    generator = torch.Generator().manual_seed(0)
    while True:
        coarse = torch.rand(2, channels, 8, 8, generator=generator)
        yield torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1).expand(-1, 3, -1, -1)


def _tokens(num: int, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.laplace(size=(32, 48)).astype(np.float32) for _ in range(num)]


@pytest.fixture(autouse=True)
def _tiny_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multitask_codec, "LITE_ENCODER", TINY_ENCODER)
    monkeypatch.setattr(multitask_codec, "LITE_DECODER", TINY_DECODER)
    monkeypatch.setattr(multitask_codec, "LITE_CODEC", TINY_CODEC)
    monkeypatch.setattr(feature_networks, "HYPERPRIOR", TINY)


@pytest.fixture(scope="module")
def codec_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codec")
    publish_codec(CodecObjective(SMALL).eval(), _batches(3), folder / "weights")
    return folder


@pytest.fixture(scope="module")
def planes_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planes")
    objective = IndexPlaneObjective(IndexPlaneObjectiveConfig(codec=TINY))
    publish_index_planes(objective.eval(), _batches(1), folder / "weights")
    return folder


def _head(folder: Path, decoder: str) -> Path:
    weights = folder / "weights"
    weights.mkdir(parents=True)
    values = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float16)
    sha256 = write_arrays(weights / "upscale.safetensors", {"a.weight": values})
    record = {"decoder_digest": decoder, "sha256": sha256, "num_bytes": 10, "num_parameters": 4096}
    (weights / "upscale.json").write_text(json.dumps(record))
    return folder


def _record(run: Path, part: str) -> dict[str, str]:
    return json.loads((run / "weights" / f"{part}.json").read_text())


def _install(tmp_path: Path, *arguments: object, card: Mapping[str, object] | None = None) -> int:
    (tmp_path / "card.json").write_text(json.dumps(CARD if card is None else card))
    (tmp_path / "target").mkdir(exist_ok=True)
    return main([*map(str, arguments), "--card", str(tmp_path / "card.json"), "--target", str(tmp_path / "target")])


def test_codec_and_head_are_coded_and_recorded(
    tmp_path: Path, codec_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    head = _head(tmp_path / "b", _record(codec_run, "codec")["decoder_digest"])
    assert _install(tmp_path, codec_run, head) == 0
    assert capsys.readouterr().out == "lite-0: tasks reconstruct, upscale\n"
    use_folder(monkeypatch, tmp_path / "target")
    record = system_record()
    assert (record.name, record.tasks, record.licence) == ("lite-0", ("reconstruct", "upscale"), "CC0")
    for part, run in (("codec", codec_run), ("upscale", head)):
        path = tmp_path / "target" / record.files[part].name
        assert path.stat().st_size == record.files[part].num_bytes
        assert hashlib.sha256(path.read_bytes()).hexdigest() == record.files[part].sha256
        original = read_arrays(run / "weights" / f"{part}.safetensors")
        restored = read_installed(record.files[part])
        assert restored.keys() == original.keys()
        assert digest(restored, "") != digest(original, "")
    decoder, codec = lite_networks(read_installed(record.files["codec"])).digests
    assert (record.decoder_digest, record.codec_digest) == (decoder.hex(), codec.hex())
    assert record.decoder_digest != _record(codec_run, "codec")["decoder_digest"]


def test_a_head_trained_on_the_installed_decoder_joins_it(tmp_path: Path, codec_run: Path) -> None:
    assert _install(tmp_path, codec_run) == 0
    index = json.loads((tmp_path / "target" / "index.json").read_text())
    installed = index["systems"]["lite-0"]
    assert _install(tmp_path, codec_run, _head(tmp_path / "b", installed["decoder_digest"])) == 0
    again = json.loads((tmp_path / "target" / "index.json").read_text())["systems"]["lite-0"]
    assert again["tasks"] == ["reconstruct", "upscale"]
    assert again["files"]["codec"] == installed["files"]["codec"]
    assert again["decoder_digest"] == installed["decoder_digest"]


def test_a_head_joins_the_installed_codec_without_its_run(
    tmp_path: Path, codec_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _install(tmp_path, codec_run) == 0
    target = tmp_path / "target"
    installed = json.loads((target / "index.json").read_text())["systems"]["lite-0"]
    stored = (target / "lite-0.safetensors").read_bytes()
    head = _head(tmp_path / "b", installed["decoder_digest"])
    assert _install(tmp_path, head, card={**CARD, "limits": "with a head"}) == 0
    again = json.loads((target / "index.json").read_text())["systems"]["lite-0"]
    assert again["tasks"] == ["reconstruct", "upscale"]
    assert again["files"]["codec"] == installed["files"]["codec"]
    assert again["limits"] == "with a head"
    assert {key: again[key] for key in installed if key.endswith("digest")} == {
        key: installed[key] for key in installed if key.endswith("digest")
    }
    assert (target / "lite-0.safetensors").read_bytes() == stored
    use_folder(monkeypatch, target)
    assert read_installed(system_record().files["upscale"]).keys() == {"a.weight"}
    capsys.readouterr()
    assert _install(tmp_path, _head(tmp_path / "c", "ef" * 8)) == 2
    assert "trained on another decoder" in capsys.readouterr().err
    assert json.loads((target / "index.json").read_text())["systems"]["lite-0"] == again
    before_coding = _record(codec_run, "codec")["decoder_digest"]
    assert again["trained_decoder_digests"] == [before_coding]
    assert _install(tmp_path, _head(tmp_path / "d", before_coding)) == 0


def test_a_head_of_another_decoder_is_refused(
    tmp_path: Path, codec_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _install(tmp_path, codec_run, _head(tmp_path / "b", "ef" * 8)) == 2
    assert "trained on another decoder" in capsys.readouterr().err
    assert list((tmp_path / "target").iterdir()) == []


def test_no_codec_a_short_card_and_wrong_mixtures_are_named(
    tmp_path: Path, codec_run: Path, planes_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = _head(tmp_path / "b", "ab" * 8)
    for arguments, card, message in (
        ((head,), None, "no run holds weights/codec.json"),
        ((tmp_path / "none",), None, "no weights to install"),
        ((head,), {"licence": "CC0"}, "the card lacks data, recipe, hardware, scores, limits"),
        ((codec_run, planes_run), None, "and a feature codec by itself"),
        ((codec_run, "--name", "lite-1"), None, "image systems are installed as lite-0"),
    ):
        assert _install(tmp_path, *arguments, card=card) == 2
        assert message in capsys.readouterr().err
    assert list((tmp_path / "target").iterdir()) == []


def test_weights_that_are_not_those_on_record_are_refused(tmp_path: Path, codec_run: Path) -> None:
    weights = tmp_path / "run" / "weights"
    weights.mkdir(parents=True)
    arrays = read_arrays(codec_run / "weights" / "codec.safetensors")
    (weights / "codec.json").write_text(json.dumps(_record(codec_run, "codec")))
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    arrays["decoder.out.weight"] = arrays["decoder.out.weight"] + np.float16(1)
    write_arrays(weights / "codec.safetensors", arrays)
    with pytest.raises(WeightsError, match="its decoder_digest is"):
        install([tmp_path / "run"], tmp_path / "card.json", tmp_path)
    del arrays["decoder.out.weight"]
    write_arrays(weights / "codec.safetensors", arrays)
    with pytest.raises(WeightsError, match="of another configuration"):
        install([tmp_path / "run"], tmp_path / "card.json", tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_feature_codec_works_from_its_coded_file(
    tmp_path: Path, planes_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _install(tmp_path, planes_run) == 0
    assert capsys.readouterr().out == "planes-0: tier hyperprior\n"
    use_folder(monkeypatch, tmp_path / "target")
    record = feature_codec_record("planes-0")
    assert record.codec_digest != _record(planes_run, "planes")["codec_digest"]
    fitted = FeatureCodec.fit(_tokens(3), tier="hyperprior")
    assert fitted.profile.facts["network"] == record.codec_digest
    array = _tokens(1, 5)[0]
    back = fitted.decode(fitted.encode(array, embed=True))
    assert back.shape == array.shape  # type: ignore[union-attr]
    assert feature_networks.installed_codec("hyperprior").digest.hex() == record.codec_digest


def test_training_goes_on_from_an_installed_feature_codec(
    tmp_path: Path, planes_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _install(tmp_path, planes_run, "--name", "planes-7") == 0
    use_folder(monkeypatch, tmp_path / "target")
    objective = IndexPlaneObjective(IndexPlaneObjectiveConfig(codec=TINY))
    load_planes_training_state(objective, "planes-7")
    frozen, installed = freeze_index_planes(objective.codec), feature_networks.installed_codec("hyperprior")  # pyright: ignore[reportArgumentType]
    for name, array in installed.decode_arrays().items():
        if name.startswith(("synthesis", "codec.mean_path", "codec.scale_path")):
            assert np.array_equal(frozen.decode_arrays()[name], array), name


def test_an_install_keeps_what_else_is_installed(
    tmp_path: Path, codec_run: Path, planes_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in ((planes_run,), (codec_run,), (planes_run, "--name", "planes-1"), (codec_run,)):
        assert _install(tmp_path, *arguments) == 0
    index = json.loads((tmp_path / "target" / "index.json").read_text())
    assert index["systems"].keys() == {"lite-0"}
    assert index["feature_codecs"].keys() == {"planes-0", "planes-1"}
    use_folder(monkeypatch, tmp_path / "target")
    same = {feature_codec_record(name).codec_digest for name in ("planes-0", "planes-1")}
    assert len(same) == 1


def test_another_image_codec_takes_the_codec_of_planes_away(
    tmp_path: Path, codec_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _install(tmp_path, codec_run) == 0
    target = tmp_path / "target"
    index = json.loads((target / "index.json").read_text())
    file = {"name": "neural-0-latent.safetensors", "sha256": "", "num_bytes": 0, "num_parameters": 0}
    space = {"files": {"latent": file}, "part_cards": {"latent": {}}, "codec_digest": "ab" * 8}
    index["systems"]["neural-space"] = space
    (target / "index.json").write_text(json.dumps(index))
    (target / file["name"]).write_bytes(b"old")  # type: ignore[operator, arg-type]
    assert _install(tmp_path, codec_run) == 0  # the same codec: everything stays
    assert (target / "neural-0-latent.safetensors").is_file()
    torch.manual_seed(5)
    publish_codec(CodecObjective(SMALL).eval(), _batches(3), tmp_path / "other" / "weights")
    capsys.readouterr()
    assert _install(tmp_path, tmp_path / "other") == 0
    assert "neural-space latent: dropped, made over the image codec that was replaced" in capsys.readouterr().out
    after = json.loads((target / "index.json").read_text())["systems"]["neural-space"]
    assert after == {"files": {}, "part_cards": {}, "codec_digest": ""}
    assert not (target / "neural-0-latent.safetensors").exists()
