"""The factorised prior: size, a proper distribution, its tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smalto.codecs.factorized import FactorizedPrior
from smalto.codecs.freeze import prior_tables
from tests.tiny_models import num_parameters, seeded


def test_hific_prior_has_the_published_size() -> None:
    assert num_parameters(FactorizedPrior(320)) == 13_760


@pytest.mark.parametrize("step", [1, 2, 6])
def test_masses_of_all_symbols_sum_to_one(step: int) -> None:
    prior = seeded(FactorizedPrior, 3)
    pmf = prior.pmf(float(step), 255)
    assert pmf.dtype == torch.float64
    torch.testing.assert_close(pmf.sum(1), torch.ones(3, dtype=torch.float64), atol=2e-3, rtol=0)


def test_cumulative_rises_and_probability_is_its_difference() -> None:
    prior = seeded(FactorizedPrior, 2)
    line = torch.linspace(-40, 40, 400).expand(2, 1, -1)
    cumulative = torch.sigmoid(prior.logits(line))
    assert bool((cumulative.diff(dim=2) >= 0).all())
    z = torch.tensor([[-3.0, 0.0, 7.0]]).expand(2, -1)[None, :, None, :]  # (1, 2, 1, 3)
    flat = z[0, :, 0][:, None]
    expected = torch.sigmoid(prior.logits(flat + 1)) - torch.sigmoid(prior.logits(flat - 1))
    torch.testing.assert_close(prior.probability(z, 2.0)[0, :, 0], expected[:, 0], atol=1e-6, rtol=1e-4)


def test_step_may_differ_between_pictures() -> None:
    prior = seeded(FactorizedPrior, 2)
    z = torch.randn(2, 2, 3, 3)
    steps = torch.tensor([1.0, 4.0])[:, None, None, None]
    together = prior.bits(z, steps)
    alone = torch.cat([prior.bits(z[k : k + 1], float(steps[k])) for k in range(2)])
    torch.testing.assert_close(together, alone)


def test_tables_cost_what_the_density_says() -> None:
    prior = seeded(FactorizedPrior, 2)
    steps = (2, 5)
    tables = prior_tables(prior, steps)
    assert tables.num_tables == 4
    first = np.cumsum(tables.size + 1) - (tables.size + 1)
    for k, step in enumerate(steps):
        pmf = prior.pmf(float(step), 255).numpy()
        for channel in range(2):
            table = 2 * k + channel
            row = tables.frequency[first[table] : first[table] + tables.size[table]] / 65536.0
            start = 255 + int(tables.low[table])
            mass = pmf[channel, start : start + int(tables.size[table])]
            ideal, coded = -(mass * np.log2(mass)).sum(), -(mass * np.log2(row)).sum()
            assert coded == pytest.approx(ideal, rel=2e-3)
