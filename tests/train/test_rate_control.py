"""Rate control: the weights of the rate term."""

from __future__ import annotations

import pytest

from smalto.train.rate_control import AdaptiveRate, RateController


def test_switches_at_the_target() -> None:
    control = RateController(target_bpp=0.3)
    assert control.weight(0.31) == 4.0
    assert control.weight(0.30) == 2.0**-4


@pytest.mark.parametrize(("bpp", "gamma"), [(0.14, 2.0**-4), (0.10, 2.0**-4), (0.24, 3 * 1.1)])
def test_adaptive_rate_is_equation_8(bpp: float, gamma: float) -> None:
    assert AdaptiveRate(target_bpp=0.14, num_tasks=3).weight(bpp) == pytest.approx(gamma)
