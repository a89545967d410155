"""MiniLM, a frozen text transformer: hidden states of every layer and the vector of a sentence.

::

    token numbers (B, N) ─► embeddings (B, N, 384) ─► layer.1 ─► ... ─► layer.6 ─► mean, unit length = sentence (B, 384)

All rows of a batch have N tokens, so nothing is padded and nothing masked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.layers.stages import StagedNetwork, load_exactly

_STORED = {  # own name: name in public BERT weights
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "mix": "attention.output.dense",
    "mix_norm": "attention.output.LayerNorm",
    "widen": "intermediate.dense",
    "narrow": "output.dense",
    "narrow_norm": "output.LayerNorm",
}
_STORED_EMBEDDINGS = {
    "words": "embeddings.word_embeddings",
    "places": "embeddings.position_embeddings",
    "segments": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
}
_UNUSED = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")


@dataclass(frozen=True)
class MiniLMConfig:
    """Sizes of a BERT encoder.

    Args:
        vocabulary: number of tokens known.
        width: of hidden states.
        heads: of attention; divides the width.
        layers: number of transformer layers.
        inner: width inside the feed-forward part.
        max_tokens: number of positions known.
    """

    vocabulary: int = 30522
    width: int = 384
    heads: int = 12
    layers: int = 6
    inner: int = 1536
    max_tokens: int = 512


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward part, each added to its input, then normalised."""

    def __init__(self, config: MiniLMConfig) -> None:
        super().__init__()
        self.heads = config.heads
        width = config.width
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.mix = nn.Linear(width, width)
        self.mix_norm = nn.LayerNorm(width, eps=1e-12)
        self.widen = nn.Linear(width, config.inner)
        self.narrow = nn.Linear(config.inner, width)
        self.narrow_norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) -> (B, N, width)."""
        batch, tokens, width = x.shape
        query, key, value = (
            part(x).view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, tokens, width)
        x = self.mix_norm(x + self.mix(attended))
        return self.narrow_norm(x + self.narrow(F.gelu(self.widen(x))))


class MiniLM(StagedNetwork):
    """22.6 M parameters, of which the word embeddings are 11.7 M.

    Source: Wang et al. 2020 (arXiv 2002.10957); layers as in BERT (arXiv 1810.04805); mean pooling and unit length
    as in Reimers and Gurevych 2019 (arXiv 1908.10084).
    """

    def __init__(self, config: MiniLMConfig | None = None) -> None:
        super().__init__()
        self.config = config or MiniLMConfig()
        width = self.config.width
        self.words = nn.Embedding(self.config.vocabulary, width)
        self.places = nn.Embedding(self.config.max_tokens, width)
        self.segments = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList([TransformerLayer(self.config) for _ in range(self.config.layers)])

    def stages(self) -> tuple[tuple[str, Callable[[Tensor], Tensor]], ...]:
        """embeddings, layer.1 ... layer.6, sentence."""
        layers = [(f"layer.{k}", layer) for k, layer in enumerate(self.layers, start=1)]
        return (("embeddings", self._embed), *layers, ("sentence", _sentence))

    def _embed(self, numbers: Tensor) -> Tensor:
        places = torch.arange(numbers.shape[1], device=numbers.device)
        return self.norm(self.words(numbers) + self.segments.weight[0] + self.places(places))

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], config: MiniLMConfig | None = None, source: str = "weights"
    ) -> MiniLM:
        """The frozen network with weights by their public names, such as ``encoder.layer.0.output.dense.bias``.

        Raises:
            WeightsError: not the weights of this network.
        """
        network = cls(config)
        names = {stored: own for own, stored in _STORED_EMBEDDINGS.items()}
        for number in range(network.config.layers):
            names |= {f"encoder.layer.{number}.{stored}": f"layers.{number}.{own}" for own, stored in _STORED.items()}
        state: dict[str, Tensor] = {}
        for name, array in arrays.items():
            if name not in _UNUSED:
                stored, _, kind = name.rpartition(".")
                state[f"{names.get(stored, stored)}.{kind}"] = torch.from_numpy(np.array(array))
        load_exactly(network, state, source)
        return network


def _sentence(x: Tensor) -> Tensor:
    return F.normalize(x.mean(dim=1), dim=-1)
