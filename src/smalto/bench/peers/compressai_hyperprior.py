"""CompressAI's bmshj2018-hyperprior at its size for low rates (qualities 1 to 5: N = 128, M = 192), for timing.

Weights are random: the cost of its networks does not depend on them, and its symbols, nearly all zero then, are
cheaper to code than a trained model's. Float tensors go in and come out, so that no conversion is on its clock.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

import torch
from torch import Tensor

from smalto.bench.peers.compressai_library import import_compressai

QUALITY = 5


class CompressaiHyperprior:
    """The model as its users run it: float32, eager, ``update()`` called.

    Args:
        seed: of the random weights.

    Raises:
        MissingExtra: CompressAI is not installed.
    """

    name = "compressai bmshj2018-hyperprior"

    def __init__(self, seed: int = 0) -> None:
        zoo = import_compressai("compressai.zoo")
        self.version = importlib.metadata.version("compressai")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network: Any = zoo.bmshj2018_hyperprior(quality=QUALITY, pretrained=False).eval()
        self.network.update()

    @torch.no_grad()
    def encode(self, x: Tensor) -> Any:
        """Strings and shape of a picture (1, 3, H, W) in [0, 1] whose sides are multiples of 64."""
        return self.network.compress(x)

    @torch.no_grad()
    def decode(self, coded: Any) -> Tensor:
        """The picture (1, 3, H, W) in [0, 1]."""
        return self.network.decompress(coded["strings"], coded["shape"])["x_hat"]
