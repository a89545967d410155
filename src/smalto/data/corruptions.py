"""Eight corruptions of pictures in five severities each: what a domain shift does to a photograph.

Source: Hendrycks, Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR
2019 (ImageNet-C), whose definitions and constants these are. As there, results are cut to 0..255 and truncated to
whole numbers. Where we differ: any height and width, from 1 x 1, since borders are mirrored or repeated by index and
nothing is cropped or resized; grey pictures (H, W) stay grey; every random number follows from a seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from io import BytesIO

import numpy as np

from smalto.errors import UsageError

SEVERITIES = (1, 2, 3, 4, 5)
_GAUSSIAN_DEVIATIONS = (0.08, 0.12, 0.18, 0.26, 0.38)
_SHOT_PHOTONS = (60.0, 25.0, 12.0, 5.0, 3.0)
_IMPULSE_SHARES = (0.03, 0.06, 0.09, 0.17, 0.27)
_DEFOCUS = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))  # radius in px, deviation of its soft edge
_MOTION = ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0))  # radius in px, deviation along the way
_BRIGHTNESS_SHIFTS = (0.1, 0.2, 0.3, 0.4, 0.5)
_CONTRAST_FACTORS = (0.4, 0.3, 0.2, 0.1, 0.05)
_JPEG_QUALITIES = (25, 18, 15, 10, 7)


def corrupt(pixels: np.ndarray, name: str, severity: int = 3, seed: int = 0) -> np.ndarray:
    """A corrupted copy of a picture.

    Args:
        pixels: (H, W, 3) or (H, W) uint8, sRGB, any size.
        name: one of ``CORRUPTIONS``.
        severity: 1..5.
        seed: of noise and of the direction of motion; the other corruptions have nothing random.

    Returns:
        The same shape, uint8.

    Raises:
        UsageError: no such corruption or severity, or the array is no picture.

    Example:
        >>> corrupt(np.full((2, 2, 3), 51, np.uint8), "brightness", severity=1)[0, 0].tolist()
        [76, 76, 76]
    """
    if name not in CORRUPTIONS:
        raise UsageError(f"no corruption is called {name!r}; there are {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise UsageError(f"severity {severity!r} is not one of 1..5")
    is_picture = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if not is_picture or pixels.dtype != np.uint8 or pixels.size == 0:
        raise UsageError(f"array {pixels.dtype} {pixels.shape} is no picture; pass uint8 (H, W, 3) or (H, W)")
    planes = pixels[:, :, None] if pixels.ndim == 2 else pixels
    generator = np.random.default_rng((seed, list(CORRUPTIONS).index(name), severity))
    values = CORRUPTIONS[name](planes.astype(np.float64) / 255.0, severity, generator)
    return (np.clip(values, 0.0, 1.0) * 255.0 + 1e-9).astype(np.uint8).reshape(pixels.shape)


def gaussian_noise(values: np.ndarray, severity: int, generator: np.random.Generator) -> np.ndarray:
    """Sensor noise in low light: x + N(0, c^2), c = .08 .12 .18 .26 .38."""
    return values + generator.normal(scale=_GAUSSIAN_DEVIATIONS[severity - 1], size=values.shape)


def shot_noise(values: np.ndarray, severity: int, generator: np.random.Generator) -> np.ndarray:
    """Counting noise: Poisson(c x) / c, c = 60 25 12 5 3 photons at white."""
    photons = _SHOT_PHOTONS[severity - 1]
    return generator.poisson(values * photons) / photons


def impulse_noise(values: np.ndarray, severity: int, generator: np.random.Generator) -> np.ndarray:
    """Salt and pepper: a share c of the values, channel by channel, becomes 0 or 1 alike, c = .03 .06 .09 .17 .27."""
    is_hit = generator.random(values.shape) <= _IMPULSE_SHARES[severity - 1]
    return np.where(is_hit, generator.random(values.shape) < 0.5, values)


def defocus_blur(values: np.ndarray, severity: int, generator: np.random.Generator) -> np.ndarray:
    """A lens out of focus: convolution with a disk of radius 3 4 6 8 10 px.

    The disk of ones over x^2 + y^2 <= r^2 sums to 1 and has its edge smoothed by a Gaussian of deviation .1 .5 .5 .5
    .5 px (3 x 3 for radii up to 8, 5 x 5 above). Borders are mirrored about the border pixel.
    """
    kernel = _disk(*_DEFOCUS[severity - 1])
    reach = kernel.shape[0] // 2
    return _convolved(_surrounded(values, reach), kernel)


def motion_blur(values: np.ndarray, severity: int, generator: np.random.Generator) -> np.ndarray:
    """A moving camera: a half Gaussian along a straight way of 2 r + 1 steps in a direction within 45 degrees.

    Math: out(p) = sum_i k_i x(p + d_i), k_i ~ exp(-i^2 / (2 s^2)), d_i = ceil(i (cos a, sin a) - 1/2), i = 0..2r, with
    (r, s) = (10, 3) (15, 5) (15, 8) (15, 12) (20, 15) and a drawn from -45..45 degrees. Border pixels are repeated.

    Source: ImageMagick's MotionBlurImage, which ImageNet-C calls.
    """
    radius, deviation = _MOTION[severity - 1]
    angle = math.radians(float(generator.uniform(-45.0, 45.0)))
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2.0 * deviation**2))
    rows = np.ceil(steps * math.sin(angle) - 0.5).astype(int)
    columns = np.ceil(steps * math.cos(angle) - 0.5).astype(int)
    height, width = values.shape[:2]
    blurred = np.zeros_like(values)
    for weight, row, column in zip(weights / weights.sum(), rows, columns, strict=True):
        from_rows = np.clip(np.arange(height) + row, 0, height - 1)
        from_columns = np.clip(np.arange(width) + column, 0, width - 1)
        blurred += weight * values[from_rows][:, from_columns]
    return blurred


def brightness(values: np.ndarray, severity: int, generator: np.random.Generator) -> np.ndarray:
    """Daylight: c is added to the value of HSV, c = .1 .2 .3 .4 .5; hue and saturation stay.

    Math: V = max(R, G, B), V' = min(1, V + c); (R, G, B) V' / V, and V' in each channel where V is 0.
    """
    top = values.max(axis=2, keepdims=True)
    raised = np.minimum(top + _BRIGHTNESS_SHIFTS[severity - 1], 1.0)
    return np.where(top > 0.0, values * raised / np.where(top > 0.0, top, 1.0), raised)


def contrast(values: np.ndarray, severity: int, generator: np.random.Generator) -> np.ndarray:
    """Weak contrast: each channel's distance to its mean over the picture times c = .4 .3 .2 .1 .05."""
    mean = values.mean(axis=(0, 1), keepdims=True)
    return (values - mean) * _CONTRAST_FACTORS[severity - 1] + mean


