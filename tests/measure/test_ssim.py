"""SSIM and MS-SSIM against a plain NumPy computation and scikit-image, their gradients, and small pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto.errors import UsageError
from smalto.measure.ssim import ms_ssim, ms_ssim_db, ms_ssim_loss, num_scales, ssim, ssim_loss

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


def pair(height: int, width: int, noise: float = 0.08, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth colour picture (H, W, 3) in [0, 1] and the same with noise and a shift of brightness."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    clean = np.stack([0.5 + 0.4 * np.sin(rows / (6 + k) + columns / (9 - k)) for k in range(3)], axis=-1)
    return clean, np.clip(clean * 0.97 + generator.normal(0, noise, clean.shape), 0, 1)


def tensors(*pictures: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(picture).permute(2, 0, 1)[None] for picture in pictures]


def terms(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Mean SSIM and mean contrast-structure of two planes: eq. 13 by two-dimensional windows, one by one."""
    window = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2
    whole, structure = [], []
    for patch_1, patch_2 in zip(
        np.lib.stride_tricks.sliding_window_view(first, (11, 11)).reshape(-1, 11, 11),
        np.lib.stride_tricks.sliding_window_view(second, (11, 11)).reshape(-1, 11, 11),
        strict=True,
    ):
        mean_1, mean_2 = (window * patch_1).sum(), (window * patch_2).sum()
        var_1, var_2 = (window * (patch_1 - mean_1) ** 2).sum(), (window * (patch_2 - mean_2) ** 2).sum()
        covariance = (window * (patch_1 - mean_1) * (patch_2 - mean_2)).sum()
        cs = (2 * covariance + 0.0009) / (var_1 + var_2 + 0.0009)
        structure.append(cs)
        whole.append(cs * (2 * mean_1 * mean_2 + 0.0001) / (mean_1**2 + mean_2**2 + 0.0001))
    return float(np.mean(whole)), float(np.mean(structure))


def halved(plane: np.ndarray) -> np.ndarray:
    plane = np.pad(plane, ((0, plane.shape[0] % 2), (0, plane.shape[1] % 2)), mode="edge")
    return (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 4


def reference_ms_ssim(first: np.ndarray, second: np.ndarray, scales: int) -> float:
    weights = WEIGHTS[:scales] / WEIGHTS[:scales].sum()
    values = []
    for channel in range(3):
        a, b, product = first[:, :, channel], second[:, :, channel], 1.0
        for scale in range(scales):
            whole, structure = terms(a, b)
            product *= (whole if scale == scales - 1 else structure) ** weights[scale]
            a, b = halved(a), halved(b)
        values.append(product)
    return float(np.mean(values))


def test_ssim_is_its_formula() -> None:
    first, second = pair(25, 31)
    expected = np.mean([terms(first[:, :, k], second[:, :, k])[0] for k in range(3)])
    assert float(ssim(*tensors(first, second))) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_ssim_agrees_with_scikit_image(noise: float) -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="needs scikit-image")
    first, second = pair(60, 80, noise)
    expected = metrics.structural_similarity(
        first, second, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=2
    )
    assert float(ssim(*tensors(first, second))) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("height", "width", "scales"), [(161, 163, 5), (85, 200, 4), (41, 44, 3), (21, 30, 2)])
def test_ms_ssim_is_its_formula(height: int, width: int, scales: int) -> None:
    first, second = pair(height, width)
    assert num_scales(height, width) == scales
    expected = reference_ms_ssim(first, second, scales)
    assert float(ms_ssim(*tensors(first, second))) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("side", "scales"), [(161, 5), (160, 4), (81, 4), (80, 3), (41, 3), (40, 2), (21, 2), (20, 1)])
def test_scales_by_side(side: int, scales: int) -> None:
    assert num_scales(side, 500) == num_scales(500, side) == scales


def test_one_scale_is_ssim() -> None:
    first, second = tensors(*pair(20, 50))
    assert torch.equal(ms_ssim(first, second), ssim(first, second))


@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 2**31 - 1))
@settings(max_examples=40, deadline=None)
def test_any_size_has_a_value_and_equal_pictures_reach_one(height: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.rand(2, 1, 3, height, width, generator=generator)
    assert -1.0 <= float(ms_ssim(first, second)) < 1.0 + 1e-6
    assert float(ssim(first, first)) == pytest.approx(1.0, abs=1e-6)
    assert float(ms_ssim(first, first)) == pytest.approx(1.0, abs=1e-6)
    assert float(ssim(first, second)) == pytest.approx(float(ssim(second, first)), abs=1e-5)


def test_one_pixel_compares_luminance() -> None:
    first, second = torch.full((1, 3, 1, 1), 0.2), torch.full((1, 3, 1, 1), 0.6)
    assert float(ssim(first, second)) == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), abs=1e-6)


def test_a_batch_is_its_pictures() -> None:
    pairs = [tensors(*pair(170, 165, noise)) for noise in (0.02, 0.2)]
    first, second = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    assert ms_ssim(first, second).tolist() == pytest.approx([float(ms_ssim(*one)) for one in pairs])


def test_more_noise_scores_less() -> None:
    scores = [float(ms_ssim(*tensors(*pair(170, 170, noise)))) for noise in (0.01, 0.05, 0.2)]
    assert scores == sorted(scores, reverse=True)
    decibels = ms_ssim_db(torch.tensor(scores))
    assert bool((decibels.diff() < 0).all())
    assert float(ms_ssim_db(torch.tensor(0.99))) == pytest.approx(20.0, abs=1e-3)


def test_gradients_are_right() -> None:
    first, second = tensors(*pair(22, 21))
    second.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ssim(first, x), (second,), fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: ms_ssim(first, x), (second,), fast_mode=True)


def descended(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], guess: torch.Tensor) -> tuple[float, float]:
    """The loss against a fixed picture before and after ten steps of Adam; gradients must be finite."""
    first = tensors(pair(32, 32)[0])[0].float()
    guess = guess.clone().requires_grad_()
    optimiser = torch.optim.Adam([guess], lr=0.02)
    values = []
    for _ in range(11):
        optimiser.zero_grad()
        value = loss(first, guess)
        value.backward()
        assert guess.grad is not None
        assert bool(torch.isfinite(guess.grad).all())
        optimiser.step()
        values.append(value.item())
    return values[0], values[-1]


def test_losses_fall_by_descent() -> None:
    noisy = tensors(pair(32, 32, 0.3)[1])[0].float()
    for loss in (ssim_loss, ms_ssim_loss):
        start, end = descended(loss, noisy)
        assert end < 0.8 * start


def test_negative_structure_has_finite_gradients() -> None:
    negative = 1.0 - tensors(pair(32, 32)[0])[0].float()
    start, end = descended(ssim_loss, negative)
    assert start > 1.0
    assert end < start - 0.1
    start, _ = descended(ms_ssim_loss, negative)
    assert 0.99 < start <= 1.0


def test_autocast_does_not_touch_the_value() -> None:
    first, second = (part.float() for part in tensors(*pair(170, 170)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ms_ssim(first, second)
    assert torch.equal(inside, ms_ssim(first, second))
    assert inside.dtype == torch.float32


def test_wrong_shapes_are_named() -> None:
    for shapes in (((1, 3, 4, 4), (1, 3, 4, 5)), ((3, 4, 4), (3, 4, 4)), ((0, 3, 4, 4), (0, 3, 4, 4))):
        with pytest.raises(UsageError, match="alike"):
            ssim(*(torch.zeros(shape) for shape in shapes))
