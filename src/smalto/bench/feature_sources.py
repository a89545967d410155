"""Real features to measure codecs on, with the task that each of them serves.

::

    source.fit_items(10) ─► features to fit a profile on, of inputs that are never tested
    source.items()       ─► FeatureItem(key, {layer: array}), ...
                              │ encode, decode (the codec under test)
    source.answer(key, layer, decoded) ─► logits, a vector, a picture
    source.outcomes({key: answer, ...}) ─► right or wrong, cosines, dB; their score: accuracy, rank correlation, PSNR

Everything is yielded one item at a time, float32, without a batch axis, in a fixed order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from smalto.bench.feature_text import Sentences, installed_sentences
from smalto.data.faces import TRAINING_FILE, FacePictures, FaceSet, face_crop
from smalto.data.imagenet import class_pictures
from smalto.data.photographs import picture_files, read_image
from smalto.encoders.foreign_networks import TextEncoder, minilm, mobilefacenet, squeezenet
from smalto.errors import UsageError
from smalto.layers.mobilefacenet import MobileFaceNet, mobilefacenet_input
from smalto.layers.squeezenet import SqueezeNet, squeezenet_input
from smalto.layers.stages import StagedNetwork
from smalto.measure.bootstrap import Outcomes
from smalto.measure.psnr import psnr_db
from smalto.measure.verification import verified
from smalto.systems.system import System
from smalto.types import Latent

_T = TypeVar("_T")


@dataclass(frozen=True)
class FeatureItem:
    """Features of one input.

    Args:
        key: of the input, unique in its source.
        features: layer -> float32 array without a batch axis.
    """

    key: str
    features: Mapping[str, np.ndarray]


class FeatureSource(Protocol):
    """A model with inputs and a task."""

    name: str
    layers: tuple[str, ...]
    metric: str

    def fit_items(self, count: int) -> Iterator[FeatureItem]:
        """At most ``count`` items to fit on; none of them is tested."""
        ...

    def items(self, count: int | None = None) -> Iterator[FeatureItem]:
        """The items to test on, or the first ``count`` of them."""
        ...

    def answer(self, key: str, layer: str, feature: np.ndarray) -> np.ndarray:
        """The model's answer when it goes on from a (decoded) feature."""
        ...

    def outcomes(self, answers: Mapping[str, np.ndarray]) -> Outcomes:
        """What the task says of answers by key; its score is higher where it is better."""
        ...


class PictureClasses:
    """SqueezeNet on pictures of known class; score: share of pictures whose class is named first (top-1).

    Pictures of even number are tested, odd ones are fitted on.

    Args:
        network: the frozen network.
        folder: pictures and ``classes.json``.
        layers: stages to yield.
    """

    name = "squeezenet"
    metric = "top-1"

    def __init__(
        self, network: SqueezeNet, folder: str | Path, layers: tuple[str, ...] = ("pool1", "fire4", "fire6", "fire9")
    ) -> None:
        self.layers = layers
        self._network = network
        self._pictures = class_pictures(folder)
        self._labels = {picture.path.name: picture.label for picture in self._pictures}

    def fit_items(self, count: int) -> Iterator[FeatureItem]:
        """Items of pictures of odd number, spread over all of them."""
        return self._items([picture.path for picture in self._pictures if not picture.is_test_only], count, spread=True)

    def items(self, count: int | None = None) -> Iterator[FeatureItem]:
        """Items of pictures of even number."""
        return self._items([picture.path for picture in self._pictures if picture.is_test_only], count)

    def _items(self, paths: list[Path], count: int | None, spread: bool = False) -> Iterator[FeatureItem]:
        for path in _some(paths, count, spread):
            x = squeezenet_input(read_image(path).pixels)
            yield FeatureItem(path.name, _arrays(self._network, x, self.layers))

    def answer(self, key: str, layer: str, feature: np.ndarray) -> np.ndarray:
        """Logits (1000,)."""
        return _go_on(self._network, layer, feature)

    def outcomes(self, answers: Mapping[str, np.ndarray]) -> Outcomes:
        """Whether each picture's class is named first; score: top-1, 0..1."""
        return Outcomes(np.array([int(logits.argmax()) == self._labels[key] for key, logits in answers.items()], float))


