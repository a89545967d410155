"""The objective of stereo depth: disparity from the frozen space's planes, or, as the baseline, from pixels."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from smalto.data.stereo_batches import STEPS
from smalto.heads.stereo import SIZES, Disparity, PixelStereo, Size, StereoHead
from smalto.measure.stereo import ERROR_PX, ERROR_SHARE, disparity_loss
from smalto.train.run import StepResult
from smalto.train.space_head import SpaceHeadObjective, SpaceNetworks


class StereoObjective(SpaceHeadObjective):
    """A stereo network on planes of a frozen space, or on pixels.

    Math: equation 8 of the paper, ``smalto.measure.stereo.disparity_loss``.

    Source: Shared Neural Space paper, section 3.2.3.

    Args:
        size: of the network.
        networks: gives encoder and decoder of the space, filled; None trains the same network on pixels.
        coarse_weight: of the bilinearly enlarged disparity's loss.
    """

    def __init__(self, size: Size, networks: SpaceNetworks | None, coarse_weight: float = 0.3) -> None:
        super().__init__(networks)
        self.size, self.coarse_weight = size, coarse_weight
        self.head: StereoHead | PixelStereo = (PixelStereo if networks is None else StereoHead)(SIZES[size])

    def start(self, batches: Iterator[Tensor]) -> None:
        """Starts at random; needs no batches."""

    def forward(self, batch: Tensor) -> StepResult:
        """The loss of a packed batch (B, 8, H, W) in [0, 1]; H and W multiples of 4."""
        left, right, truth = unpacked(batch)
        answer = self.matched(left, right)
        loss = disparity_loss(answer.fine, answer.coarse, truth, self.head.config.max_disparity_px, self.coarse_weight)
        return StepResult(loss, _scores(answer.fine.detach(), truth))

    def preview(self, batch: Tensor) -> Tensor:
        """Left view, true disparity and the answer side by side; disparities bright where near."""
        left, right, truth = unpacked(batch)
        was_training = self.head.training
        self.head.eval()
        answer = self.matched(left, right).fine
        self.head.train(was_training)
        largest = truth.amax(dim=(1, 2, 3), keepdim=True).clamp_min(1.0)
        shown = [left, *((map_ / largest).clamp(0, 1).expand_as(left) for map_ in (truth, answer))]
        return torch.cat(list(torch.cat(shown, dim=3)), dim=1)  # (3, B H, 3 W)

    def load_installed(self, system: str) -> None:
        """Start from an installed system's stereo network.

        Raises:
            UsageError: it has none, or one of another kind or size.
        """
        from smalto.train.release_stereo import load_installed_stereo

        load_installed_stereo(self, system)

    def matched(self, left: Tensor, right: Tensor) -> Disparity:
        """Disparity of views (B, 3, H, W) in [0, 1], from their planes or as they are."""
        if self.frozen is None:
            return self.head(left, right)
        return self.head(self.frozen.planes(left), self.frozen.planes(right))


def unpacked(batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Take a packed batch apart; see ``smalto.data.stereo_batches``.

    Args:
        batch: (B, 8, H, W) float, bytes divided by 255.

    Returns:
        Left and right views (B, 3, H, W) in [0, 1], disparity (B, 1, H, W) in pixels, 0 where unknown.
    """
    high, low = (255.0 * batch[:, 6:].float()).round().split(1, dim=1)
    layout = torch.channels_last
    left, right = (batch[:, k : k + 3].contiguous(memory_format=layout) for k in (0, 3))
    return left, right, (256.0 * high + low) / STEPS


def _scores(answer: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """End-point error in pixels and d1_all in percent, over the batch's known pixels."""
    is_known = (truth > 0).float()
    count = is_known.sum().clamp_min(1.0)
    error = F.l1_loss(answer, truth, reduction="none") * is_known
    wrong = (error > ERROR_PX) & (error > ERROR_SHARE * truth)
    return {"end_point_px": error.sum() / count, "d1_all": 100.0 * wrong.sum() / count}
