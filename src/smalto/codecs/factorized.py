"""The factorised prior: one learned density a channel, for hyper-latents.

::

    z (B, C, h, w) ──► F_c(z + step/2) - F_c(z - step/2) ──► bits

F_c is a monotone network per channel (three hidden layers of three units), as in Balle et al. 2018, appendix 6.1.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

MIN_PROBABILITY = 1e-9
REACH = 255  # tables cover symbols up to this far on each side at most
_LIKELY = 2.0**-18


def table_entry(pmf: np.ndarray) -> tuple[int, np.ndarray, float]:
    """The likely part of a density over the symbols -REACH .. REACH; the rest is left to the escape code.

    Args:
        pmf: (2 REACH + 1,) probabilities.

    Returns:
        First symbol, probabilities from there on without tails below 2^-18, and the mass that was left out.
    """
    likely = np.flatnonzero(pmf > _LIKELY)
    first, last = (int(likely[0]), int(likely[-1])) if len(likely) else (REACH, REACH)
    kept = pmf[first : last + 1]
    return first - REACH, kept, max(1.0 - float(kept.sum()), 0.0)


class FactorizedPrior(nn.Module):
    """A density per channel whose cumulative is a small monotone network.

    Math: ``F(x) = sigmoid(f_4 . f_3 . f_2 . f_1 (x))``, ``f_k(u) = g_k(softplus(H_k) u + b_k)``,
    ``g_k(u) = u + tanh(a_k) * tanh(u)``.

    Source: Balle et al. 2018 (arXiv 1802.01436), equations 32-38.

    Args:
        channels: C.
        init_scale: half-width of the density at the start, in units of z.
        filters: hidden units.
        last_factor: the last layer has its factor a_4 too, as some public weights have.
    """

    def __init__(
        self,
        channels: int,
        init_scale: float = 10.0,
        filters: tuple[int, ...] = (3, 3, 3),
        last_factor: bool = False,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.filters, self.last_factor = filters, last_factor
        sizes = (1, *filters, 1)
        scale = init_scale ** (1 / (len(filters) + 1))
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for k, (size_in, size_out) in enumerate(pairwise(sizes)):
            start = math.log(math.expm1(1 / scale / size_out))
            self.matrices.append(nn.Parameter(torch.full((channels, size_out, size_in), start)))
            self.biases.append(nn.Parameter(torch.rand(channels, size_out, 1) - 0.5))
            if k < len(filters) or last_factor:
                self.factors.append(nn.Parameter(torch.zeros(channels, size_out, 1)))

    def logits(self, x: Tensor) -> Tensor:
        """Logits of the cumulative at x (C, 1, N) -> (C, 1, N)."""
        for k, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            x = F.softplus(matrix) @ x + bias
            if k < len(self.factors):
                x = x + torch.tanh(self.factors[k]) * torch.tanh(x)
        return x

    def probability(self, z: Tensor, step: Tensor | float = 1.0) -> Tensor:
        """Mass of the cell of width ``step`` around z.

        Args:
            z: (B, C, h, w).
            step: width of the cells: a number, or (B, 1, 1, 1).

        Returns:
            (B, C, h, w), at least 1e-9.
        """
        batch, channels, height, width = z.shape
        half = step / 2 * torch.ones_like(z)
        flat = torch.stack([z - half, z + half])  # (2, B, C, h, w)
        flat = flat.permute(2, 0, 1, 3, 4).reshape(channels, 1, -1)  # (C, 1, 2 B h w)
        lower, upper = self.logits(flat).reshape(channels, 2, batch, height, width).unbind(1)  # (C, B, h, w)
        sign = -torch.sign(lower + upper).detach()
        mass = torch.abs(torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower))
        return mass.clamp_min(MIN_PROBABILITY).transpose(0, 1)

    def bits(self, z: Tensor, step: Tensor | float = 1.0) -> Tensor:
        """Information of z (B, C, h, w) in bits, summed over each picture: (B,)."""
        return -torch.log2(self.probability(z, step)).sum(dim=(1, 2, 3))

    @torch.no_grad()
    def pmf(self, step: float, reach: int) -> Tensor:
        """Probabilities of the symbols -reach .. reach at one step width: (C, 2 reach + 1), float64."""
        symbols = torch.arange(-reach, reach + 1, dtype=torch.float64)
        grid = (symbols * step).view(1, 1, 1, -1).expand(1, self.channels, 1, -1)
        return self.double_copy().probability(grid, step)[0, :, 0]

    def double_copy(self) -> FactorizedPrior:
        """The same prior in float64, detached."""
        copy = FactorizedPrior(self.channels, filters=self.filters, last_factor=self.last_factor).double()
        copy.load_state_dict({name: value.detach().double() for name, value in self.state_dict().items()})
        return copy