class FacePairs:
    """MobileFaceNet on pairs of faces; score: accuracy by the best threshold of the other folds.

    Args:
        network: the frozen network.
        folder: the pairs, their pictures, and training pictures of other people.
        layers: stages to yield.
    """

    name = "mobilefacenet"
    metric = "verification accuracy"

    def __init__(
        self,
        network: MobileFaceNet,
        folder: str | Path,
        layers: tuple[str, ...] = ("features.4", "features.11", "features.14", "conv2"),
    ) -> None:
        self.layers = layers
        self._network = network
        self._faces = FaceSet.open(folder)
        self._training = Path(folder) / TRAINING_FILE

    def fit_items(self, count: int) -> Iterator[FeatureItem]:
        """Items of training pictures, spread over all of them."""
        pictures = FacePictures.open(self._training)
        return self._items(pictures, _some(list(pictures.names()), count, spread=True))

    def items(self, count: int | None = None) -> Iterator[FeatureItem]:
        """Items of the pictures of all pairs; with ``count``, of whole pairs and folds in turn, so that it has both."""
        if count is None:
            return self._items(self._faces.pictures, list(self._faces.names()))
        folds = sorted({pair.fold for pair in self._faces.pairs})
        queues = [
            [pair for pair in self._faces.pairs if pair.fold == fold and pair.same == same]
            for fold in folds
            for same in (True, False)
        ]
        chosen: dict[str, None] = {}
        for pair in itertools.chain.from_iterable(itertools.zip_longest(*queues)):
            if pair is not None and len(chosen.keys() | {pair.first, pair.second}) <= count:
                chosen |= dict.fromkeys((pair.first, pair.second))
        return self._items(self._faces.pictures, list(chosen))

    def _items(self, pictures: FacePictures, names: list[str]) -> Iterator[FeatureItem]:
        for name in names:
            x = mobilefacenet_input(face_crop(pictures.pixels(name)))
            yield FeatureItem(name, _arrays(self._network, x, self.layers))

    def answer(self, key: str, layer: str, feature: np.ndarray) -> np.ndarray:
        """The embedding (128,)."""
        return _go_on(self._network, layer, feature)

    def outcomes(self, answers: Mapping[str, np.ndarray]) -> Outcomes:
        """Whether each pair whose pictures both have answers is judged right; score: mean accuracy of folds, 0..1."""
        pairs = [pair for pair in self._faces.pairs if pair.first in answers and pair.second in answers]
        scores = np.array([_cosine(answers[pair.first], answers[pair.second]) for pair in pairs])
        same, folds = np.array([pair.same for pair in pairs]), np.array([pair.fold for pair in pairs])
        several = folds if len(set(folds.tolist())) > 1 else None
        return Outcomes(verified(scores, same, several).astype(np.float64), several)


