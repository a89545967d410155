"""A source of features whose answers are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from smalto.bench.feature_sources import FeatureItem
from smalto.measure.bootstrap import Outcomes

CLASSES = 6


class MapSource:
    """Maps whose strongest channel is the class.

    Args:
        name: of the source.
        side: of the maps.
        scale: of the values.
        metric: of the score, for answers judged as another source's.
    """

    layers: tuple[str, ...] = ("maps",)

    def __init__(self, name: str = "squeezenet", side: int = 6, scale: float = 1.0, metric: str = "top-1") -> None:
        self.name, self.metric = name, metric
        self._side, self._scale = side, scale

    def fit_items(self, count: int) -> Iterator[FeatureItem]:
        yield from self._draw(1000, count)

    def items(self, count: int | None = None) -> Iterator[FeatureItem]:
        yield from self._draw(0, count or 30)

    def _draw(self, first: int, count: int) -> Iterator[FeatureItem]:
        for seed in range(first, first + count):
            maps = np.maximum(np.random.default_rng(seed).normal(size=(CLASSES, self._side, self._side)), 0)
            maps[seed % CLASSES] += 0.5
            yield FeatureItem(str(seed), {"maps": (maps * self._scale).astype(np.float32)})

    def answer(self, key: str, layer: str, feature: np.ndarray) -> np.ndarray:
        return feature.mean(axis=(1, 2))

    def outcomes(self, answers: Mapping[str, np.ndarray]) -> Outcomes:
        return Outcomes(np.array([int(key) % CLASSES == logits.argmax() for key, logits in answers.items()], float))
