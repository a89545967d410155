"""Quality levels of a batch and their weights."""

from __future__ import annotations

import pytest
import torch

from smalto.train.levels import draw_levels, lambda_of


def test_levels_are_spread_over_the_whole_range() -> None:
    torch.manual_seed(0)
    levels = draw_levels(8, torch.device("cpu"), None)
    assert sorted((levels / 32).floor().tolist()) == list(range(8))
    assert draw_levels(3, torch.device("cpu"), 17).tolist() == [17.0] * 3


def test_weights_are_log_linear() -> None:
    weights = lambda_of(torch.tensor([0.0, 127.5, 255.0]), (0.001, 0.1))
    assert weights.tolist() == pytest.approx([0.001, 0.01, 0.1])
