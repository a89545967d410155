"""Fitting: goals are met on the samples, rotation and centring are found where they pay, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from smalto.codecs.feature_fit import Goal, fit_levels, fit_tier, plain_transform, rotated_transform, trial
from smalto.errors import UsageError


def correlated(rows: int = 4000, channels: int = 64, seed: int = 0) -> np.ndarray:
    """(1, rows, 1, channels) with four strong directions and white noise."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(7).standard_normal((4, channels))
    values = 2 * rng.standard_normal((rows, 4)) @ directions + 0.5 * rng.standard_normal((rows, channels))
    return values.astype(np.float32)[None, :, None, :]


def sparse(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.maximum(rng.standard_normal((4, 16, 16, 32)) - 1, 0).astype(np.float32)


@pytest.mark.parametrize("wanted", [0.3, 0.03, 0.003])
def test_error_is_met(wanted: float) -> None:
    fields = [correlated()]
    best = fit_tier(fields, Goal("error", wanted))
    spread = np.square(fields[0] - fields[0].mean((0, 1, 2))).mean()
    assert best.error / spread == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize("wanted", [0.5, 1.5, 3.0])
def test_rate_is_met(wanted: float) -> None:
    assert fit_tier([sparse()], Goal("rate", wanted)).bits == pytest.approx(wanted, rel=0.05)


def test_rotation_takes_the_strong_directions() -> None:
    fields = [correlated()]
    step = 0.8
    plain = plain_transform(fields[0].mean((0, 1, 2)), step)
    rotated = rotated_transform(plain, fields, 8)
    rows = fields[0].reshape(-1, 64).copy()
    rotated.coefficients(rows)
    power = np.square(rows).mean(0)
    assert set(np.argsort(power)[-4:]) <= set(rotated.pivot.tolist())
    assert trial(rotated, fields).cost < 0.8 * trial(plain, fields).cost


def test_what_is_chosen_suits_the_features() -> None:
    dense = fit_tier([correlated()], Goal("error", 0.1)).transform
    assert len(dense.pivot) > 0
    assert dense.mean.any()
    empty = fit_tier([sparse()], Goal("error", 0.1)).transform
    assert len(empty.pivot) == 0
    assert not empty.mean.any()
    assert empty.offset == 0.5


def test_white_noise_is_not_rotated() -> None:
    noise = np.random.default_rng(0).standard_normal((1, 4000, 1, 64)).astype(np.float32)
    assert len(fit_tier([noise], Goal("error", 0.05)).transform.pivot) == 0


def test_levels_only_where_many_positions_share_them() -> None:
    plain = plain_transform(np.ones(64), 0.8)
    assert fit_levels(plain, [correlated()]) is not None
    assert fit_levels(plain, [correlated()[:, :8]]) is None
    assert fit_levels(plain_transform(np.zeros(64), 0.8), [correlated()]) is None


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_goals(value: float) -> None:
    with pytest.raises(UsageError):
        Goal("rate", value)
