"""Bjontegaard deltas: how much rate one codec saves over another at equal quality, on average.

Source: Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001; piecewise cubic
(PCHIP) interpolation as in the common test conditions of JVET (JVET-T2010); Akima as recommended by Herglotz et al.,
"The Bjontegaard bible", IEEE TIP 2024. The integrals are exact: each piece is a cubic polynomial.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from smalto.errors import UsageError

Interpolation = Literal["pchip", "akima"]


def bd_rate(
    anchor: Sequence[tuple[float, float]],
    test: Sequence[tuple[float, float]],
    *,
    interpolation: Interpolation = "pchip",
) -> float:
    """Average rate difference of ``test`` against ``anchor`` at equal quality.

    Math: 100 (exp(mean of ln R_test(D) - ln R_anchor(D) over the common range of D) - 1), where ln R(D) is a
    piecewise cubic through the points.

    Args:
        anchor: (rate, quality) points, e.g. (bpp, dB); two or more, in any order.
        test: as anchor.
        interpolation: how ln R(D) runs between points.

    Returns:
        Percent; -20 means that ``test`` needs 20 % fewer bits.

    Raises:
        UsageError: fewer than two points, a rate that is not positive, two points of equal quality, or no common
            range of quality.

    Example:
        >>> curve = [(0.2, 28.0), (0.4, 30.5), (0.8, 33.0)]
        >>> round(bd_rate(curve, [(0.9 * rate, quality) for rate, quality in curve]), 6)
        -10.0
    """
    first, second = _sorted_by_quality(anchor, "anchor"), _sorted_by_quality(test, "test")
    low, high = overlap_of(first[1], second[1], "quality")
    mean = _mean_difference((first[1], np.log(first[0])), (second[1], np.log(second[0])), (low, high), interpolation)
    return float(100.0 * np.expm1(mean))


def bd_quality(
    anchor: Sequence[tuple[float, float]],
    test: Sequence[tuple[float, float]],
    *,
    interpolation: Interpolation = "pchip",
) -> float:
    """Average quality difference of ``test`` against ``anchor`` at equal rate, in units of quality (dB for PSNR).

    Math: mean of D_test(ln R) - D_anchor(ln R) over the common range of ln R. Arguments and errors as ``bd_rate``.
    """
    first, second = _sorted_by_quality(anchor, "anchor"), _sorted_by_quality(test, "test")
    curves = []
    for rates, qualities in (first, second):
        order = np.argsort(rates)
        curves.append((np.log(rates[order]), qualities[order]))
        if np.any(np.diff(curves[-1][0]) <= 0):
            raise UsageError("two points of a curve have the same rate; remove one")
    low, high = overlap_of(curves[0][0], curves[1][0], "rate")
    return float(_mean_difference(curves[0], curves[1], (low, high), interpolation))


def overlap_of(first: np.ndarray, second: np.ndarray, what: str) -> tuple[float, float]:
    """The common range of two sets of values.

    Raises:
        UsageError: there is none.
    """
    low, high = max(first.min(), second.min()), min(first.max(), second.max())
    if low >= high:
        raise UsageError(
            f"the curves share no {what} ({first.min():.4g}..{first.max():.4g} and {second.min():.4g}.."
            f"{second.max():.4g}); measure more points"
        )
    return float(low), float(high)


def interpolate(x: np.ndarray, y: np.ndarray, at: np.ndarray, *, interpolation: Interpolation = "pchip") -> np.ndarray:
    """The piecewise cubic through (x, y), evaluated at points inside x's range; x strictly rising."""
    slopes = _slopes(x, y, interpolation)
    piece = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    coefficients = _coefficients(x, y, slopes)[piece]  # (..., 4), highest power first
    offset = at - x[piece]
    return ((coefficients[..., 0] * offset + coefficients[..., 1]) * offset + coefficients[..., 2]) * offset + y[piece]


