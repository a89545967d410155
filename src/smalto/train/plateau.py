"""The learning rate that falls when the validation loss stands still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from smalto.train.run import Plateau

_TOLERANCE = 1e-6  # 0.1 x 0.1 is not quite 0.01


@dataclass(frozen=True)
class PlateauState:
    """Where the schedule stands; what a checkpoint keeps of it.

    Args:
        share: the rate as a share of the peak rate.
        best_loss: lowest validation loss so far; None before the first round.
        bad_rounds: rounds since it was reached, or since the rate fell.
        floor_rounds: rounds spent at the lowest rate.
    """

    share: float = 1.0
    best_loss: float | None = None
    bad_rounds: int = 0
    floor_rounds: int = 0

    def after(self, loss: float, plateau: Plateau, peak: float) -> PlateauState:
        """The state after one more round.

        Source: PyTorch's ReduceLROnPlateau with mode "min" and a relative threshold.

        Args:
            loss: validation loss; what is no number counts as no better.
            plateau: how the rate falls.
            peak: the peak rate.
        """
        floor = min(plateau.floor / peak, 1.0)
        floor_rounds = self.floor_rounds + (self.share <= floor)
        is_better = self.best_loss is None or loss < self.best_loss - plateau.threshold * abs(self.best_loss)
        if is_better and loss == loss:
            return PlateauState(self.share, loss, 0, floor_rounds)
        if self.bad_rounds < plateau.patience:
            return PlateauState(self.share, self.best_loss, self.bad_rounds + 1, floor_rounds)
        share = self.share * plateau.factor
        return PlateauState(share if share > floor * (1 + _TOLERANCE) else floor, self.best_loss, 0, floor_rounds)

    def is_over(self, plateau: Plateau) -> bool:
        """Whether training has spent its last rounds at the floor."""
        return self.floor_rounds >= plateau.last_rounds

    def to_mapping(self) -> dict[str, float | int | None]:
        """As a checkpoint keeps it."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, state: Mapping[str, float | int | None]) -> PlateauState:
        """What ``to_mapping`` gave; the start where a checkpoint has none."""
        best = state.get("best_loss")
        return cls(
            share=float(state.get("share") or 1.0),
            best_loss=None if best is None else float(best),
            bad_rounds=int(state.get("bad_rounds") or 0),
            floor_rounds=int(state.get("floor_rounds") or 0),
        )