def jpeg(values: np.ndarray, severity: int, generator: np.random.Generator) -> np.ndarray:
    """JPEG at quality 25 18 15 10 7, as Pillow writes it."""
    from PIL import Image as Pil

    whole = np.rint(values * 255.0).astype(np.uint8)
    buffer = BytesIO()
    picture = Pil.fromarray(whole[:, :, 0] if whole.shape[2] == 1 else whole)
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITIES[severity - 1])
    return np.asarray(Pil.open(buffer)).reshape(values.shape) / 255.0


CORRUPTIONS: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "motion_blur": motion_blur,
    "brightness": brightness,
    "contrast": contrast,
    "jpeg": jpeg,
}


def _disk(radius: int, deviation: float) -> np.ndarray:
    """The kernel of ``defocus_blur``; sums to 1."""
    reach, smooth_reach = (8, 1) if radius <= 8 else (radius, 2)
    axis = np.arange(-reach, reach + 1)
    disk = (axis[:, None] ** 2 + axis[None, :] ** 2 <= radius**2).astype(np.float64)
    window = np.exp(-(np.arange(-smooth_reach, smooth_reach + 1) ** 2) / (2.0 * deviation**2))
    window /= window.sum()
    smooth = _convolved(_surrounded((disk / disk.sum())[:, :, None], smooth_reach), np.outer(window, window))
    return smooth[:, :, 0]


def _surrounded(values: np.ndarray, reach: int) -> np.ndarray:
    """(H, W, C) -> (H + 2 reach, W + 2 reach, C), mirrored about the border pixels as often as it takes."""
    rows, columns = (_mirrored(side, reach) for side in values.shape[:2])
    return values[rows][:, columns]


def _mirrored(size: int, reach: int) -> np.ndarray:
    period = max(2 * (size - 1), 1)
    place = np.arange(-reach, size + reach) % period
    return np.minimum(place, np.abs(period - place)) if size > 1 else np.zeros_like(place)


def _convolved(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Valid convolution of every channel with a symmetric kernel, row by row of the kernel."""
    import torch

    channels = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[:, None]  # (C, 1, H, W)
    weight = torch.from_numpy(np.ascontiguousarray(kernel))[None, None]
    return torch.nn.functional.conv2d(channels, weight)[:, 0].permute(1, 2, 0).numpy()
