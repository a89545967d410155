"""``smalto features``: files in, one small file, files out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from smalto.systems.feature_codec import decode_features
from smalto.train.feature_planes import PlaneSet
from tests.cli.conftest import Outcome

Smalto = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of profiles of this test's own."""
    monkeypatch.setenv("SMALTO_PROFILES", str(tmp_path / "kept"))
    return tmp_path / "kept"


def stack(num: int, seed: int = 0) -> np.ndarray:
    return np.maximum(np.random.default_rng(seed).normal(size=(num, 8, 9, 9)), 0).astype(np.float16)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    np.save(tmp_path / "train.npy", stack(12))
    np.save(tmp_path / "a.npy", stack(5, 1))
    np.savez(tmp_path / "b.npz", layer3=stack(2, 2), layer9=stack(3, 3).astype(np.float32))
    return tmp_path


def test_fit_encode_info_decode(smalto: Smalto, inputs: Path, profiles: Path) -> None:
    profile = inputs / "p.safetensors"
    outcome = smalto("features", "fit", inputs / "train.npy", "-o", profile, "--max-error", "0.05")
    assert (outcome.code, outcome.out) == (0, "")
    assert len(list(profiles.iterdir())) == 1
    outcome = smalto("features", "encode", inputs / "a.npy", "-p", profile, "-o", inputs / "a.smalto")
    assert outcome.code == 0
    assert "bits a value" in outcome.err
    assert "cannot be read without profile" in outcome.err
    facts = json.loads(smalto("features", "info", inputs / "a.smalto", "--json").out)
    assert facts["bytes"] == (inputs / "a.smalto").stat().st_size
    assert facts["arrays"] == [{"number": 0, "name": "features", "dtype": "float16", "shape": [5, 8, 9, 9]}]
    assert facts["profile_inside"] is False
    assert "5 x 8 x 9 x 9" in smalto("features", "info", inputs / "a.smalto").out
    assert json.loads(smalto("info", inputs / "a.smalto", "--json").out) == facts
    assert smalto("verify", inputs / "a.smalto").out.endswith("healthy\n")
    assert smalto("decode", inputs / "a.smalto").code == 3
    outcome = smalto("features", "decode", inputs / "a.smalto", "-o", inputs / "back.npy")
    assert outcome.code == 0
    back = np.load(inputs / "back.npy")
    assert back.dtype == np.float16
    assert np.abs(back.astype(float) - stack(5, 1)).max() <= 0.05


def test_without_a_profile_one_is_fitted_and_travels(smalto: Smalto, inputs: Path, profiles: Path) -> None:
    assert smalto("features", "encode", inputs / "b.npz", "--max-error", "0.1").code == 0
    assert not profiles.exists()
    assert smalto("features", "decode", inputs / "b.smalto", "-o", inputs / "back.npz").code == 0
    with np.load(inputs / "back.npz") as back:
        assert {name: back[name].dtype.name for name in back} == {"layer3": "float16", "layer9": "float32"}
        assert np.abs(back["layer9"] - stack(3, 3)).max() <= 0.1
    assert smalto("features", "decode", inputs / "b.smalto", "-o", inputs / "one.npy", "--name", "layer9").code == 0
    assert np.load(inputs / "one.npy").shape == (3, 8, 9, 9)
    outcome = smalto("features", "decode", inputs / "b.smalto", "-o", inputs / "no.npy", "--name", "layer1")
    assert outcome.code == 2
    assert "no array called layer1" in outcome.err


def test_layers_of_one_width_are_told_apart_by_name(smalto: Smalto, tmp_path: Path) -> None:
    loud, faint = np.random.default_rng(4).normal(size=(2, 12, 40, 24)).astype(np.float32)
    faint *= 0.01
    np.savez(tmp_path / "a.npz", **{"layer.2": loud, "layer.6": faint})
    save_file({"layer.6": faint[:3], "layer.2": loud[:3]}, tmp_path / "b.safetensors")
    profile, target = tmp_path / "p.safetensors", tmp_path / "all.smalto"
    fitting = ("features", "fit", tmp_path / "a.npz", tmp_path / "b.safetensors", "--error", "0.01")
    outcome = smalto(*fitting, "--per", "layer", "--layout", "tokens", "-o", profile)
    assert outcome.code == 0
    assert "per layer" in outcome.err
    assert "0.name layer.2" in outcome.err
    inputs = (tmp_path / "a.npz", tmp_path / "b.safetensors")
    assert smalto("features", "encode", *inputs, "-p", profile, "-o", target).code == 0
    assert smalto("features", "decode", target, "-p", profile, "-o", tmp_path / "back.npz").code == 0
    with np.load(tmp_path / "back.npz") as back:
        assert sorted(back) == ["a/layer.2", "a/layer.6", "b/layer.2", "b/layer.6"]
        for name, array in (("a/layer.2", loud), ("a/layer.6", faint), ("b/layer.6", faint[:3])):
            assert np.square(back[name] - array).mean() < 0.02 * array.var()
    assert smalto("features", "encode", *inputs, "--error", "0.01", "-o", target).code == 0
    with_names = tmp_path / "own.smalto"
    assert smalto("features", "encode", *inputs, "--error", "0.01", "--per", "layer", "-o", with_names).code == 0
    found, shared = decode_features(with_names), decode_features(target)
    assert isinstance(found, dict)
    assert isinstance(shared, dict)
    assert np.square(np.asarray(found["b/layer.6"]) - faint[:3]).mean() < 0.02 * faint.var()
    assert np.square(np.asarray(shared["b/layer.6"]) - faint[:3]).mean() > 0.5 * faint.var()
    np.save(tmp_path / "c.npy", loud[0])
    outcome = smalto("features", "encode", tmp_path / "c.npy", "-p", profile)
    assert (outcome.code, "may be of layer layer.2 or layer.6" in outcome.err) == (2, True)
    outcome = smalto("features", "encode", tmp_path / "c.npy", "-p", profile, "--per", "layer")
    assert (outcome.code, "has its tier and goal already" in outcome.err) == (2, True)
    outcome = smalto(*fitting, "--per", "head", "-o", profile)
    assert (outcome.code, "choose model or layer" in outcome.err) == (2, True)


