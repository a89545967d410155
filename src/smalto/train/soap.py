"""SOAP: Adam in the slowly turning eigenbasis of Shampoo's preconditioner.

::

    G (m, n) ─► L += G G^T, R += G^T G ─► every k steps: Q_L, Q_R turn towards the eigenvectors of L, R
       └─► G' = Q_L^T G Q_R ─► Adam on G' ─► step D' ─► W -= lr Q_L D' Q_R^T

Rate and distortion pull the same weights in different directions; in this basis their pulls separate, and a codec
needs about half the steps (LOG.md). A step costs 6 m n (m + n) multiplications more than Adam's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class _Side:
    """One side of a weight's matrix: its second moments and their approximate eigenvectors, both (n, n)."""

    moments: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, moments: Tensor) -> _Side:
        """Start from the first gradient's moments."""
        vectors = torch.linalg.eigh(moments.double())[1].flip(1)
        return cls(moments, vectors.to(moments.dtype))

    def turn(self) -> Tensor:
        """One step of orthogonal iteration; returns the order into which the basis vectors were sorted before."""
        powers = (self.vectors * (self.moments @ self.vectors)).sum(0)
        order = powers.argsort(descending=True)
        self.vectors = torch.linalg.qr(self.moments @ self.vectors[:, order])[0]
        return order


@dataclass
class _State:
    """What SOAP keeps of one weight; average and square are (m, n) in the basis."""

    step: int
    average: Tensor
    square: Tensor
    left: _Side | None
    right: _Side | None


class Soap(torch.optim.Optimizer):
    """Adam in the eigenbasis of Shampoo's preconditioner.

    Math: ``G' = Q_L^T G Q_R``, ``M = b1 M + (1 - b1) G'``, ``V = b2 V + (1 - b2) G'^2``,
    ``W -= lr Q_L (M / (sqrt(V) + eps)) Q_R^T`` with both moments corrected for their start.

    Source: Vyas et al. 2024 (arXiv 2409.11321), algorithm 3. Here the average is kept in the basis and turned with it,
    a side longer than ``max_side`` keeps the identity, and products run in bfloat16 where that is faster.

    A weight of more than two axes is taken as (first axis, all others). The state is not saved in checkpoints: the
    bases come back from the first gradients after a resume.

    Args:
        parameters: tensors or groups, as for any torch optimiser.
        lr: step size; about Adam's.
        betas: decay of the average and of the square.
        basis_beta: decay of L and R.
        interval: steps between two turns of the bases.
        max_side: longest side that gets a basis.
        is_low_precision: bfloat16 for the products with bases.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 5e-4,
        betas: tuple[float, float] = (0.95, 0.95),
        *,
        basis_beta: float = 0.95,
        interval: int = 15,
        max_side: int = 512,
        is_low_precision: bool = False,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": 1e-8})
        self.basis_beta = basis_beta
        self.interval = interval
        self.max_side = max_side
        self.is_low_precision = is_low_precision

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step from the gradients that are there; the first only starts the bases."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient = parameter.grad.float()  # type: ignore[union-attr]
        matrix = gradient.reshape(gradient.shape[0], -1) if gradient.dim() > 1 else gradient.reshape(1, -1)  # (m, n)
        state: _State | None = self.state[parameter].get("soap")
        if state is None:
            self.state[parameter]["soap"] = self._start(matrix, gradient.dim() > 1 and gradient.shape[1] > 1)
            return
        state.step += 1
        for side, rows in ((state.left, matrix), (state.right, matrix.T)):
            if side is not None:
                side.moments.lerp_(self._product(rows, rows.T), 1 - self.basis_beta)
        if state.step % self.interval == 1:
            _turn(state)
        first, second = group["betas"]
        turned = self._into(matrix, state)
        state.average.lerp_(turned, 1 - first)
        state.square.lerp_(turned.square(), 1 - second)
        average = state.average / (1 - first**state.step)
        deviation = (state.square / (1 - second**state.step)).sqrt_().add_(group["eps"])
        parameter.sub_(group["lr"] * self._out_of(average.div_(deviation), state).reshape(parameter.shape))

    def _start(self, matrix: Tensor, has_left: bool) -> _State:
        """Bases of the first gradient. Filters of one channel each (depthwise) mix no channels and have no left one."""
        rows, columns = matrix.shape
        left = _Side.of(matrix @ matrix.T) if has_left and rows <= self.max_side else None
        right = _Side.of(matrix.T @ matrix) if rows > 1 and columns <= self.max_side else None
        return _State(0, torch.zeros_like(matrix), torch.zeros_like(matrix), left, right)

    def _product(self, a: Tensor, b: Tensor) -> Tensor:
        return (a.bfloat16() @ b.bfloat16()).float() if self.is_low_precision else a @ b

    def _into(self, matrix: Tensor, state: _State) -> Tensor:
        if state.left is not None:
            matrix = self._product(state.left.vectors.T, matrix)
        return matrix if state.right is None else self._product(matrix, state.right.vectors)

    def _out_of(self, matrix: Tensor, state: _State) -> Tensor:
        if state.left is not None:
            matrix = self._product(state.left.vectors, matrix)
        return matrix if state.right is None else self._product(matrix, state.right.vectors.T)


def _turn(state: _State) -> None:
    """Turn both bases towards the eigenvectors, and what is kept in them along."""
    if state.left is not None:
        before = state.left.vectors
        order = state.left.turn()
        state.square = state.square[order]
        state.average = state.left.vectors.T @ (before @ state.average)
    if state.right is not None:
        before = state.right.vectors
        order = state.right.turn()
        state.square = state.square[:, order]
        state.average = (state.average @ before.T) @ state.right.vectors
