"""One layer's features in memory, and what a task says of decoded ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np

from smalto.bench.feature_sources import FeatureSource
from smalto.errors import UsageError
from smalto.measure.bootstrap import Interval, change_interval, mean_interval

NUM_FIT = 10
PSNR = "PSNR (dB)"


@dataclass(frozen=True)
class Judgement:
    """What decoded features are worth.

    Args:
        nmse: squared error over variance.
        score: of the task.
        change: against original features.
        change_interval: 95 %, paired.
        agreement: share of inputs whose answer names the same class; cosine of answers where there are no classes.
        agreement_interval: 95 %.
    """

    nmse: float
    score: float
    change: float
    change_interval: Interval
    agreement: float
    agreement_interval: Interval


@dataclass(frozen=True)
class RatePoint:
    """One codec at one setting on one layer.

    Args:
        source: of features.
        layer: of the model.
        codec: ours by tier, a peer as quantiser+packer.
        setting: the error aimed at, the quality level, the step in deviations, or bits.
        bits_per_value: whole files, profiles not counted.
        nmse: squared error over variance.
        score: of the task.
        score_change: against original features.
        score_change_low: end of its 95 % interval (paired bootstrap over inputs or pairs).
        score_change_high: the other end.
        agreement: share of inputs whose answer names the same class; cosine of answers where there are no classes.
        agreement_low: end of its 95 % interval.
        agreement_high: the other end.
        profile_bytes: of ours, once for all files.
        metric: of the score.
    """

    source: str
    layer: str
    codec: str
    setting: float
    bits_per_value: float
    nmse: float
    score: float
    score_change: float
    score_change_low: float
    score_change_high: float
    agreement: float
    agreement_low: float
    agreement_high: float
    profile_bytes: int = 0
    metric: str = "top-1"

    def cells(self) -> tuple[str | float | int, ...]:
        """The fields in their order."""
        return tuple(getattr(self, field.name) for field in fields(self))


class HeldLayer:
    """Features of one layer, with the answers of the original ones.

    Args:
        source: of features.
        layer: one of its layers.
        count: inputs to test on.

    Raises:
        UsageError: there are no inputs.
    """

    def __init__(self, source: FeatureSource, layer: str, count: int) -> None:
        self.source, self.layer = source, layer
        self.fitted = [item.features[layer] for item in source.fit_items(NUM_FIT)]
        self.features = {item.key: item.features[layer] for item in source.items(count)}
        if not self.features:
            raise UsageError(f"bench features: {source.name} has no inputs; check --data")
        self.answers = {key: source.answer(key, layer, value) for key, value in self.features.items()}
        self.outcomes = source.outcomes(self.answers)
        self.num_values = sum(value.size for value in self.features.values())
        self.variance = _variance(self.features.values())
        self.deviation = _variance(self.fitted) ** 0.5

    def judge(self, decoded: Iterable[np.ndarray]) -> Judgement:
        """What the task says of decoded features, which come in the order of ``features``."""
        answers, squared, agreement = {}, 0.0, []
        for (key, value), back in zip(self.features.items(), decoded, strict=True):
            answers[key] = self.source.answer(key, self.layer, np.asarray(back, np.float32))
            squared += float(np.square(value.astype(np.float64) - back).sum())
            agreement.append(agreement_of(self.source.metric, self.answers[key], answers[key]))
        outcomes = self.source.outcomes(answers)
        return Judgement(
            squared / self.num_values / self.variance,
            outcomes.score,
            outcomes.score - self.outcomes.score,
            change_interval(self.outcomes, outcomes),
            float(np.mean(agreement)),
            mean_interval(np.array(agreement)),
        )

    def point(
        self, codec: str, setting: float, bits_per_value: float, judged: Judgement, profile_bytes: int = 0
    ) -> RatePoint:  # fmt: skip
        """The point of a codec at a setting."""
        return RatePoint(
            self.source.name,
            self.layer,
            codec,
            setting,
            bits_per_value,
            judged.nmse,
            judged.score,
            judged.change,
            *judged.change_interval,
            judged.agreement,
            *judged.agreement_interval,
            profile_bytes,
            self.source.metric,
        )


def agreement_of(metric: str, first: np.ndarray, second: np.ndarray) -> float:
    """1 or 0 for the same class or another one, cosine of answers without classes."""
    if metric == "top-1":
        return float(first.argmax() == second.argmax())
    a, b = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


def _variance(arrays: Iterable[np.ndarray]) -> float:
    """Variance of all values together, one array in memory beside them at a time."""
    count, total, squares = 0, 0.0, 0.0
    for array in arrays:
        wide = array.astype(np.float64)
        count, total, squares = count + wide.size, total + float(wide.sum()), squares + float(np.square(wide).sum())
    return max(squares / count - (total / count) ** 2, 0.0)