def test_several_inputs_make_one_set_and_more_is_added(smalto: Smalto, inputs: Path) -> None:
    target = inputs / "all.smalto"
    assert smalto("features", "encode", inputs / "a.npy", inputs / "b.npz", "-o", target, "--error", "0.02").code == 0
    outcome = smalto("features", "encode", inputs / "train.npy", "-o", target, "--append")
    assert outcome.code == 0
    assert "1 arrays added" in outcome.err
    facts = json.loads(smalto("features", "info", target, "--json").out)
    assert [array["name"] for array in facts["arrays"]] == ["a", "b/layer3", "b/layer9", "features"]
    decoded = decode_features(target)
    assert isinstance(decoded, dict)
    assert decoded["features"].shape == (12, 8, 9, 9)


def test_planes_for_training(smalto: Smalto, inputs: Path) -> None:
    np.save(inputs / "model.npy", np.random.default_rng(0).normal(size=(40, 64, 13)).astype(np.float16))
    outcome = smalto("features", "planes", inputs / "model.npy", inputs / "train.npy", "-o", inputs / "planes.tar")
    assert outcome.code == 0
    assert "model" in outcome.err
    assert (inputs / "planes.tar").stat().st_size > 10_000


def test_planes_of_reachable_models(smalto: Smalto, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[object, ...]] = []

    def pack(names: tuple[str, ...], data: Path, path: str, **settings: object) -> object:
        called.append((names, data, path, settings["max_bytes"], settings["transform"]))
        return PlaneSet(Path(path), 7, 800, {"minilm-layer.2": 1.0})

    monkeypatch.setattr("smalto.bench.feature_training.pack_training_planes", pack)
    outcome = smalto("features", "planes", "--sources", "minilm,squeezenet", "--data", inputs, "-o", inputs / "p.tar")
    assert outcome.code == 0
    assert "7 planes, 800 bytes; minilm-layer.2 100 %" in outcome.err
    outcome = smalto("features", "planes", "--sources", "default", "--data", inputs, "-o", "p", "--max-mib", "1")
    assert outcome.code == 0
    assert called[0] == (("minilm", "squeezenet"), inputs, str(inputs / "p.tar"), 60 << 20, "lloyd-max")
    assert called[1][0] == ("mobilefacenet", "minilm", "latents", "codec-stages")
    assert called[1][3] == 1 << 20


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["fit", "none.npy", "-o", "p"], 2, "no such file"),
        (["encode", "a.npy", "--rate", "1", "--error", "0.1"], 2, "cannot both"),
        (["encode", "a.npy", "-p", "p", "--rate", "1"], 2, "has its tier and goal already"),
        (["encode", "a.npy", "--append"], 2, "with -o"),
        (["encode", "a.npy", "--tier", "slow"], 2, "no tier"),
        (["encode", "a.npy", "--threads", "0"], 2, "must be 1 or more"),
        (["encode", "a.npy", "-p", "a.npy"], 3, "profile"),
        (["decode", "a.npy", "-o", "x.npy"], 3, "a.npy"),
        (["planes", "-o", "x.tar"], 2, "either files of features or --sources"),
        (["planes", "a.npy", "--sources", "minilm", "-o", "x.tar"], 2, "either files of features or --sources"),
        (["planes", "--sources", "minilm,none", "-o", "x.tar"], 2, "source 'none' is none of"),
        (["planes", "--sources", "minilm", "--data", "none", "-o", "x.tar"], 2, "no such folder"),
        (["planes", "a.npy", "-o", "x.tar", "--max-mib", "0"], 2, "must be above 0"),
        (["info", "a.npy"], 3, "a.npy"),
        (["nonsense"], 2, "no such command"),
    ],
)
def test_wrong_calls_get_one_line(
    smalto: Smalto, inputs: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, text: str
) -> None:
    monkeypatch.chdir(inputs)
    before = sorted(inputs.iterdir())
    outcome = smalto("features", *arguments)
    assert outcome.code == code
    assert text in outcome.err
    assert outcome.err.count("\n") == 1
    assert sorted(inputs.iterdir()) == before
