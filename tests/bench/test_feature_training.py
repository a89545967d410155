"""Training planes of reachable models: what is kept of each layer, from training inputs alone, a sample at a time."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pil

from smalto.bench import feature_training
from smalto.bench.feature_sources import FeatureItem, PictureLatents, SentencePairs
from smalto.bench.feature_text import SentencePair, Sentences
from smalto.bench.feature_training import (
    DEFAULT_SOURCES,
    LEAST_SAMPLES,
    LITE_STAGES,
    TRAINING_SOURCES,
    CodecStage,
    CodecStages,
    LayerStore,
    TrainingSource,
    pack_training_planes,
    store_features,
    training_sources,
)
from smalto.encoders.foreign_networks import TextEncoder
from smalto.errors import UsageError
from smalto.layers.minilm import MiniLM, MiniLMConfig
from smalto.layers.wordpiece import WordPiece
from tests.tiny_models import scene, tiny_system

STAGES = (
    CodecStage("inner", "encoder", "stages.0.0.expand", 1, 3),
    CodecStage("trunk", "decoder", "trunk.0.expand", 1, 2),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures."""
    root = tmp_path / "pictures"
    root.mkdir()
    for k in range(3):
        Pil.fromarray(np.roll(scene(64, 64), 9 * k, axis=1)).save(root / f"{k}.png")
    return root


class Counted:
    """A model of one layer that tells how far it was read."""

    name = "counted"
    layers: tuple[str, ...] = ("map", "vector")

    def __init__(self) -> None:
        self.num_read = 0

    def fit_items(self, count: int) -> Iterator[FeatureItem]:
        """Maps of 16 x 24 x 24 and tokens of 64, each unlike the others."""
        for k in range(count):
            self.num_read += 1
            generator = np.random.default_rng(k)
            features = {"map": generator.normal(size=(16, 24, 24)), "vector": generator.normal(size=(8, 64))}
            yield FeatureItem(str(k), {name: value.astype(np.float32) for name, value in features.items()})


def test_samples_come_back_from_disk(tmp_path: Path) -> None:
    stored = store_features(Counted(), 5, tmp_path, 10**6)
    assert set(stored) == {"counted-map", "counted-vector"}
    for layer in ("map", "vector"):
        arrays = stored[f"counted-{layer}"]
        assert [array.dtype_name for array in arrays] == ["float16"] * 5
        for item, array in zip(Counted().fit_items(5), arrays, strict=True):
            assert np.array_equal(array.whole(), item.features[layer].astype(np.float16))
            assert np.array_equal(array.rows(2, 5), array.whole()[2:5])


def test_reading_stops_when_every_layer_is_full(tmp_path: Path) -> None:
    features = Counted()
    stored = store_features(features, 1000, tmp_path, 30 * 512)  # thirty vectors; maps are full at the least number
    assert features.num_read == 30
    assert len(stored["counted-vector"]) == 30
    assert len(stored["counted-map"]) == LEAST_SAMPLES
    with pytest.raises(UsageError, match="no inputs to train on"):
        store_features(features, 0, tmp_path / "none", 1)


@given(st.lists(st.lists(st.floats(-1e5, 1e5, width=32), min_size=1, max_size=9), min_size=1, max_size=9))
def test_ragged_samples_keep_their_values(samples: list[list[float]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        store = LayerStore(Path(place) / "layer.f16", 10**6)
        for sample in samples:
            store.add(np.array(sample, np.float32))
        for sample, array in zip(samples, store.arrays(), strict=True):
            wanted = np.clip(np.array(sample, np.float32), -65504, 65504).astype(np.float16)
            assert np.array_equal(array.whole(), wanted)


def test_stages_inside_the_codec(folder: Path) -> None:
    source = CodecStages(tiny_system(), folder, STAGES)
    assert source.layers == ("inner", "trunk")
    items = list(source.fit_items(2))
    assert [item.key for item in items] == ["0.png", "1.png"]
    for item in items:
        assert {name: value.shape[1:] for name, value in item.features.items()} == {"inner": (3, 3), "trunk": (2, 2)}
        assert all(value.dtype == np.float32 and value.min() >= 0 for value in item.features.values())
        assert all(value.max() > 0 for value in item.features.values())
    assert not np.array_equal(items[0].features["inner"], items[1].features["inner"])
    encoder_only = next(CodecStages(tiny_system(), folder, STAGES[:1]).fit_items(1))
    assert np.array_equal(encoder_only.features["inner"], items[0].features["inner"])
    assert [len(list(source.fit_items(count))) for count in (0, 3, 9)] == [0, 3, 3]


def test_layers_of_the_shipped_codec_exist() -> None:
    from smalto.systems import load

    parts = load().parts
    for stage in LITE_STAGES:
        network = parts.encoders["base"] if stage.part == "encoder" else parts.heads["reconstruct"]
        assert stage.layer in dict(network.named_modules())


def _sentences() -> SentencePairs:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "glass", "blue", "stone"]
    torch.manual_seed(0)
    network = MiniLM(MiniLMConfig(len(words), 24, 4, 6, 48, 16)).eval()
    sentences = Sentences((SentencePair("red", "blue", 1),), tuple(f"{a} {b}" for a in words[4:] for b in words[4:]))
    encoder = TextEncoder(network, WordPiece({word: number for number, word in enumerate(words)}))
    return SentencePairs(encoder, ("layer.2", "layer.6"), sentences)


def test_planes_of_several_sources(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test_folder = tmp_path / "tested"
    test_folder.mkdir()
    Pil.fromarray(scene(64, 64)).save(test_folder / "tested.png")
    sources = {
        "minilm": TrainingSource(50, lambda data: _sentences()),
        "latents": TrainingSource(50, lambda data: PictureLatents(tiny_system(), data, test_folder)),
        "counted": TrainingSource(30, lambda data: Counted()),
    }
    monkeypatch.setattr(feature_training, "TRAINING_SOURCES", sources)
    said: list[str] = []
    written = pack_training_planes(["minilm", "counted"], folder, tmp_path / "planes.tar", say=said.append)
    assert set(written.shares) == {"minilm-layer.2", "minilm-layer.6", "counted-map", "counted-vector"}
    assert written.shares["counted-map"] > 0
    assert said[1] == "counted-map 30 samples, counted-vector 30 samples"
    with tarfile.open(tmp_path / "planes.tar") as archive:
        names = archive.getnames()
    assert sum(name.startswith("counted-map-") for name in names) > 0
    latents = store_features(sources["latents"].open(folder), 50, tmp_path, 10**6)
    assert [len(arrays) for arrays in latents.values()] == [3]


def test_a_small_file_asks_for_few_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = Counted()
    monkeypatch.setattr(
        feature_training, "TRAINING_SOURCES", {"counted": TrainingSource(10_000, lambda data: features)}
    )
    written = pack_training_planes(["counted"], tmp_path, tmp_path / "planes.tar", max_bytes=700_000)
    assert 300_000 < written.num_bytes <= 700_000
    assert features.num_read < 2000


def test_squeezenet_is_held_out_and_names_are_checked() -> None:
    assert "squeezenet" in TRAINING_SOURCES
    assert "squeezenet" not in DEFAULT_SOURCES
    assert set(DEFAULT_SOURCES) < set(TRAINING_SOURCES)
    with pytest.raises(UsageError, match="source 'x' is none of mobilefacenet"):
        training_sources(["minilm", "x"])
    with pytest.raises(UsageError, match="named twice"):
        training_sources(["minilm", "minilm"])
