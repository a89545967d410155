"""A layer held in memory: what it says of originals, of slightly and of badly damaged features."""

from __future__ import annotations

import numpy as np
import pytest

from smalto.bench.feature_layers import HeldLayer, agreement_of
from smalto.errors import UsageError
from tests.bench.feature_maps import MapSource


def test_judgement_of_originals_noise_and_nothing() -> None:
    held = HeldLayer(MapSource(), "maps", 24)
    values = np.concatenate([value.ravel() for value in held.features.values()])
    assert (held.num_values, held.variance) == (values.size, pytest.approx(values.var()))
    same = held.judge(held.features.values())
    assert (same.nmse, same.change, same.agreement) == (0, 0, 1)
    assert (same.change_interval, same.agreement_interval) == ((0, 0), (1, 1))
    noise = np.random.default_rng(0)
    noisy = held.judge(value + noise.normal(size=value.shape) for value in held.features.values())
    assert noisy.nmse == pytest.approx(1 / held.variance, rel=0.1)
    nothing = held.judge(np.zeros_like(value) for value in held.features.values())
    assert nothing.score == pytest.approx(4 / 24)  # every answer is class 0
    low, high = nothing.change_interval
    assert low < nothing.change < high < 0
    point = held.point("zeros", 1, 0.25, nothing)
    assert point.bits_per_value == 0.25
    assert point.cells()[:4] == ("squeezenet", "maps", "zeros", 1)
    assert (point.score_change_low, point.score_change_high) == (low, high)


def test_missing_features_are_noticed() -> None:
    held = HeldLayer(MapSource(), "maps", 3)
    with pytest.raises(ValueError, match="shorter"):
        held.judge(list(held.features.values())[:2])


def test_agreement() -> None:
    first, second = np.array([1.0, 3.0, 2.0]), np.array([1.0, 2.0, 0.0])
    assert agreement_of("top-1", first, second) == 1
    assert agreement_of("rank correlation", first, second) == pytest.approx(7 / np.sqrt(14 * 5))
    assert agreement_of("PSNR (dB)", np.zeros(2), np.zeros(2)) == 0


def test_a_source_without_inputs_is_refused() -> None:
    source = MapSource()
    source.items = lambda count=None: iter(())  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="no inputs"):
        HeldLayer(source, "maps", 3)
