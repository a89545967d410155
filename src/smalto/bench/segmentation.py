"""Segmentation in the shared space beside the same network on pixels, on CamVid and on corrupted copies of it.

``python -m smalto.bench.segmentation --space RUN --head RUN --pixels RUN --data CAMVID``: RUN are folders that
``smalto train`` wrote; repeat ``--head`` and ``--pixels`` for several seeds. Scores are those of the whole set's
confusion matrix; with several seeds, the mean of theirs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from smalto.bench.results import BenchResult, Table, bench_result
from smalto.data.corruptions import CORRUPTIONS, corrupt
from smalto.data.photographs import image_tensor
from smalto.data.segmentation import CLASSES, LabelledTree, Split
from smalto.errors import UsageError
from smalto.heads.segment import PixelSegmenter, Segmenter, class_ids
from smalto.layers.shared_planes import TOP_STRIDE
from smalto.measure.segmentation import confusion, iou_change_interval, segmentation_score
from smalto.train.release_heads import read_segment
from smalto.train.release_raw_space import space_networks
from smalto.train.space_head import FrozenSpace
from smalto.types import Image

CLEAN, NEURAL, PIXELS = "none", "neural space", "pixels"
_SCORES = ("shift", "method", "mean_iou", "pixel_accuracy", "mean_accuracy")
_Head = TypeVar("_Head", Segmenter, PixelSegmenter)
_CHANGES = ("shift", "iou_change", "low", "high")


@dataclass(frozen=True, eq=False)
class SegmentationSettings:
    """What to measure.

    Args:
        folder: CamVid, or Cityscapes, as ``LabelledTree`` reads them.
        split: which part.
        severity: of the corruptions, 1..5.
        shifts: corruptions beside the pictures as they are.
        count: pictures, evenly spread; None takes all.
    """

    folder: Path
    split: Split = "test"
    severity: int = 3
    shifts: tuple[str, ...] = tuple(CORRUPTIONS)
    count: int | None = None


@dataclass(frozen=True, eq=False)
class Networks:
    """What is compared; networks of a kind differ in their seed.

    Args:
        space: of the heads; None where there are none.
        heads: on planes.
        twins: on pixels.
    """

    space: FrozenSpace | None
    heads: Sequence[Segmenter]
    twins: Sequence[PixelSegmenter]

    def __post_init__(self) -> None:
        if not (self.heads or self.twins) or (self.heads and self.space is None):
            raise UsageError("segmentation: name at least one head, and the space that heads read")

    @torch.inference_mode()
    def answers(self, picture: Image) -> dict[str, list[np.ndarray]]:
        """Class ids (H, W) of each network, by kind; the picture is encoded once."""
        x = image_tensor(picture)
        padded = F.pad(x, (0, -picture.width % TOP_STRIDE, 0, -picture.height % TOP_STRIDE), mode="replicate")
        size = (picture.height, picture.width)
        found: dict[str, list[np.ndarray]] = {}
        if self.space is not None and self.heads:
            planes = self.space.encoder(padded)
            found[NEURAL] = [class_ids(head(planes), *size)[0].numpy() for head in self.heads]
        if self.twins:
            found[PIXELS] = [class_ids(twin(padded), *size)[0].numpy() for twin in self.twins]
        return found


def bench_segmentation(
    networks: Networks, settings: SegmentationSettings, progress: Callable[[int, int, str], None] | None = None
) -> BenchResult:
    """Measure networks on labelled pictures and on corrupted copies.

    Args:
        networks: of both kinds, or of one.
        settings: pictures and shifts.
        progress: called with (pictures done, pictures in all, the last one's name).

    Raises:
        UsageError: the folder is in no layout that is read, or there is no such corruption.
    """
    tree = LabelledTree(settings.folder, settings.split)
    numbers = list(range(len(tree)))
    if settings.count is not None:
        numbers = numbers[:: max(len(numbers) // settings.count, 1)][: settings.count]
    counted: dict[tuple[str, str], list[list[NDArray[np.int64]]]] = {}
    for done, number in enumerate(numbers):
        held = tree.read(number)
        pixels = np.asarray(held.picture.to_pil().convert("RGB"))
        for shift in (CLEAN, *settings.shifts):
            shown = pixels if shift == CLEAN else corrupt(pixels, shift, settings.severity, seed=number)
            for kind, answers in networks.answers(Image(shown, source=held.name)).items():
                matrices = [confusion(ids, held.ids, len(CLASSES)) for ids in answers]
                counted.setdefault((shift, kind), []).append(matrices)
        if progress is not None:
            progress(done + 1, len(numbers), held.name)
    confusions = {key: np.array(rows).swapaxes(0, 1) for key, rows in counted.items()}  # (S, N, K, K)
    note = f"{len(numbers)} pictures of split {settings.split}; corruptions at severity {settings.severity}."
    command = "python -m smalto.bench.segmentation --space RUN --head RUN --pixels RUN --data CAMVID"
    return bench_result("segmentation", command, _tables(confusions, note), ("smalto", "torch", "numpy", "pillow"))


def segmentation_text(result: BenchResult) -> str:
    """The result as Markdown."""
    tables = "\n".join(f"{table.to_markdown()}\n{table.note}\n" for table in result.tables)
    return f"# Segmentation\n\n{result.heading()}\n{tables}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure runs and write their tables."""
    parser = argparse.ArgumentParser(prog="python -m smalto.bench.segmentation", description="segmentation")
    parser.add_argument("--space", default=None, help="folder of a neural-space run, weights file or installed system")
    parser.add_argument("--head", type=Path, action="append", default=[], help="run on the space; one for each seed")
    parser.add_argument("--pixels", type=Path, action="append", default=[], help="run on pixels; one for each seed")
    parser.add_argument("--data", type=Path, required=True, help="CamVid or Cityscapes")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--severity", type=int, choices=(1, 2, 3, 4, 5), default=3)
    parser.add_argument("--no-shifts", action="store_true", help="only the pictures as they are")
    parser.add_argument("--count", type=int, default=None, help="pictures, evenly spread")
    parser.add_argument("--json", type=Path, default=None, help="also write the numbers to this file")
    chosen = parser.parse_args(arguments)
    space = FrozenSpace(*space_networks(chosen.space)) if chosen.space is not None else None
    heads = [_of_kind(run, Segmenter) for run in chosen.head]
    networks = Networks(space, heads, [_of_kind(run, PixelSegmenter) for run in chosen.pixels])
    shifts = () if chosen.no_shifts else tuple(CORRUPTIONS)
    settings = SegmentationSettings(chosen.data, chosen.split, chosen.severity, shifts, chosen.count)
    result = bench_segmentation(networks, settings, _say)
    if chosen.json is not None:
        result.save(chosen.json)
    sys.stdout.write(segmentation_text(result))


def _of_kind(run: Path, kind: type[_Head]) -> _Head:
    head = read_segment(run)
    if not isinstance(head, kind):
        raise UsageError(f"{run}: holds a {type(head).__name__}, not a {kind.__name__}; give it with the other option")
    return head


def _say(done: int, total: int, name: str) -> None:
    sys.stderr.write(f"{done}/{total} {name}\n")


def _tables(confusions: Mapping[tuple[str, str], NDArray[np.int64]], note: str) -> list[Table]:
    scores = {key: [segmentation_score(one.sum(axis=0)) for one in held] for key, held in confusions.items()}
    rows = tuple(
        (
            *key,
            *(
                float(np.mean([getattr(score, name) for score in seeds]))
                for name in ("mean_iou", "pixel_accuracy", "mean_accuracy")
            ),
        )
        for key, seeds in scores.items()
    )
    tables = [Table("scores", _SCORES, rows, note)]
    shifts = [shift for shift, kind in confusions if kind == NEURAL and (shift, PIXELS) in confusions]
    if shifts:
        tables.append(_change_table(confusions, scores, shifts))
    kinds = [kind for shift, kind in confusions if shift == CLEAN]
    classes = tuple(
        (name, *(_mean_or_none([score.ious[k] for score in scores[CLEAN, kind]]) for kind in kinds))
        for k, name in enumerate(CLASSES)
    )
    headings = tuple(f"{kind.replace(' ', '_')}_iou" for kind in kinds)
    tables.append(Table("classes", ("class", *headings), classes, "IoU of each class, pictures as they are."))
    return tables


def _change_table(confusions, scores, shifts) -> Table:  # type: ignore[no-untyped-def]
    rows = []
    for shift in shifts:
        after, before = (float(np.mean([s.mean_iou for s in scores[shift, kind]])) for kind in (NEURAL, PIXELS))
        interval = iou_change_interval(confusions[shift, PIXELS], confusions[shift, NEURAL])
        rows.append((shift, after - before, interval.low, interval.high))
    note = "Mean IoU in the space minus mean IoU on pixels, with its 95 % interval (paired bootstrap over pictures)."
    return Table("change", _CHANGES, tuple(rows), note)


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


if __name__ == "__main__":
    main()