def _sorted_by_quality(points: Sequence[tuple[float, float]], which: str) -> tuple[np.ndarray, np.ndarray]:
    values = np.array([(rate, quality) for rate, quality in points], dtype=np.float64).reshape(-1, 2)
    if len(values) < 2 or not np.isfinite(values).all() or (values[:, 0] <= 0).any():
        raise UsageError(f"the {which} curve needs two or more finite (rate, quality) points with rates above 0")
    values = values[np.argsort(values[:, 1], kind="stable")]
    if np.any(np.diff(values[:, 1]) <= 0):
        raise UsageError(f"two points of the {which} curve have the same quality; remove one")
    return values[:, 0], values[:, 1]


Curve = tuple[np.ndarray, np.ndarray]


def _mean_difference(anchor: Curve, test: Curve, limits: tuple[float, float], interpolation: Interpolation) -> float:
    areas = [_area(x, y, limits, interpolation) for x, y in (anchor, test)]
    return (areas[1] - areas[0]) / (limits[1] - limits[0])


def _area(x: np.ndarray, y: np.ndarray, limits: tuple[float, float], interpolation: Interpolation) -> float:
    """The exact integral of the piecewise cubic through (x, y) between ``limits``."""
    coefficients = _coefficients(x, y, _slopes(x, y, interpolation))
    total = 0.0
    for start, stop, (a, b, c, d) in zip(x[:-1], x[1:], coefficients, strict=True):
        low, high = max(start, limits[0]) - start, min(stop, limits[1]) - start
        if high > low:
            total += sum(
                sign * t * (d + t * (c / 2 + t * (b / 3 + t * a / 4))) for sign, t in ((1.0, high), (-1.0, low))
            )
    return float(total)


def _coefficients(x: np.ndarray, y: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Cubic Hermite pieces as (n - 1, 4) coefficients of (t^3, t^2, t, 1), t counted from the piece's start."""
    width = np.diff(x)
    secant = np.diff(y) / width
    cubic = (slopes[:-1] + slopes[1:] - 2 * secant) / width**2
    square = (3 * secant - 2 * slopes[:-1] - slopes[1:]) / width
    return np.stack([cubic, square, slopes[:-1], y[:-1]], axis=1)


def _slopes(x: np.ndarray, y: np.ndarray, interpolation: Interpolation) -> np.ndarray:
    width = np.diff(x)
    secant = np.diff(y) / width
    if len(x) == 2:
        return np.array([secant[0], secant[0]])
    if interpolation == "pchip":
        return _pchip_slopes(width, secant)
    if interpolation == "akima":
        return _akima_slopes(secant)
    raise UsageError(f"interpolation {interpolation!r} is unknown; use pchip or akima")


def _pchip_slopes(width: np.ndarray, secant: np.ndarray) -> np.ndarray:
    """Fritsch and Carlson: weighted harmonic means inside, zero at turning points, three-point slopes at the ends."""
    slopes = np.zeros(len(width) + 1)
    same = secant[:-1] * secant[1:] > 0
    first, second = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        harmonic = (first + second) / (first / secant[:-1] + second / secant[1:])
    slopes[1:-1] = np.where(same, harmonic, 0.0)
    for end, (h0, h1, s0, s1) in {
        0: (width[0], width[1], secant[0], secant[1]),
        -1: (width[-1], width[-2], secant[-1], secant[-2]),
    }.items():
        slope = ((2 * h0 + h1) * s0 - h0 * s1) / (h0 + h1)
        if slope * s0 <= 0:
            slope = 0.0
        elif s0 * s1 <= 0 and abs(slope) > 3 * abs(s0):
            slope = 3 * s0
        slopes[end] = slope
    return slopes


def _akima_slopes(secant: np.ndarray) -> np.ndarray:
    """Akima 1970: secants weighted by how little their neighbours bend; two secants are continued past each end."""
    before = 2 * secant[0] - secant[1]
    after = 2 * secant[-1] - secant[-2]
    padded = np.concatenate([[2 * before - secant[0], before], secant, [after, 2 * after - secant[-1]]])
    bend = np.abs(np.diff(padded))
    right, left = bend[2:], bend[:-2]
    total = right + left
    straight = total <= 1e-9 * max(float(total.max()), 1e-300)
    weighted = (right * padded[1:-2] + left * padded[2:-1]) / np.where(straight, 1.0, total)
    return np.where(straight, 0.5 * (padded[1:-2] + padded[2:-1]), weighted)
