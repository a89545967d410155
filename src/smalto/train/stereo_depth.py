"""The objective of stereo depth: disparity from the frozen space's planes, or, as the baseline, from pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from smalto.data.stereo_batches import STEPS
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import UsageError
from smalto.heads.stereo import SIZES, PixelStereo, Size, StereoHead
from smalto.measure.stereo import ERROR_PX, ERROR_SHARE, disparity_loss
from smalto.systems.stereo_depth import matched
from smalto.train.run import Objective, StepResult


@dataclass(frozen=True)
class SpaceSource:
    """The frozen space that a head is trained on.

    Args:
        encoder: of pictures, filled.
        decoder_digest: names the space's frozen decoder, in hexadecimal.
    """

    encoder: SharedEncoder
    decoder_digest: str


class StereoObjective(Objective):
    """A stereo network; the encoder of the space it reads is neither trained nor saved.

    Math: equation 8 of the paper, ``smalto.measure.stereo.disparity_loss``.

    Source: Shared Neural Space paper, section 3.2.3.

    Args:
        size: of the network.
        space: gives the frozen space; None trains the same network on pixels.
        coarse_weight: of the bilinearly enlarged disparity's loss.
    """

    def __init__(self, size: Size, space: Callable[[], SpaceSource] | None, coarse_weight: float = 0.3) -> None:
        super().__init__()
        self.size, self.coarse_weight = size, coarse_weight
        source = None if space is None else space()
        self._space = (source,)  # in a tuple: not a part of what is trained and saved
        if source is not None:
            source.encoder.eval().requires_grad_(False)
        self.network: StereoHead | PixelStereo = (PixelStereo if source is None else StereoHead)(SIZES[size])

    @property
    def space(self) -> SpaceSource | None:
        """The frozen space; None on pixels."""
        return self._space[0]

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Move the space along with the network."""
        if self.space is not None:
            self.space.encoder._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def start(self, batches: Iterator[Tensor]) -> None:
        """Starts at random; needs no batches."""

    def forward(self, batch: Tensor) -> StepResult:
        """The loss of a packed batch (B, 8, H, W) in [0, 1]; H and W multiples of 4."""
        left, right, truth = unpacked(batch)
        answer = matched(self.network, self._encoder, left, right)
        loss = disparity_loss(
            answer.fine, answer.coarse, truth, self.network.config.max_disparity_px, self.coarse_weight
        )
        return StepResult(loss, _scores(answer.fine.detach(), truth))

    def preview(self, batch: Tensor) -> Tensor:
        """Left view, true disparity and the answer side by side; disparities bright where near."""
        left, right, truth = unpacked(batch)
        was_training = self.network.training
        answer = matched(self.network.eval(), self._encoder, left, right).fine
        self.network.train(was_training)
        largest = truth.amax(dim=(1, 2, 3), keepdim=True).clamp_min(1.0)
        shown = [left, *((map_ / largest).clamp(0, 1).expand_as(left) for map_ in (truth, answer))]
        return torch.cat(list(torch.cat(shown, dim=3)), dim=1)  # (3, B H, 3 W)

    def load_installed(self, system: str) -> None:
        """There is no installed stereo network to start from.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"system {system} has no stereo network to start from; leave --resume out")

    @property
    def _encoder(self) -> SharedEncoder | None:
        return None if self.space is None else self.space.encoder


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
