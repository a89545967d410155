"""Parts of the shared neural space: installed together or one after another, bound to the decoder, loaded again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from smalto.errors import UsageError
from smalto.heads.image import Decoder
from smalto.heads.segment import SIZES as SEGMENT_SIZES
from smalto.heads.segment import SegmenterConfig
from smalto.heads.stereo import SIZES as STEREO_SIZES
from smalto.systems import plane_latent
from smalto.systems.multitask_codec import LiteNetworks
from smalto.systems.plane_latent import base_networks, changed_arrays, image_networks, latent_networks
from smalto.systems.shared_space import shared_decoder_digest, shared_networks
from smalto.train.denoising import DenoiseObjective
from smalto.train.install import main
from smalto.train.raw_space import RawSpaceObjective
from smalto.train.release_files import write_part
from smalto.train.release_heads import publish_denoise, publish_segment
from smalto.train.release_raw_space import publish_raw_encoder, space_networks
from smalto.train.release_shared_space import publish_shared_space
from smalto.train.release_stereo import publish_stereo
from smalto.train.run import Objective
from smalto.train.segmentation import SegmentObjective
from smalto.train.shared_space import SharedSpaceObjective
from smalto.train.stereo_depth import StereoObjective
from smalto.weights import system_record
from smalto.weights.store import read_arrays, read_installed, write_arrays
from tests.shared_space import smooth_pictures
from tests.tiny_models import TINY_DECODER, seeded, tiny_codec, tiny_encoder
from tests.train.test_stereo_depth import TINY as TINY_STEREO
from tests.train.test_stereo_depth import _batch as stereo_batch
from tests.weights.installed import use_folder

CARD = {"licence": "CC0", "data": "none", "recipe": "none", "hardware": "none", "scores": {}, "limits": "all"}


@pytest.fixture(autouse=True)
def _small_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEGMENT_SIZES, "s", SegmenterConfig(8, 2, 3, 6, 8))
    monkeypatch.setitem(STEREO_SIZES, "S", TINY_STEREO)
    networks = LiteNetworks(tiny_encoder(), tiny_codec(), seeded(Decoder, TINY_DECODER, 4))
    monkeypatch.setattr(plane_latent, "lite_networks", lambda _: networks)
    monkeypatch.setattr(plane_latent, "image_arrays", dict)


@pytest.fixture(scope="module")
def space_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _space(tmp_path_factory.mktemp("space"), 0)


def _space(run: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    publish_shared_space(SharedSpaceObjective(), iter(()), run / "weights")
    return run


def _batches(make: Callable[[], Tensor]) -> Iterator[Tensor]:
    while True:
        yield make()


def _labelled() -> Tensor:
    return torch.cat([smooth_pictures(2, 64), torch.zeros(2, 1, 64, 64)], dim=1)


def _objective(part: str, space: str, kind: str = "light") -> Objective:
    def networks():  # type: ignore[no-untyped-def]
        return space_networks(space)

    torch.manual_seed(1)
    return {
        "space": SharedSpaceObjective,
        "raw": lambda: RawSpaceObjective(networks),
        "denoise": lambda: DenoiseObjective(networks, kind),  # type: ignore[arg-type]
        "segment": lambda: SegmentObjective(networks),
        "stereo": lambda: StereoObjective("S", networks),
    }[part]()


def _publish(part: str, space: str, run: Path) -> Path:
    """A run with one untrained part on a space."""
    objective, folder = _objective(part, space), run / "weights"
    if part == "raw":
        publish_raw_encoder(objective, iter(()), folder)
    elif part == "denoise":
        publish_denoise(objective, _batches(lambda: smooth_pictures(2, 32)), folder)
    elif part == "segment":
        publish_segment(objective, _batches(_labelled), folder)
    else:
        publish_stereo(objective, _batches(lambda: stereo_batch()[0]), folder)
    return run


def _publish_latent(run: Path, decoder: str, space: Path) -> Path:
    """A codec of planes of which training changed one layer."""
    encoder, _ = shared_networks(read_arrays(space), "space")
    base = base_networks(image_networks(), encoder)
    networks = latent_networks({}, base, "base")
    torch.manual_seed(2)
    with torch.no_grad():
        networks.synthesis.head.weight.add_(0.1 * torch.randn_like(networks.synthesis.head.weight))
    arrays = changed_arrays(networks, base)
    assert list(arrays) == ["synthesis.head.weight"]
    facts = {"decoder_digest": decoder, "codec_digest": networks.digest.hex()}
    write_part(run / "weights", "latent", arrays, networks.synthesis.head.parameters(), facts)
    return run


def _publish_archive(run: Path, decoder: str, codec: str = "0a" * 8) -> Path:
    arrays = {"steps": np.linspace(0, 1, 4096, dtype=np.float16).reshape(64, 64)}
    write_part(run / "weights", "archive", arrays, (), {"decoder_digest": decoder, "codec_digest": codec})
    return run


def _json(run: Path, part: str) -> dict[str, str]:
    return json.loads((run / "weights" / f"{part}.json").read_text())


def _install(tmp_path: Path, *runs: Path, **card: object) -> int:
    (tmp_path / "card.json").write_text(json.dumps({**CARD, **card}))
    (tmp_path / "target").mkdir(exist_ok=True)
    return main([*map(str, runs), "--card", str(tmp_path / "card.json"), "--target", str(tmp_path / "target")])


def _entry(tmp_path: Path) -> dict[str, object]:
    return json.loads((tmp_path / "target" / "index.json").read_text())["systems"]["neural-space"]


def test_all_parts_at_once(
    tmp_path: Path, space_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = _json(space_run, "space")["decoder_digest"]
    runs = [_publish(part, str(space_run), tmp_path / part) for part in ("raw", "denoise", "segment", "stereo")]
    runs += [
        _publish_latent(tmp_path / "latent", trained, space_run / "weights" / "space.safetensors"),
        _publish_archive(tmp_path / "archive", trained),
    ]
    assert _install(tmp_path, *runs, space_run) == 0
    assert capsys.readouterr().out == "neural-space: tasks reconstruct, denoise, segment, depth\n"
    use_folder(monkeypatch, tmp_path / "target")
    record = system_record("neural-space")
    assert (record.space, record.encoders) == ("neural-0", ("base", "raw"))
    assert list(record.files) == ["space", "raw", "latent", "archive", "denoise", "segment", "stereo"]
    assert set(record.part_cards) == set(record.files) - {"space"}
    encoder, decoder = shared_networks(read_installed(record.files["space"]), "space")
    assert record.decoder_digest == shared_decoder_digest(decoder).hex()
    assert record.trained_decoder_digests == (trained,)
    assert record.decoder_digest != trained
    base = base_networks(image_networks(), encoder)
    latent = latent_networks(read_installed(record.files["latent"]), base, "latent")
    assert record.codec_digest == latent.digest.hex()
    assert record.codec_digest != _json(tmp_path / "latent", "latent")["codec_digest"]
    assert record.further_codec_digests == ("0a" * 8,)
    assert record.reads("neural-0", record.decoder_digest, "0a" * 8)
    archive = read_arrays(tmp_path / "archive" / "weights" / "archive.safetensors")
    assert np.array_equal(read_installed(record.files["archive"])["steps"], archive["steps"])
    assert record.files["raw"].num_parameters == 752_256


def test_parts_follow_one_by_one_with_cards_of_their_own(
    tmp_path: Path, space_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _install(tmp_path, space_run, licence="of the space") == 0
    first = _entry(tmp_path)
    assert (first["tasks"], first["encoders"], first["codec_digest"]) == (["reconstruct"], ["base"], "")
    assert _install(tmp_path, _publish("denoise", str(space_run), tmp_path / "b"), licence="of denoise") == 0
    use_folder(monkeypatch, tmp_path / "target")
    installed = tmp_path / "target" / "neural-0.safetensors"
    assert _install(tmp_path, _publish("raw", "neural-space", tmp_path / "c"), licence="of raw") == 0
    assert _json(tmp_path / "c", "raw")["decoder_digest"] == first["decoder_digest"]  # trained on what is installed
    latent = _publish_latent(tmp_path / "d", str(first["decoder_digest"]), installed)
    assert _install(tmp_path, latent, scores={"a": "b"}) == 0
    record = system_record("neural-space")
    assert record.tasks == ("reconstruct", "denoise")
    assert record.codec_digest
    assert {part: record.card_of(part).licence for part in record.files} == {
        "space": "of the space",
        "raw": "of raw",
        "latent": "CC0",
        "denoise": "of denoise",
    }
    assert record.licence == "of the space"
    assert record.part_cards["latent"].scores == {"a": "b"}
    assert record.files["space"].sha256 == first["files"]["space"]["sha256"]  # type: ignore[index]
    assert _install(tmp_path, _publish_archive(tmp_path / "e", str(first["decoder_digest"]), "0b" * 8)) == 0
    assert system_record("neural-space").codec_digest == record.codec_digest
    assert system_record("neural-space").further_codec_digests == ("0b" * 8,)


def test_another_decoder_drops_what_was_trained_on_the_old_one(
    tmp_path: Path, space_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, denoise = (_publish(part, str(space_run), tmp_path / part) for part in ("raw", "denoise"))
    assert _install(tmp_path, space_run, raw, denoise) == 0
    before = _entry(tmp_path)
    assert _install(tmp_path, space_run, limits="measured again") == 0  # the same decoder: all stays
    again = _entry(tmp_path)
    assert again == {**before, "limits": "measured again"}
    capsys.readouterr()
    other = _space(tmp_path / "other", 5)
    assert _install(tmp_path, other, _publish("raw", str(other), tmp_path / "other-raw")) == 0
    assert capsys.readouterr().out == (
        "neural-space: tasks reconstruct\nneural-space: dropped denoise, trained on the decoder that was replaced\n"
    )
    after = _entry(tmp_path)
    assert list(after["files"]) == ["space", "raw"]  # type: ignore[call-overload]
    assert list(after["part_cards"]) == ["raw"]  # type: ignore[call-overload]
    assert after["trained_decoder_digests"] == [_json(other, "space")["decoder_digest"]]
    assert {path.name for path in (tmp_path / "target").glob("*.safetensors")} == {
        "neural-0.safetensors",
        "neural-0-raw.safetensors",
    }
    assert _install(tmp_path, denoise) == 2
    assert "denoise was trained on another decoder" in capsys.readouterr().err


def test_installed_weights_coded_again_keep_their_parts(
    tmp_path: Path, space_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _install(tmp_path, space_run, _publish("raw", str(space_run), tmp_path / "raw")) == 0
    before = _entry(tmp_path)
    use_folder(monkeypatch, tmp_path / "target")
    resumed = SharedSpaceObjective()
    resumed.load_installed("neural-space")
    with torch.no_grad():
        next(resumed.encoder.parameters()).add_(1.0)  # a better encoder of pictures into the same space
    publish_shared_space(resumed, iter(()), tmp_path / "resumed" / "weights")
    assert _install(tmp_path, tmp_path / "resumed") == 0
    after = _entry(tmp_path)
    for key in ("decoder_digest", "trained_decoder_digests", "encoders", "part_cards"):
        assert after[key] == before[key], key
    assert after["files"]["raw"] == before["files"]["raw"]  # type: ignore[index]
    assert after["files"]["space"] != before["files"]["space"]  # type: ignore[index]


def test_what_does_not_belong_is_refused(tmp_path: Path, space_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    denoise = _publish("denoise", str(space_run), tmp_path / "denoise")
    head = tmp_path / "pixels"
    objective = DenoiseObjective(None)
    publish_denoise(objective, _batches(lambda: smooth_pictures(2, 32)), head / "weights")
    broken = _publish("raw", str(space_run), tmp_path / "broken")
    write_arrays(broken / "weights" / "raw.safetensors", {"raw_encoder.x": np.zeros(3, np.float16)})
    stray = _publish_archive(tmp_path / "stray", _json(space_run, "space")["decoder_digest"])
    (tmp_path / "mixed" / "weights").mkdir(parents=True)
    (tmp_path / "mixed" / "weights" / "upscale.json").write_text("{}")
    for runs, message in (
        ((denoise,), "denoise: no space is installed"),
        ((space_run, head), r"denoise was trained on another decoder (pixels)"),
        ((space_run, broken), "its record says another"),
        ((space_run, tmp_path / "mixed"), "install one system at a time"),
    ):
        assert _install(tmp_path, *runs) != 0
        assert message in capsys.readouterr().err
    assert list((tmp_path / "target").iterdir()) == []
    record = stray / "weights" / "archive.json"
    record.write_text(json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k != "codec_digest"}))
    assert _install(tmp_path, space_run, stray) != 0
    assert "names no codec_digest" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["space", "raw", "denoise", "segment", "stereo"])
def test_training_goes_on_from_what_is_installed(
    part: str, tmp_path: Path, space_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [space_run] if part == "space" else [space_run, _publish(part, str(space_run), tmp_path / part)]
    assert _install(tmp_path, *runs) == 0
    use_folder(monkeypatch, tmp_path / "target")
    objective = _objective(part, "neural-space")
    for parameter in objective.parameters():
        nn.init.constant_(parameter, 7.0)
    objective.load_installed("neural-space")
    held = read_installed(system_record("neural-space").files[part])
    own = dict(objective.state_dict())
    state = own if part == "space" else {name.partition(".")[2]: value for name, value in own.items()}
    found = {name.removeprefix("raw_encoder."): array for name, array in held.items()}
    assert set(found) <= set(state)
    for name, array in found.items():
        assert np.array_equal(state[name].float().numpy().reshape(array.shape), array.astype(np.float32)), name
    assert not any(bool((p == 7.0).all()) for p in objective.parameters() if p.numel() > 1)


def test_what_is_not_installed_is_named(tmp_path: Path, space_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stereo = _publish("stereo", str(space_run), tmp_path / "stereo")
    assert _install(tmp_path, space_run, stereo) == 0
    use_folder(monkeypatch, tmp_path / "target")
    for part, message in (("raw", "no RAW encoder"), ("denoise", "no denoise head"), ("segment", "no segment head")):
        with pytest.raises(UsageError, match=message):
            _objective(part, "neural-space").load_installed("neural-space")
    with pytest.raises(UsageError, match="is StereoHead S, not PixelStereo S; start anew"):
        StereoObjective("S", None).load_installed("neural-space")
    index = {"default": "x", "systems": {"neural-space": {**_entry(tmp_path), "files": {}}}}
    (tmp_path / "target" / "index.json").write_text(json.dumps(index))
    objective = _objective("stereo", str(space_run))
    with pytest.raises(UsageError, match="no stereo network"):
        objective.load_installed("neural-space")
