"""Quality levels of a training batch, and what each weighs: every rate at once, or one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smalto.codecs.hyperprior import NUM_LEVELS


def lambda_of(q: Tensor, lambdas: tuple[float, float]) -> Tensor:
    """(B,) levels -> (B,) weight of distortion, log-linear from ``lambdas[0]`` at q = 0 to ``lambdas[1]`` at 255."""
    first, last = (math.log(value) for value in lambdas)
    return torch.exp(first + (last - first) * q.float() / (NUM_LEVELS - 1))


def draw_levels(num: int, device: torch.device, fixed_q: int | None) -> Tensor:
    """Quality levels of a batch: spread evenly with a common random shift, or the fixed one."""
    if fixed_q is not None:
        return torch.full((num,), float(fixed_q), device=device)
    spread = (torch.randperm(num, device=device) + torch.rand(num, device=device)) / num
    return (spread * NUM_LEVELS).floor().clamp(0, NUM_LEVELS - 1)
