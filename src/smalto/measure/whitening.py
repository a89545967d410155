"""Errors of planes counted in units in which the directions of their channels weigh alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FLOOR = 0.05  # of the mean variance, added to every direction's


class Whitening(nn.Module):
    """Turns channels to their principal directions and divides each by its deviation.

    Math: ``W = (C + f tr(C)/n I)^(-1/2)``, C the channels' covariance; the error of a plane is
    ``mean |W (a - t)|^2 / mean |W (t - m)|^2``, 0 for equal planes and 1 for a plane that is its mean everywhere.

    The floor f keeps directions that hold next to nothing from weighing as much as those that hold the picture.

    Args:
        channels: n.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.eye(channels))
        self.register_buffer("power", torch.ones(()))

    @torch.no_grad()
    def fit(self, planes: Tensor) -> None:
        """Take the covariance of planes (B, n, h, w)."""
        rows = planes.detach().double().permute(0, 2, 3, 1).reshape(-1, planes.shape[1])
        rows = rows - rows.mean(dim=0)
        covariance = rows.T @ rows / len(rows)
        variances, directions = torch.linalg.eigh(covariance)
        scale = (variances.clamp_min(0) + FLOOR * variances.mean()).rsqrt()
        matrix = (directions * scale) @ directions.T
        self.matrix.copy_(matrix)  # type: ignore[operator]
        self.power.copy_((rows @ matrix).square().mean())  # type: ignore[operator]

    def error(self, answer: Tensor, target: Tensor) -> Tensor:
        """Planes (B, n, h, w) against theirs -> (B,) relative squared error."""
        with torch.autocast(answer.device.type, enabled=False):
            difference = (answer - target).float()
            white = torch.einsum("bchw,cd->bdhw", difference, self.matrix)
            return white.square().mean(dim=(1, 2, 3)) / self.power  # type: ignore[operator]
