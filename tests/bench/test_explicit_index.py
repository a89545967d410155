"""The cost of explicit indexes: exact where it can be checked, and never better than free choice."""

from __future__ import annotations

import numpy as np
import pytest

from smalto.bench.explicit_index import explicit_bits, measure, report, symbol_costs, tile_costs
from smalto.bits.cdf import cross_entropy_bits, gaussian_tables
from smalto.types import Image
from tests.tiny_models import scene, tiny_system


def test_costs_are_the_coders() -> None:
    costs = symbol_costs(gaussian_tables())
    symbols = np.random.default_rng(0).integers(-400, 401, 3000).astype(np.int32)
    tables = np.random.default_rng(1).integers(0, 64, 3000)
    expected = cross_entropy_bits(symbols, tables, gaussian_tables())
    assert costs[tables, symbols + 400].sum() == pytest.approx(expected, rel=1e-9)


def test_tiles_add_up_to_the_plane() -> None:
    costs = symbol_costs(gaussian_tables())
    symbols = np.random.default_rng(0).integers(-9, 10, (3, 11, 14))
    found = tile_costs(symbols, costs, 4)
    assert found.shape == (3, 3, 4, 64)
    assert found[1, :, :, 20].sum() == pytest.approx(costs[20, symbols[1] + 400].sum())


def test_one_scale_for_all_needs_next_to_no_indexes() -> None:
    costs = symbol_costs(gaussian_tables())
    symbols = np.rint(np.random.default_rng(0).normal(0, 3, (8, 64, 64))).astype(int)
    plane = tile_costs(symbols, costs, 16)
    main, side = explicit_bits([plane])
    assert side < 0.02 * main
    assert main >= plane.min(axis=3).sum()


def test_the_whole_measurement_on_a_small_system() -> None:
    system = tiny_system()
    pictures = [Image(scene(128, 128, seed)) for seed in range(2)]
    (cost,) = measure(system, pictures, levels=(128,), tiles=(4,))
    whole = sum(
        8 * sum(len(c) for s in system.encode(p, quality=128 / 2.55).sections for c in s.chunks) for p in pictures
    )
    assert cost.computed_bpp + cost.hyper_bpp == pytest.approx(whole / (2 * 128 * 128), rel=0.02)
    assert cost.unrounded_bpp == pytest.approx(cost.computed_bpp, rel=0.05)
    assert "| 128 |" in report([cost])
