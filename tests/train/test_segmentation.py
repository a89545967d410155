"""The segmentation objective: it learns, void does not count, heads publish without what only training uses."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.data.crops import CropConfig
from smalto.errors import UsageError, WeightsError
from smalto.heads.segment import SIZES, PixelSegmenter, Segmenter, SegmenterConfig, enlarged
from smalto.train.loop import Budget, train
from smalto.train.recipes.neural_space_segment import neural_space_segment
from smalto.train.release_heads import publish_segment, read_segment, segment_network
from smalto.train.segmentation import SegmentConfig, SegmentObjective, edges_of, labels_of
from smalto.train.space_head import settle_norms
from smalto.weights.store import read_arrays
from tests.data.labelled_trees import camvid_tree
from tests.shared_space import seeded_networks, smooth_pictures


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setitem(SIZES, "s", SegmenterConfig(8, 2, 3, 6, 8))


def _batch(num: int = 4, side: int = 64, shift: int = 0) -> Tensor:
    """Bright areas are class 3, dark ones class 7, the top rows void."""
    pictures = smooth_pictures(num, side, shift)
    ids = torch.where(pictures.mean(dim=1, keepdim=True) > 0.5, 3, 7)
    ids[:, :, :4] = 255
    return torch.cat([pictures, ids / 255], dim=1)


@pytest.mark.parametrize("is_on_pixels", [True, False])
@pytest.mark.parametrize("boundary_weight", [0.0, 1.0])
def test_the_head_learns(is_on_pixels: bool, boundary_weight: float) -> None:
    config = SegmentConfig(boundary_weight=boundary_weight)
    objective = SegmentObjective(None if is_on_pixels else seeded_networks, config)
    optimiser, losses = torch.optim.Adam(objective.parameters(), 5e-3), []
    for _ in range(8):
        result = objective(_batch())
        optimiser.zero_grad()
        result.loss.backward()
        assert all(p.grad is not None for p in objective.head.parameters())
        optimiser.step()
        losses.append(float(result.loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert 0 <= float(result.measures["pixel_accuracy"]) <= 1
    assert objective.preview(_batch()).shape == (3, 4 * 64, 3 * 64)


def test_the_loss_is_cross_entropy_of_what_is_not_void() -> None:
    objective, batch = SegmentObjective(None).eval(), _batch()
    logits = enlarged(objective.head(batch[:, :3]), 64, 64)  # type: ignore[arg-type]
    expected = F.cross_entropy(logits[:, :, 4:], labels_of(batch)[:, 4:])
    torch.testing.assert_close(objective(batch).loss, expected)


def test_balance_weighs_rare_classes_more() -> None:
    objective = SegmentObjective(None, SegmentConfig(balance=0.5))
    batch = _batch()
    batch[:, 3] = 3 / 255
    batch[:, 3, :16, :16] = 7 / 255  # a sixteenth

    def batches():  # type: ignore[no-untyped-def]
        while True:
            yield batch

    objective.start(batches())
    assert float(objective.class_weights[7] / objective.class_weights[3]) == pytest.approx(15**0.5, rel=0.01)


def test_edges_lie_where_ids_meet() -> None:
    truth = torch.zeros(1, 12, 12, dtype=torch.long)
    truth[:, :, 6:] = 4
    assert edges_of(truth)[0, 0, 5].tolist() == [0] * 4 + [1] * 4 + [0] * 4


def _forever():  # type: ignore[no-untyped-def]
    shift = 0
    while True:
        shift += 1
        yield _batch(shift=shift)


@pytest.mark.parametrize("is_on_pixels", [True, False])
def test_heads_publish_and_come_back(is_on_pixels: bool, tmp_path: Path) -> None:
    config = SegmentConfig(boundary_weight=1.0)
    objective = SegmentObjective(None if is_on_pixels else seeded_networks, config).requires_grad_(False)
    publish_segment(objective, _forever(), tmp_path / "weights")
    head = read_segment(tmp_path)
    assert type(head) is (PixelSegmenter if is_on_pixels else Segmenter)
    assert not any("detail_out" in name or "boundary_out" in name for name in head.state_dict())
    pictures = smooth_pictures(1, 64, 9)
    given: object = pictures if objective.frozen is None else objective.frozen.planes(pictures)
    shipped = copy.deepcopy(objective.head).half().float().eval()
    torch.testing.assert_close(head(given), shipped(given))  # type: ignore[arg-type]
    record = json.loads((tmp_path / "weights" / "segment.json").read_text())
    assert record["num_parameters"] == sum(p.numel() for p in head.parameters())


def test_settled_statistics_are_those_of_the_batches() -> None:
    norm = nn.BatchNorm2d(3)
    batches = [torch.randn(4, 3, 8, 8) * 2 + 5 for _ in range(6)]
    settle_norms(norm, norm, iter(batches), 6)
    torch.testing.assert_close(norm.running_mean, torch.stack([b.mean(dim=(0, 2, 3)) for b in batches]).mean(dim=0))
    torch.testing.assert_close(norm.running_var, torch.stack([b.var(dim=(0, 2, 3)) for b in batches]).mean(dim=0))
    assert norm.momentum == 0.1
    assert not norm.training


def test_what_is_no_head_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no segment\.safetensors"):
        read_segment(tmp_path)
    with pytest.raises(WeightsError, match="not weights of a segmentation head"):
        segment_network({"head": np.zeros(3)}, "a.safetensors")
    with pytest.raises(UsageError, match="2 or more"):
        neural_space_segment(batch_size=1)


def test_a_run_on_labelled_pictures_trains_and_publishes(tmp_path: Path) -> None:
    run = neural_space_segment(space="pixels", batch_size=2, crop_px=16, balance=0.5, boundary_weight=1.0)
    budget = Budget(camvid_tree(tmp_path / "tree"), tmp_path / "run", 1.0, max_steps=2)
    assert train(run, budget, lambda line: None).step == 2
    assert run.crops == CropConfig(size_px=16)
    arrays = read_arrays(tmp_path / "run" / "weights" / "segment.safetensors")
    assert any(float(abs(a).max()) > 0 for name, a in arrays.items() if name.endswith("running_mean"))
    assert list((tmp_path / "run" / "samples").glob("*.png"))
    again = Budget(tmp_path / "tree", tmp_path / "run", 1.0, resume="checkpoint", max_steps=1)
    assert train(run, again, lambda line: None).step == 3
