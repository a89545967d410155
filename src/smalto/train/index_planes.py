"""The objective of the learned feature codecs: planes of transform indexes, at every rate at once or at one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from smalto.codecs.elic_planes import ElicPlaneCodec, ElicPlaneConfig
from smalto.codecs.index_planes import TOP_INDEX, IndexPlaneCodec, IndexPlaneConfig
from smalto.train.levels import draw_levels, lambda_of
from smalto.train.run import Objective, StepResult

_MIDDLE_LAMBDA = 0.005


@dataclass(frozen=True)
class IndexPlaneObjectiveConfig:
    """What the codec is trained for.

    Args:
        codec: layers, and by its type which codec: with a hyperprior, or ELIC.
        lambdas: weight of the squared error of indexes at q = 0 and at q = 255; its logarithm is linear in q.
        fixed_q: train this one quality only; None draws q for every plane.
    """

    codec: IndexPlaneConfig | ElicPlaneConfig = field(default_factory=IndexPlaneConfig)
    lambdas: tuple[float, float] = (0.0005, 0.05)
    fixed_q: int | None = None


def plane_codec(config: IndexPlaneConfig | ElicPlaneConfig) -> IndexPlaneCodec | ElicPlaneCodec:
    """The training form of a one-channel codec, by its configuration."""
    return ElicPlaneCodec(config) if isinstance(config, ElicPlaneConfig) else IndexPlaneCodec(config)


class IndexPlaneObjective(Objective):
    """A one-channel codec with the loss ``BPFP + lambda(q) 255^2 MSE``.

    Math: BPFP are bits per index, MSE that of indexes / 255. Planes arrive as grey pictures; the first channel counts.
    Per plane the loss is weighted by ``(lambda / 0.005)^-1/2``, so that low and high rates pull equally.

    Source: DT-UFC, equation 7, with the scale 255^2 of its reference code.
    """

    def __init__(self, config: IndexPlaneObjectiveConfig | None = None) -> None:
        super().__init__()
        self.config = config or IndexPlaneObjectiveConfig()
        self.codec = plane_codec(self.config.codec)

    def start(self, batches: Iterator[Tensor]) -> None:
        """Nothing: layers start from their random values."""

    def lambda_of(self, q: Tensor) -> Tensor:
        """(B,) levels -> (B,) weight of the squared error."""
        return lambda_of(q, self.config.lambdas)

    def draw_levels(self, num: int, device: torch.device) -> Tensor:
        """Quality levels of a batch: spread evenly with a common random shift, or the fixed one."""
        return draw_levels(num, device, self.config.fixed_q)

    def forward(self, batch: Tensor) -> StepResult:
        """The loss of a batch (B, 3, S, S) in [0, 1], S a multiple of 64."""
        planes = batch[:, :1]
        q = self.draw_levels(len(planes), planes.device)
        estimate = self.codec.estimate(planes, q)
        bpfp = estimate.bits / planes[0].numel()
        squared = (estimate.plane - planes).square().mean(dim=(1, 2, 3))
        weight = self.lambda_of(q)
        loss = ((weight / _MIDDLE_LAMBDA) ** -0.5 * (bpfp + weight * TOP_INDEX**2 * squared)).mean()
        measures = {
            "bpfp": bpfp.detach().mean(),
            "index_mse": (squared.detach() * TOP_INDEX**2).mean(),
            "psnr_db": (-10 * torch.log10(squared.detach().clamp_min(1e-10))).mean(),
        }
        return StepResult(loss, measures)

    def preview(self, batch: Tensor) -> Tensor:
        """Each plane, then its reconstruction at q 51, 102 and 153, side by side; planes below each other."""
        planes = batch[:, :1]
        columns = [planes]
        for level in (51, 102, 153):
            q = torch.full((len(planes),), float(level), device=planes.device)
            columns.append(self.codec.estimate(planes, q).plane.clamp(0, 1))
        rows = torch.cat(columns, dim=3).expand(-1, 3, -1, -1)  # (B, 3, S, 4 S)
        return torch.cat(list(rows), dim=1)  # (3, B S, 4 S)

    def load_installed(self, system: str) -> None:
        """Start from the installed weights of the same codec."""
        from smalto.train.release_planes import load_planes_training_state

        load_planes_training_state(self, system)
