"""Bjontegaard deltas: exact cases by hand, SciPy's interpolators, and errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto.errors import UsageError
from smalto.measure.bd_rate import Interpolation, bd_quality, bd_rate, interpolate

ANCHOR = [(686.76, 40.28), (309.58, 37.18), (157.11, 34.24), (85.95, 31.42)]
TEST = [(893.34, 40.39), (407.8, 37.21), (204.93, 34.17), (112.75, 31.24)]
KINDS: list[Interpolation] = ["pchip", "akima"]


@pytest.mark.parametrize("kind", KINDS)
@given(st.floats(0.2, 5.0), st.integers(2, 8), st.integers(0, 2**31 - 1))
@settings(max_examples=30, deadline=None)
def test_a_constant_factor_of_rate(kind: Interpolation, factor: float, num_points: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rates = np.cumsum(generator.uniform(0.05, 0.5, num_points))
    quality = 25 + np.cumsum(generator.uniform(0.1, 3, num_points))
    curve = list(zip(rates, quality, strict=True))
    other = [(factor * rate, value) for rate, value in curve]
    assert bd_rate(curve, other, interpolation=kind) == pytest.approx(100 * (factor - 1), abs=1e-6)
    assert bd_rate(other, curve, interpolation=kind) == pytest.approx(100 * (1 / factor - 1), abs=1e-6)
    assert bd_rate(curve, curve[::-1], interpolation=kind) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_straight_lines_over_their_overlap(kind: Interpolation) -> None:
    # ln R = D / 10 and ln R = D / 10 - 0.2 + (D - 20) / 50, on 10..30 and 20..40: the mean difference on 20..30 is -0.1
    first = [(np.exp(d / 10), d) for d in (10.0, 14.0, 22.0, 30.0)]
    second = [(np.exp(d / 10 - 0.2 + (d - 20) / 50), d) for d in (20.0, 27.0, 31.0, 40.0)]
    assert bd_rate(first, second, interpolation=kind) == pytest.approx(100 * np.expm1(-0.1), abs=1e-9)
    shifted = [(rate, quality + 0.7) for rate, quality in first]
    assert bd_quality(first, shifted, interpolation=kind) == pytest.approx(0.7, abs=1e-9)


def test_the_example_of_the_common_test_curves() -> None:
    assert bd_rate(ANCHOR, TEST) == pytest.approx(_by_scipy("pchip"), abs=1e-6)
    assert bd_rate(ANCHOR, TEST, interpolation="akima") == pytest.approx(_by_scipy("akima"), abs=1e-6)
    assert 25 < bd_rate(ANCHOR, TEST) < 40
    assert bd_quality(ANCHOR, TEST) == pytest.approx(-1.3, abs=0.15)


def _by_scipy(kind: str) -> float:
    scipy = pytest.importorskip("scipy.interpolate", reason="needs SciPy")
    build = {"pchip": scipy.PchipInterpolator, "akima": scipy.Akima1DInterpolator}[kind]
    low, high = max(ANCHOR[-1][1], TEST[-1][1]), min(ANCHOR[0][1], TEST[0][1])
    areas = []
    for curve in (ANCHOR, TEST):
        points = sorted((quality, np.log(rate)) for rate, quality in curve)
        areas.append(build(*np.array(points).T).integrate(low, high))
    return 100 * np.expm1((areas[1] - areas[0]) / (high - low))


@given(st.integers(3, 9), st.integers(0, 2**31 - 1))
@settings(max_examples=60, deadline=None)
def test_interpolation_agrees_with_scipy(num_points: int, seed: int) -> None:
    scipy = pytest.importorskip("scipy.interpolate", reason="needs SciPy")
    generator = np.random.default_rng(seed)
    x = np.cumsum(generator.uniform(0.1, 2, num_points))
    y = generator.normal(0, 1, num_points)
    at = np.linspace(x[0], x[-1], 50)
    pairs = (("pchip", scipy.PchipInterpolator), ("akima", scipy.Akima1DInterpolator))
    for kind, build in pairs:
        assert np.allclose(interpolate(x, y, at, interpolation=kind), build(x, y)(at), atol=1e-9)  # type: ignore[arg-type]


def test_pchip_does_not_overshoot() -> None:
    x, y = np.array([0.0, 1.0, 1.1, 3.0]), np.array([0.0, 0.1, 5.0, 5.0])
    values = interpolate(x, y, np.linspace(0, 3, 300))
    assert values.min() >= 0.0
    assert values.max() <= 5.0
    assert bool((np.diff(values) >= -1e-12).all())


def test_wrong_use_is_named() -> None:
    far = [(rate, quality + 50) for rate, quality in ANCHOR]
    with pytest.raises(UsageError, match="share no quality"):
        bd_rate(ANCHOR, far)
    with pytest.raises(UsageError, match="two or more"):
        bd_rate(ANCHOR[:1], ANCHOR)
    with pytest.raises(UsageError, match="two or more"):
        bd_rate(ANCHOR, [])
    with pytest.raises(UsageError, match="rates above 0"):
        bd_rate(ANCHOR, [(0.0, 30.0), (1.0, 40.0)])
    with pytest.raises(UsageError, match="same quality"):
        bd_rate(ANCHOR, [(1.0, 35.0), (2.0, 35.0), (3.0, 40.0)])
    with pytest.raises(UsageError, match="pchip or akima"):
        bd_rate(ANCHOR, TEST, interpolation="spline")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="share no rate"):
        bd_quality(ANCHOR, [(1.0, 35.0), (2.0, 36.0)])
