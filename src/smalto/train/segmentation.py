"""The objective of segmentation: PIDNet on the frozen space's detail plane, or the same network on pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smalto.data.segmentation import CLASSES, COLOURS, VOID
from smalto.errors import UsageError
from smalto.heads.segment import PixelSegmenter, Segmenter, SegmentScores, Size, class_ids, enlarged
from smalto.train.run import StepResult
from smalto.train.space_head import SpaceHeadObjective, SpaceNetworks

_DETAIL_WEIGHT = 0.4
_EDGE_PX = 5
_SURE = 0.8
_COUNTED_BATCHES = 16


@dataclass(frozen=True)
class SegmentConfig:
    """What the network is trained for.

    Args:
        size: of PIDNet.
        balance: a class weighs (1 / its share of the pixels) to this power; 0 weighs all pixels alike, as the paper.
        boundary_weight: of PIDNet's further losses, see ``SegmentObjective``; 0 leaves them and their heads out.
    """

    size: Size = "s"
    balance: float = 0.0
    boundary_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.balance < 0 or self.boundary_weight < 0:
            raise UsageError("segmentation: balance and boundary_weight are 0 or more")


class SegmentObjective(SpaceHeadObjective):
    """Cross-entropy of classes, over pixels that are not void; and, if wanted, PIDNet's boundary losses.

    Math: ``CE(classes) + w (0.4 CE(detail) + BCE(boundary, edges) + CE(classes where the boundary is sure))``; BCE
    weighs edges together as much as the rest together; the boundary is sure where its sigmoid exceeds 0.8.

    Source: Shared Neural Space paper, equation 7 (the first term); PIDNet, equation 9 (the others). Where we differ:
    edges are found from the labels, within 2 px; the balanced BCE is a weighted mean, so its weight is 1, not 20.

    Args:
        networks: gives encoder and decoder of the space; None trains on pixels.
        config: size and weights.
    """

    class_weights: Tensor

    def __init__(self, networks: SpaceNetworks | None, config: SegmentConfig | None = None) -> None:
        super().__init__(networks)
        self.config = config or SegmentConfig()
        build = PixelSegmenter if networks is None else Segmenter
        self.head = build(self.config.size, len(CLASSES), augmented=self.config.boundary_weight > 0)
        self.register_buffer("class_weights", torch.ones(len(CLASSES)))

    def start(self, batches: Iterator[Tensor]) -> None:
        """Weigh classes by their shares in a few batches."""
        if self.config.balance == 0:
            return
        counts = torch.ones(len(CLASSES))
        for _ in range(_COUNTED_BATCHES):
            ids = labels_of(next(batches)).cpu()
            counts += torch.bincount(ids[ids < len(CLASSES)], minlength=len(CLASSES))
        shares = counts / counts.sum()
        weights = shares**-self.config.balance
        self.class_weights.copy_(weights / (shares * weights).sum())

    def forward(self, batch: Tensor) -> StepResult:
        """The loss of a batch (B, 4, S, S): pictures in [0, 1] and class ids / 255; S a multiple of 4."""
        truth = labels_of(batch)
        size = (batch.shape[2], batch.shape[3])
        given = self._given(batch[:, :3])
        if self.config.boundary_weight == 0:
            logits = enlarged(self.head(given), *size).float()  # type: ignore[arg-type]
            loss = self._cross_entropy(logits, truth)
        else:
            scores = self.head.scores(given)  # type: ignore[arg-type]
            logits = enlarged(scores.classes, *size).float()
            further = self._further(scores, logits, truth)
            loss = self._cross_entropy(logits, truth) + self.config.boundary_weight * further
        counts = truth < len(CLASSES)
        right = (logits.detach().argmax(dim=1) == truth) & counts
        return StepResult(loss, {"pixel_accuracy": right.sum() / counts.sum().clamp_min(1)})

    def preview(self, batch: Tensor) -> Tensor:
        """Each picture, its answered classes and its true ones, in colour."""
        pictures, truth = batch[:, :3], labels_of(batch)
        answer = class_ids(self.head(self._given(pictures)), batch.shape[2], batch.shape[3])  # type: ignore[arg-type]
        table = torch.zeros(VOID + 1, 3, device=batch.device)
        table[: len(COLOURS)] = torch.from_numpy(np.array(COLOURS, np.float32) / 255).to(batch.device)
        shown = [table[ids.long()].permute(0, 3, 1, 2) for ids in (answer, truth)]
        rows = torch.cat([pictures, *shown], dim=3)  # (B, 3, S, 3 S)
        return torch.cat(list(rows), dim=1)  # (3, B S, 3 S)

    def load_installed(self, system: str) -> None:
        """Take the installed segmentation head.

        Raises:
            UsageError: the system has none, or one of another size.
        """
        from smalto.train.release_heads import load_installed_head

        load_installed_head(self.head, system, "segment")

    def see(self, batch: Tensor) -> None:
        """Run the head on a batch, for its statistics."""
        self.head(self._given(batch[:, :3]))  # type: ignore[arg-type]

    def _given(self, pictures: Tensor) -> object:
        """What the head takes: planes, in the step's precision, or the pictures themselves."""
        if self.frozen is None:
            return pictures
        with torch.no_grad():
            return self.frozen.encoder(pictures)

    def _cross_entropy(self, logits: Tensor, truth: Tensor) -> Tensor:
        return F.cross_entropy(logits, truth, self.class_weights, ignore_index=VOID)

    def _further(self, scores: SegmentScores, logits: Tensor, truth: Tensor) -> Tensor:
        """PIDNet's losses of the detail and boundary branches, and of classes at boundaries."""
        size = (truth.shape[1], truth.shape[2])
        detail = self._cross_entropy(enlarged(scores.detail, *size).float(), truth)
        boundary, edges = enlarged(scores.boundary, *size).float(), edges_of(truth)
        share = edges.mean().clamp(0.01, 0.99)
        weights = torch.where(edges > 0, 1 - share, share)
        found = F.binary_cross_entropy_with_logits(boundary, edges, weights) / (2 * share * (1 - share))
        is_sure = boundary.detach()[:, 0].sigmoid() > _SURE
        at_edges = torch.where(is_sure, truth, VOID)
        if not bool((at_edges < len(CLASSES)).any()):
            return _DETAIL_WEIGHT * detail + found
        return _DETAIL_WEIGHT * detail + found + self._cross_entropy(logits, at_edges)


def labels_of(batch: Tensor) -> Tensor:
    """The class ids (B, S, S) int64 in the fourth channel of a batch in [0, 1]."""
    return (batch[:, 3] * 255).round().long()


def edges_of(truth: Tensor) -> Tensor:
    """1 within 2 px of where two ids of (B, S, S) meet, else 0: (B, 1, S, S) float."""
    ids = truth.float().unsqueeze(1)
    highest = F.max_pool2d(ids, _EDGE_PX, stride=1, padding=_EDGE_PX // 2)
    lowest = -F.max_pool2d(-ids, _EDGE_PX, stride=1, padding=_EDGE_PX // 2)
    return (highest != lowest).float()
