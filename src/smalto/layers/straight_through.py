"""Rounding and clamping that gradients pass through, for networks that will run in integers."""

from __future__ import annotations

import torch
from torch import Tensor


class _Clamp(torch.autograd.Function):
    """Clamp whose gradient passes inside the range, and outside where it leads back into it."""

    @staticmethod
    def forward(ctx, x: Tensor, low: float, high: float) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        ctx.bounds = (low, high)
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # type: ignore[override]
        (x,) = ctx.saved_tensors
        low, high = ctx.bounds
        stays = ((x >= low) | (gradient < 0)) & ((x <= high) | (gradient > 0))
        return gradient * stays, None, None


def clamp(x: Tensor, low: float, high: float) -> Tensor:
    """``min(max(x, low), high)``; the gradient is kept where a step along it leads into the range."""
    return _Clamp.apply(x, low, high)  # type: ignore[no-any-return]


def floor(x: Tensor) -> Tensor:
    """``floor(x)`` with the gradient of the identity."""
    return x + (torch.floor(x) - x).detach()


def round_half_up(x: Tensor) -> Tensor:
    """``floor(x + 1/2)`` with the gradient of the identity."""
    return x + (torch.floor(x + 0.5) - x).detach()
