"""The segmentation benchmark: exact cases, shifts, seeds, where heads are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from smalto.bench.results import BenchResult
from smalto.bench.segmentation import (
    CLEAN,
    NEURAL,
    PIXELS,
    Networks,
    SegmentationSettings,
    bench_segmentation,
    main,
    segmentation_text,
)
from smalto.data.segmentation import VOID, LabelledTree
from smalto.errors import UsageError
from smalto.heads.segment import SIZES, PixelSegmenter, Segmenter, SegmenterConfig
from smalto.systems.shared_space import shared_arrays
from smalto.train.release_heads import publish_segment
from smalto.train.segmentation import SegmentObjective
from smalto.train.space_head import FrozenSpace
from smalto.types import Image
from smalto.weights.store import write_arrays
from tests.data.labelled_trees import camvid_tree
from tests.shared_space import seeded_networks, smooth_pictures


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setitem(SIZES, "s", SegmenterConfig(8, 2, 3, 6, 8))


class _Known(Networks):
    """Answers that depend on the corner alone: right on clean pictures, wrong on bright ones."""

    def __init__(self, tree: LabelledTree) -> None:
        super().__init__(None, (), (PixelSegmenter("s", 11),))
        object.__setattr__(self, "truth", {held.name: held.ids for held in map(tree.read, range(len(tree)))})

    def answers(self, picture: Image) -> dict[str, list[np.ndarray]]:
        truth = self.truth[picture.source]  # type: ignore[attr-defined]
        right = np.where(truth == VOID, 0, truth)
        wrong = np.zeros_like(right)
        is_clean = int(picture.pixels[0, 0].max()) < 40
        return {NEURAL: [right, right], PIXELS: [right if is_clean else wrong]}


def test_scores_changes_and_classes(tmp_path: Path) -> None:
    tree = LabelledTree(camvid_tree(tmp_path), "test")
    settings = SegmentationSettings(tmp_path, shifts=("brightness",))
    seen: list[tuple[int, int, str]] = []
    result = bench_segmentation(_Known(tree), settings, lambda *done: seen.append(done))
    scores = {(row[0], row[1]): row[2:] for row in result.table("scores").rows}
    assert scores[CLEAN, NEURAL] == scores[CLEAN, PIXELS] == scores["brightness", NEURAL] == (1.0, 1.0, 1.0)
    assert scores["brightness", PIXELS] == (0.0, 0.0, 0.0)
    assert result.table("change").rows == ((CLEAN, 0.0, 0.0, 0.0), ("brightness", 1.0, 1.0, 1.0))
    classes = result.table("classes")
    assert classes.columns == ("class", "neural_space_iou", "pixels_iou")
    found = {name for name, iou, _ in classes.rows if iou is not None}
    assert found == {"Tree", "SignSymbol", "Fence", "Car"}  # 5, 6, 7, and 8 on the first row
    assert seen[-1][:2] == (3, 3)
    assert BenchResult.from_json(result.to_json()) == result
    assert segmentation_text(result).startswith("# Segmentation")


def test_pictures_of_any_size_are_answered_in_their_size() -> None:
    space = FrozenSpace(*seeded_networks())
    heads, twins = [Segmenter("s", 11).eval() for _ in range(2)], [PixelSegmenter("s", 11).eval()]
    pixels = np.random.default_rng(0).integers(0, 256, (37, 50, 3), dtype=np.uint8)
    answers = Networks(space, heads, twins).answers(Image(pixels))
    assert [len(answers[kind]) for kind in (NEURAL, PIXELS)] == [2, 1]
    assert all(ids.shape == (37, 50) and ids.max() < 11 for kind in answers.values() for ids in kind)
    with pytest.raises(UsageError, match="the space that heads read"):
        Networks(None, heads, twins)


def test_runs_are_found_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder, decoder = seeded_networks()
    (tmp_path / "space").mkdir()
    write_arrays(tmp_path / "space" / "space.safetensors", shared_arrays(encoder, decoder))

    def batches():  # type: ignore[no-untyped-def]
        while True:
            yield torch.cat([smooth_pictures(2, 64), torch.zeros(2, 1, 64, 64)], dim=1)

    for name, networks in (("head", lambda: (encoder, decoder)), ("twin", None)):
        publish_segment(SegmentObjective(networks).requires_grad_(False), batches(), tmp_path / name / "weights")
    data = str(camvid_tree(tmp_path / "tree"))
    words = ["--data", data, "--no-shifts", "--count", "2", "--space", str(tmp_path / "space")]
    main([*words, "--head", str(tmp_path / "head"), "--pixels", str(tmp_path / "twin")])
    assert "| none | neural space |" in capsys.readouterr().out
    with pytest.raises(UsageError, match="holds a PixelSegmenter"):
        main([*words, "--head", str(tmp_path / "twin")])
