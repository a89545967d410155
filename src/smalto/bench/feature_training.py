"""Training planes of the reachable models, from inputs that are never tested.

::

    source.fit_items(count) ─► {layer: array} ─► float16 on disk, layer by layer ─► FeatureArrays ─► pack_planes ─► .tar

One input's features are in memory at a time: they go to a temporary folder, from which planes are read back.
SqueezeNet is known by name, but no default: it is what codecs meet unseen.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from smalto.bench.feature_sources import FeatureItem, feature_source
from smalto.data.feature_array import FeatureArray
from smalto.data.photographs import picture_files, read_image
from smalto.encoders.foreign import tapped
from smalto.errors import FeatureFileError, UsageError
from smalto.systems.system import System
from smalto.train.feature_planes import PlaneSet, pack_planes

LEAST_SAMPLES = 20
_VALUES_A_BYTE = 2  # more values than fit into the .tar, however well they compress
_LARGEST = float(np.finfo(np.float16).max)


class TrainingFeatures(Protocol):
    """A model with inputs to train on."""

    name: str
    layers: tuple[str, ...]

    def fit_items(self, count: int) -> Iterator[FeatureItem]:
        """At most ``count`` items, none of which is ever tested."""
        ...


@dataclass(frozen=True)
class TrainingSource:
    """What a source gives to training.

    Args:
        num_inputs: inputs at most; fewer where its layers are large.
        open: from the data folder to the model with its inputs.
    """

    num_inputs: int
    open: Callable[[Path], TrainingFeatures]


@dataclass(frozen=True)
class CodecStage:
    """A layer inside the image codec.

    Args:
        name: of the feature.
        part: the network it lies in.
        layer: its name there; values are taken after the rectifier that follows it.
        top: first row and column of the window that is kept, away from the borders.
        side_cells: rows and columns of the window.
    """

    name: str
    part: Literal["encoder", "decoder"]
    layer: str
    top: int
    side_cells: int

    def cut(self, outputs: Mapping[str, Tensor]) -> np.ndarray:
        """The window of what the layer gave (the first time, if it ran often), (C, side, side) at most, float32."""
        found = outputs.get(self.layer, outputs.get(f"{self.layer}#1"))
        if found is None:
            raise UsageError(f"layer {self.layer}: it gave nothing; name one that the {self.part} runs")
        window = slice(self.top, self.top + self.side_cells)
        return torch.relu(found[0, :, window, window]).float().contiguous().numpy()


LITE_STAGES = (
    CodecStage("encoder", "encoder", "stages.1.2.expand", 4, 16),
    CodecStage("trunk", "decoder", "trunk.1.expand", 8, 14),
    CodecStage("stage", "decoder", "stages.0.3.expand", 10, 28),
)


class CodecStages:
    """Activations inside the image codec's default encoder and its picture decoder.

    Args:
        system: the image codec.
        folder: pictures to train on.
        stages: what to keep.
    """

    def __init__(self, system: System, folder: str | Path, stages: tuple[CodecStage, ...] = LITE_STAGES) -> None:
        self.name = system.parts.spec.space
        self.layers = tuple(stage.name for stage in stages)
        self._system = system
        self._paths = picture_files(folder)
        self._stages = stages

    def fit_items(self, count: int) -> Iterator[FeatureItem]:
        """Items of the pictures, spread over all of them."""
        num = min(count, len(self._paths))
        for path in (self._paths[k * len(self._paths) // num] for k in range(num)):
            yield FeatureItem(path.name, self._features(path))

    def _features(self, path: Path) -> dict[str, np.ndarray]:
        parts = self._system.parts
        encoder, decoder = next(iter(parts.encoders.values())), parts.heads["reconstruct"]
        with tapped(encoder, self._layers("encoder")) as inside:
            y = self._system.analyse(read_image(path))
        outputs = {"encoder": inside.features(), "decoder": {}}
        if self._layers("decoder"):
            with tapped(decoder, self._layers("decoder")) as inside, torch.inference_mode():
                decoder(y.float())
            outputs["decoder"] = inside.features()
        return {stage.name: stage.cut(outputs[stage.part]) for stage in self._stages}

    def _layers(self, part: str) -> list[str]:
        return [stage.layer for stage in self._stages if stage.part == part]


def _codec_stages(data: Path) -> TrainingFeatures:
    from smalto.systems import load

    return CodecStages(load(), data / "cid22" / "training")


TRAINING_SOURCES: Mapping[str, TrainingSource] = {
    "mobilefacenet": TrainingSource(400, lambda data: feature_source("mobilefacenet", data)),
    "minilm": TrainingSource(600, lambda data: feature_source("minilm", data)),
    "latents": TrainingSource(400, lambda data: feature_source("latents", data)),
    "codec-stages": TrainingSource(400, _codec_stages),
    "squeezenet": TrainingSource(400, lambda data: feature_source("squeezenet", data)),
}
DEFAULT_SOURCES = ("mobilefacenet", "minilm", "latents", "codec-stages")


def training_sources(names: Sequence[str]) -> tuple[TrainingSource, ...]:
    """Sources by name.

    Raises:
        UsageError: an unknown name, or one named twice.
    """
    for name in names:
        if name not in TRAINING_SOURCES:
            raise UsageError(f"source {name!r} is none of {', '.join(TRAINING_SOURCES)}")
    if len(set(names)) < len(names):
        raise UsageError("sources: one is named twice; name each once")
    return tuple(TRAINING_SOURCES[name] for name in names)


@dataclass
class LayerStore:
    """Samples of one layer on disk, float16, one after the other.

    Args:
        path: the file.
        max_values: samples are refused beyond so many values, but not the first ``LEAST_SAMPLES``.
    """

    path: Path
    max_values: int
    _samples: list[tuple[tuple[int, ...], int]] = field(default_factory=list)
    _num_values: int = 0

    @property
    def num_samples(self) -> int:
        """Samples taken so far."""
        return len(self._samples)

    @property
    def is_full(self) -> bool:
        """Whether no more samples are taken."""
        return self._num_values >= self.max_values and len(self._samples) >= LEAST_SAMPLES

    def add(self, sample: np.ndarray) -> None:
        """Append a sample unless the store is full; values beyond float16 are cut to its range."""
        if self.is_full:
            return
        with self.path.open("ab") as stream:
            stream.write(np.clip(sample, -_LARGEST, _LARGEST).astype(np.float16).tobytes())
        self._samples.append((sample.shape, 2 * self._num_values))
        self._num_values += sample.size

    def arrays(self) -> list[FeatureArray]:
        """The samples, each read from the file when it is asked for."""
        return [self._array(str(k), shape, offset) for k, (shape, offset) in enumerate(self._samples)]

    def _array(self, name: str, shape: tuple[int, ...], offset: int) -> FeatureArray:
        row = int(np.prod(shape[1:]))

        def read(start: int, stop: int) -> np.ndarray:
            count = (stop - start) * row
            values = np.fromfile(self.path, np.float16, count, offset=offset + 2 * start * row)
            if len(values) != count:
                raise FeatureFileError(f"{self.path}: is shorter than when it was written; start again")
            return values.reshape(stop - start, *shape[1:])

        return FeatureArray(name, "float16", shape, read, str(self.path))


def store_features(
    features: TrainingFeatures, num_inputs: int, folder: Path, max_values: int
) -> dict[str, list[FeatureArray]]:
    """Every layer's samples, ``MODEL-LAYER`` -> arrays that lie in files of a folder.

    Inputs are taken until all layers have ``max_values`` values, or there are no more.

    Raises:
        UsageError: there are none at all.
    """
    stores = {layer: LayerStore(folder / f"{features.name}-{layer}.f16", max_values) for layer in features.layers}
    for item in features.fit_items(num_inputs):
        for layer, store in stores.items():
            store.add(item.features[layer])
        if all(store.is_full for store in stores.values()):
            break
    if not all(store.num_samples for store in stores.values()):
        raise UsageError(f"{features.name}: has no inputs to train on; name a folder that holds some with --data")
    return {f"{features.name}-{layer}": store.arrays() for layer, store in stores.items()}


def pack_training_planes(
    names: Sequence[str],
    data: str | Path,
    path: str | Path,
    *,
    max_bytes: int = 60 << 20,
    transform: str = "lloyd-max",
    say: Callable[[str], None] = lambda line: None,
) -> PlaneSet:
    """Planes of reachable models' training inputs, for ``smalto train feature-hyperprior`` and ``feature-elic``.

    Args:
        names: of ``TRAINING_SOURCES``; ``DEFAULT_SOURCES`` for hybrid training, one for specific training.
        data: folder of weights and inputs, as ``feature_source`` takes it.
        path: the .tar to write.
        max_bytes: its largest size; layers share it evenly.
        transform: how values become indexes, as ``pack_planes`` takes it.
        say: receives a line a source.

    Raises:
        UsageError: an unknown source, or missing inputs.
        WeightsError, MissingExtra: a model is not there.
    """
    chosen = training_sources(names)
    opened = [source.open(Path(data)) for source in chosen]
    max_values = _VALUES_A_BYTE * max_bytes // max(sum(len(features.layers) for features in opened), 1)
    with tempfile.TemporaryDirectory(prefix="smalto-features-") as folder:
        models: dict[str, list[FeatureArray]] = {}
        for source, features in zip(chosen, opened, strict=True):
            stored = store_features(features, source.num_inputs, Path(folder), max_values)
            say(", ".join(f"{name} {len(arrays)} samples" for name, arrays in stored.items()))
            models |= stored
        return pack_planes(models, path, max_bytes=max_bytes, transform=transform)