class SentencePairs:
    """MiniLM on graded pairs of sentences; score: Spearman's correlation of cosine and grade.

    Args:
        encoder: the text transformer.
        layers: stages to yield.
        sentences: what to test and fit on; those of the installed documentation by default.
    """

    name = "minilm"
    metric = "rank correlation"

    def __init__(
        self,
        encoder: TextEncoder,
        layers: tuple[str, ...] = ("layer.2", "layer.4", "layer.6"),
        sentences: Sentences | None = None,
    ) -> None:
        self.layers = layers
        self._encoder = encoder
        self._sentences = sentences or installed_sentences()

    def fit_items(self, count: int) -> Iterator[FeatureItem]:
        """Items of sentences that are in no pair."""
        return self._items(list(self._sentences.others[:count]))

    def items(self, count: int | None = None) -> Iterator[FeatureItem]:
        """Items of all sentences of pairs; with ``count``, of whole pairs, spread over the grades."""
        if count is None:
            return self._items(list(self._sentences.tested()))
        pairs = _some(list(self._sentences.pairs), count // 2, spread=True)
        return self._items(list(dict.fromkeys(text for pair in pairs for text in (pair.first, pair.second))))

    def _items(self, texts: list[str]) -> Iterator[FeatureItem]:
        for text in texts:
            states = self._encoder.hidden_states(text, self.layers)
            yield FeatureItem(text, {name: value.numpy() for name, value in states.items()})

    def answer(self, key: str, layer: str, feature: np.ndarray) -> np.ndarray:
        """The sentence's vector (384,)."""
        return _go_on(self._encoder.network, layer, feature)

    def outcomes(self, answers: Mapping[str, np.ndarray]) -> Outcomes:
        """Cosines of the pairs whose sentences both have answers; score: their rank correlation with grades, -1..1."""
        pairs = [pair for pair in self._sentences.pairs if pair.first in answers and pair.second in answers]
        cosines = np.array([_cosine(answers[pair.first], answers[pair.second]) for pair in pairs])
        return Outcomes(cosines, targets=np.array([pair.grade for pair in pairs], np.float64))


class PictureLatents:
    """The image codec's own latents before quantisation; score: mean PSNR of the decoded pictures in dB.

    Args:
        system: whose default encoder and decoder are used.
        fit_folder: pictures to fit on.
        test_folder: pictures to test on.
    """

    metric = "PSNR (dB)"

    def __init__(self, system: System, fit_folder: str | Path, test_folder: str | Path) -> None:
        self.name = system.parts.spec.space
        self.layers = (system.plane.name,)
        self._system = system
        self._fit = picture_files(fit_folder)
        self._test = {path.name: path for path in picture_files(test_folder)}

    def fit_items(self, count: int) -> Iterator[FeatureItem]:
        """Items of the pictures to fit on, spread over all of them."""
        return self._items(_some(list(self._fit), count, spread=True))

    def items(self, count: int | None = None) -> Iterator[FeatureItem]:
        """Items of the pictures to test on."""
        return self._items(_some(list(self._test.values()), count))

    def _items(self, paths: list[Path]) -> Iterator[FeatureItem]:
        for path in paths:
            y = self._system.analyse(read_image(path))
            yield FeatureItem(path.name, {self.layers[0]: y[0].float().cpu().contiguous().numpy()})

    def answer(self, key: str, layer: str, feature: np.ndarray) -> np.ndarray:
        """The decoded picture (H, W, 3) uint8."""
        picture = read_image(self._test[key])
        y = torch.from_numpy(np.array(feature, np.float32))[None]
        latent = Latent(self._system.parts.spec, {layer: y}, picture.height, picture.width)
        return self._system.run("reconstruct", latent).pixels

    def outcomes(self, answers: Mapping[str, np.ndarray]) -> Outcomes:
        """PSNR of each picture against the original; score: their mean, dB."""
        return Outcomes(
            np.array([psnr_db(shown, read_image(self._test[key]).pixels) for key, shown in answers.items()])
        )


SOURCES = ("squeezenet", "mobilefacenet", "minilm", "latents")


def feature_source(name: str, data: str | Path) -> FeatureSource:
    """A source by name, with its weights and inputs in a data folder.

    Args:
        name: one of ``SOURCES``.
        data: holds ``imagenet_1000``, ``lfw``, ``cid22``, ``kodak`` and ``weights``.

    Raises:
        UsageError: an unknown name, or a missing folder.
        WeightsError: missing weights.
        MissingExtra: the package with MiniLM is not installed.
    """
    root = Path(data)
    if name == "squeezenet":
        return PictureClasses(squeezenet(root / "weights" / "squeezenet_v1.0.npz"), root / "imagenet_1000")
    if name == "mobilefacenet":
        return FacePairs(mobilefacenet(root / "weights" / "mobilefacenet_foamliu.safetensors"), root / "lfw")
    if name == "minilm":
        return SentencePairs(minilm())
    if name == "latents":
        from smalto.systems import load

        return PictureLatents(load(), root / "cid22" / "training", root / "kodak")
    raise UsageError(f"source {name!r} is none of {', '.join(SOURCES)}")


def _some(values: list[_T], count: int | None, spread: bool = False) -> list[_T]:
    """The first ``count`` values, or as many at even distances."""
    if count is None or count >= len(values):
        return values
    return [values[k * len(values) // count] for k in range(count)] if spread else values[:count]


def _arrays(network: StagedNetwork, x: Tensor, layers: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {name: value[0].contiguous().numpy() for name, value in network.features(x, layers).items()}


def _go_on(network: StagedNetwork, layer: str, feature: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network.head_from(layer)(torch.from_numpy(np.array(feature, np.float32))[None])[0].numpy()


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / max(np.linalg.norm(first) * np.linalg.norm(second), 1e-12))
