"""Holding a rate: the weight of the rate term as a function of the rate that came out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RateController:
    """HiFiC's switch between two weights.

    Math: ``lambda' = above`` if the quantised rate exceeds the target, else ``below``.

    Source: HiFiC (Mentzer et al. 2020), section 4.1; multi-task paper, equation 8, keeps ``below`` = 2^-4.

    Args:
        target_bpp: the rate to hold.
        above: weight while the rate is above the target.
        below: weight while it is at or under it.
    """

    target_bpp: float
    above: float = 4.0
    below: float = 2.0**-4

    def weight(self, bpp: float) -> float:
        """Weight of the rate term at a measured rate in bits per pixel."""
        return self.above if bpp > self.target_bpp else self.below


@dataclass(frozen=True)
class AdaptiveRate:
    """The multi-task paper's rule.

    Math: ``gamma = N (1 + r - r_target)`` if ``r > r_target`` else ``2^-4``.

    Source: multi-task paper, equation 8.

    Args:
        target_bpp: r_target.
        num_tasks: N.
    """

    target_bpp: float
    num_tasks: int

    def weight(self, bpp: float) -> float:
        """gamma at an actual rate in bits per pixel."""
        return self.num_tasks * (1 + bpp - self.target_bpp) if bpp > self.target_bpp else 2.0**-4
