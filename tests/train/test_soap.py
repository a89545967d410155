"""SOAP: what its basis is, and that it does what Adam cannot."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smalto.train.soap import Soap


def _distance_after(optimiser: torch.optim.Optimizer, weight: nn.Parameter, seed: int) -> float:
    """Minimise a valley that is narrow in turned directions, from noisy gradients; how far the bottom is then."""
    generator = torch.Generator().manual_seed(seed)
    sides = []
    for size in (12, 8):
        basis = torch.linalg.qr(torch.randn(size, size, generator=generator))[0]
        sides.append(basis @ torch.diag(torch.logspace(-1.5, 0, size)) @ basis.T)
    target = torch.randn(12, 8, generator=generator)
    for step in range(200):
        for group in optimiser.param_groups:
            group["lr"] = 0.05 * (1 - step / 200)
        noise = torch.randn(12, 8, generator=generator)
        weight.grad = sides[0] @ (2 * (weight.detach() - target) + noise) @ sides[1]
        optimiser.step()
    return float((weight.detach() - target).norm())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_goes_down_a_turned_valley_faster_than_adam(seed: int) -> None:
    ours, theirs = nn.Parameter(torch.zeros(12, 8)), nn.Parameter(torch.zeros(12, 8))
    soap = _distance_after(Soap([ours]), ours, seed)
    adam = _distance_after(torch.optim.Adam([theirs], betas=(0.95, 0.95)), theirs, seed)
    assert soap < 0.5 * adam


def test_vectors_are_updated_as_adam_updates_them() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(5))
    soap = Soap([ours], lr=0.01, betas=(0.9, 0.99))
    adam = torch.optim.Adam([theirs], lr=0.01, betas=(0.9, 0.99))
    for step in range(6):
        gradient = torch.randn(5)
        ours.grad = gradient.clone()
        soap.step()
        if step:  # the first gradient only starts the bases
            theirs.grad = gradient.clone()
            adam.step()
    torch.testing.assert_close(ours, theirs)


def test_bases_stay_orthonormal_and_turn_what_is_kept_in_them() -> None:
    torch.manual_seed(1)
    weight = nn.Parameter(torch.zeros(6, 4))
    soap = Soap([weight], lr=1e-3, interval=3)
    for _ in range(12):
        weight.grad = torch.randn(6, 4) * torch.tensor([1.0, 3.0, 0.1, 0.5])
        soap.step()
    state = soap.state[weight]["soap"]
    for side in (state.left, state.right):
        torch.testing.assert_close(side.vectors.T @ side.vectors, torch.eye(len(side.vectors)), atol=1e-5, rtol=0)
    assert int(state.right.vectors[:, 0].abs().argmax()) == 1  # the strongest direction stands first


def test_sides_that_get_no_basis() -> None:
    depthwise, long, plain = (nn.Parameter(torch.zeros(s)) for s in ((8, 1, 3, 3), (4, 30), (4, 6, 3, 3)))
    soap = Soap([depthwise, long, plain], lr=1e-3, max_side=20)
    for parameter in (depthwise, long, plain):
        parameter.grad = torch.randn_like(parameter)
    soap.step()
    states = [soap.state[p]["soap"] for p in (depthwise, long, plain)]
    assert [(s.left is not None, s.right is not None) for s in states] == [(False, True), (True, False), (True, False)]
    assert all(bool((p == 0).all()) for p in (depthwise, long, plain))


def test_low_precision_still_finds_the_bottom() -> None:
    weight = nn.Parameter(torch.zeros(12, 8))
    assert _distance_after(Soap([weight], is_low_precision=True), weight, 0) < 1.0


def test_closure_and_parameters_without_gradient() -> None:
    used, unused = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    soap = Soap([used, unused], lr=0.1)

    def closure() -> float:
        soap.zero_grad()
        loss = used.square().sum()
        loss.backward()
        return float(loss.detach())

    assert soap.step(closure) == 3.0
    soap.step(closure)
    assert bool((used < 1).all())
    assert bool((unused == 1).all())
