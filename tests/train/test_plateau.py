"""The rate that falls when the loss stands still: against PyTorch's own scheduler, and its state in JSON."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smalto.train.plateau import PlateauState
from smalto.train.run import Plateau


@given(
    st.lists(st.floats(0.01, 10.0), min_size=1, max_size=60),
    st.integers(0, 4),
    st.sampled_from([0.1, 0.5]),
    st.sampled_from([1e-8, 2e-3]),
)
def test_rates_are_those_of_reduce_lr_on_plateau(
    losses: list[float], patience: int, factor: float, floor: float
) -> None:
    peak, plateau = 1e-2, Plateau(factor, patience, 1e-4, floor)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], peak)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, factor=factor, patience=patience, min_lr=floor, eps=0.0
    )
    state = PlateauState()
    for loss in losses:
        theirs.step(loss)
        state = state.after(loss, plateau, peak)
        assert peak * state.share == pytest.approx(optimiser.param_groups[0]["lr"])


def test_a_flat_loss_brings_the_rate_to_its_floor_and_ends_training() -> None:
    plateau, state, rounds = Plateau(), PlateauState(), 0
    while not state.is_over(plateau):
        state, rounds = state.after(1.0, plateau, 1e-4), rounds + 1
    assert 1e-4 * state.share == pytest.approx(1e-8)
    assert rounds == 1 + 4 * 11 + 20  # the first loss, four falls by ten, then twenty rounds at the floor


def test_a_falling_loss_keeps_the_rate() -> None:
    state = PlateauState()
    for number in range(100):
        state = state.after(1.0 - 0.001 * number, Plateau(patience=0), 1e-4)
    assert state.share == 1.0


def test_what_is_no_number_is_no_better() -> None:
    state = PlateauState().after(1.0, Plateau(), 1e-4).after(float("nan"), Plateau(), 1e-4)
    assert (state.best_loss, state.bad_rounds) == (1.0, 1)
    first = PlateauState().after(float("nan"), Plateau(), 1e-4)
    assert (first.best_loss, first.bad_rounds) == (None, 1)


@given(
    st.floats(1e-4, 1.0),
    st.none() | st.floats(-1e6, 1e6),
    st.integers(0, 50),
    st.integers(0, 50),
)
def test_the_state_survives_json(share: float, best: float | None, bad: int, last: int) -> None:
    state = PlateauState(share, best, bad, last)
    assert PlateauState.from_mapping(json.loads(json.dumps(state.to_mapping()))) == state
    assert PlateauState.from_mapping({}) == PlateauState()
