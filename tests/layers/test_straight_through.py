"""Rounding and clamping: values as on integers, gradients as stated."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from smalto.layers import straight_through

finite = st.floats(-1e6, 1e6, width=32)


@given(st.lists(finite, min_size=1, max_size=20))
def test_floor_and_round_have_integer_values_and_the_identity_gradient(values: list[float]) -> None:
    for function, shift in ((straight_through.floor, 0.0), (straight_through.round_half_up, 0.5)):
        x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        y = function(x)
        assert torch.equal(y, torch.floor(x.detach() + shift))
        y.sum().backward()
        assert x.grad is not None
        assert torch.equal(x.grad, torch.ones_like(x))


def test_halves_round_up() -> None:
    x = torch.tensor([-1.5, -0.5, 0.5, 1.5])
    assert straight_through.round_half_up(x).tolist() == [-1.0, 0.0, 1.0, 2.0]


def test_clamp_keeps_the_gradient_that_leads_back_into_the_range() -> None:
    x = torch.tensor([-2.0, -2.0, 0.5, 3.0, 3.0], requires_grad=True)
    y = straight_through.clamp(x, 0.0, 1.0)
    assert y.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    y.backward(torch.tensor([-1.0, 1.0, 1.0, 1.0, -1.0]))
    assert x.grad is not None
    # A descent step moves against the gradient: below the range only a negative one leads inside.
    assert x.grad.tolist() == [-1.0, 0.0, 1.0, 1.0, 0.0]
