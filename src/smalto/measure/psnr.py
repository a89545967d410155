"""Mean squared error and peak signal-to-noise ratio.

A picture's PSNR is taken over its three channels together. A data set's PSNR is the mean of its pictures' PSNR, not
the PSNR of their mean squared error; that is the convention of the published curves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from smalto.errors import UsageError

if TYPE_CHECKING:
    import torch


def mean_squared_error(first: np.ndarray, second: np.ndarray) -> float:
    """Mean of squared differences, in squared units of the arrays (0..255 for uint8), computed in float64.

    Raises:
        UsageError: shapes or kinds differ, or there are no values.
    """
    if first.shape != second.shape or first.size == 0:
        raise UsageError(f"pictures of shapes {first.shape} and {second.shape} cannot be compared")
    if (first.dtype == np.uint8) != (second.dtype == np.uint8):
        raise UsageError(f"{first.dtype} (0..255?) and {second.dtype} (0..1?) pictures cannot be compared; convert one")
    difference = first.astype(np.float64) - second.astype(np.float64)
    return float(np.mean(difference * difference))


def psnr_db(first: np.ndarray, second: np.ndarray) -> float:
    """PSNR of two pictures.

    Math: 10 log10(peak^2 / MSE), peak = 255 for uint8 and 1 for floats.

    Args:
        first: uint8, or float in [0, 1]; any shape.
        second: same shape and kind.

    Returns:
        dB; inf for equal pictures.

    Raises:
        UsageError: shapes or kinds differ.

    Example:
        >>> import numpy as np
        >>> round(psnr_db(np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 16, np.uint8)), 2)
        24.05
    """
    error = mean_squared_error(first, second)
    peak = 255.0 if first.dtype == np.uint8 else 1.0
    return math.inf if error == 0.0 else 10.0 * math.log10(peak * peak / error)


def psnr_tensor(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """PSNR of each picture of a batch.

    Args:
        first: float (B, C, H, W) in [0, 1].
        second: same shape.

    Returns:
        (B,) float dB, at most 100 (an error below 1e-10 counts as 1e-10).

    Raises:
        UsageError: shapes differ.
    """
    if first.shape != second.shape or first.ndim != 4:
        raise UsageError(f"tensors {tuple(first.shape)} and {tuple(second.shape)} are not (B, C, H, W) alike")
    error = (first.float() - second.float()).square().mean(dim=(1, 2, 3))  # (B,)
    return -10.0 * error.clamp_min(1e-10).log10()
