"""How far embeddings move when pictures are shifted to another domain: ``python -m smalto.bench.similarity``.

Source: Shared Neural Space paper, section 4.3 and table 1: L1 between embeddings of original and corrupted pictures,
"normalized by range of embeddings, and by number of features". The paper says no more, neither which eight corruptions
and severities nor what tells its two columns apart. Here, exactly:

- an embedding e is all planes that a callable gives for a picture, n values together; its range R is the largest minus
  the smallest value over all planes of all original pictures;
- ``avg_l1`` = mean over pictures and corruptions of sum |e(x) - e(c(x))| / (n R);
- ``mean_l1`` = mean over corruptions of sum |m - m_c| / (n R), m the mean embedding of the original pictures, m_c that
  of the shifted ones, n its channels; positions are averaged too, since pictures differ in size;
- ``avg_l1_deviations``, ours, is ``avg_l1`` with R replaced by the standard deviation of the values of the originals
  around their channels' means: a range hangs on two single values, and long tails make any embedding look stable.

The corruptions are those of ``smalto.data.corruptions``; severity 3 unless other ones are named.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smalto.bench.results import BenchResult, Table, bench_result
from smalto.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from smalto.data.photographs import image_tensor, picture_files, read_image
from smalto.data.stereo import stereo_files
from smalto.errors import UsageError
from smalto.layers.shared_planes import TOP_STRIDE
from smalto.train.release_raw_space import space_networks
from smalto.types import Image

Embedding = Callable[[Tensor], Sequence[Tensor]]
"""A picture (1, 3, H, W) in [0, 1], sides multiples of 4 -> its planes, each (1, C, h, w)."""

PUBLISHED = (("pixel-space embeddings, paper", 0.018766, 0.008821), ("Shared Neural Space, paper", 0.009419, 0.006948))
_COLUMNS = ("embedding", "avg_l1", "mean_l1", "avg_l1_deviations")


@dataclass(frozen=True)
class SimilaritySettings:
    """What to measure.

    Args:
        folder: of stereo pairs, whose views are taken, else of pictures.
        severities: of the corruptions; results are means over them.
        seed: of noise and motion; each picture gets its own from it.
        count: of pictures, evenly spread; None takes all.
    """

    folder: Path
    severities: tuple[int, ...] = (3,)
    seed: int = 0
    count: int | None = None

    def __post_init__(self) -> None:
        if not self.severities or not set(self.severities) <= set(SEVERITIES):
            raise UsageError(f"severities {self.severities} are not among 1..5")
        if self.count is not None and self.count < 1:
            raise UsageError("count must be 1 or more")


def pixels(picture: Tensor) -> tuple[Tensor, ...]:
    """The picture itself: what a system without a space would compare."""
    return (picture,)


def view_files(folder: str | Path) -> tuple[Path, ...]:
    """The pictures of a folder: both views of its stereo pairs where it holds such, else every picture.

    Raises:
        UsageError: no such folder, or no pictures in it.
    """
    try:
        pairs = stereo_files(folder)
    except UsageError:
        return picture_files(folder)
    return tuple(path for pair in pairs for path in (pair.left, pair.right))


def bench_similarity(
    embeddings: Mapping[str, Embedding],
    settings: SimilaritySettings,
    progress: Callable[[int, int, str], None] | None = None,
) -> BenchResult:
    """Measure how far each embedding moves.

    Args:
        embeddings: name -> callable; all see the same shifted pictures.
        settings: pictures and severities.
        progress: called with (pictures done, pictures in all, the last one's name).

    Returns:
        Tables ``similarity`` (means, beside the paper's) and ``corruptions`` (``avg_l1`` of each).

    Raises:
        UsageError: no pictures, or no embeddings.
    """
    if not embeddings:
        raise UsageError("no embeddings to compare; pass at least one")
    files = _chosen(view_files(settings.folder), settings.count)
    gathered = {name: _Gathered() for name in embeddings}
    for number, path in enumerate(files):
        original = np.asarray(read_image(path).to_pil().convert("RGB"))
        before = {name: _embedded(embedding, original) for name, embedding in embeddings.items()}
        for name, planes in before.items():
            gathered[name].add_original(planes)
        for kind in CORRUPTIONS:
            for severity in settings.severities:
                shifted = corrupt(original, kind, severity, settings.seed * 100_003 + number)
                for name, embedding in embeddings.items():
                    gathered[name].add_shifted((kind, severity), before[name], _embedded(embedding, shifted))
        if progress is not None:
            progress(number + 1, len(files), path.name)
    tables = [_similarity_table(gathered, settings, len(files)), _corruption_table(gathered)]
    severities = ",".join(map(str, settings.severities))
    command = f"python -m smalto.bench.similarity --data {settings.folder.name} --severities {severities}"
    return bench_result("similarity", command, tables, ("smalto", "torch", "numpy", "pillow"))


def similarity_text(result: BenchResult) -> str:
    """The result as Markdown."""
    means, each = result.table("similarity"), result.table("corruptions")
    return (
        f"# Similarity under shifts\n\n{result.heading()}\n{means.to_markdown(6)}\n{means.note}\n\n"
        f"{each.to_markdown(6)}\n{each.note}\n"
    )


class _Gathered:
    """Sums over the pictures for one embedding."""

    def __init__(self) -> None:
        self.lowest, self.highest = float("inf"), float("-inf")
        self.squares, self.num_values, self.num_pictures = 0.0, 0, 0
        self.originals: list[np.ndarray] = []  # channel means of each picture
        self.distances: dict[tuple[str, int], list[float]] = {}  # mean |e - e'| of each picture
        self.shifted: dict[tuple[str, int], list[np.ndarray]] = {}

    def add_original(self, planes: Sequence[Tensor]) -> None:
        """Range, deviation and mean of a picture's planes."""
        for plane in planes:
            self.lowest = min(self.lowest, float(plane.min()))
            self.highest = max(self.highest, float(plane.max()))
            self.squares += float((plane - plane.mean(dim=(0, 2, 3), keepdim=True)).square().sum())
            self.num_values += plane.numel()
        self.originals.append(_channel_means(planes))

    def add_shifted(self, shift: tuple[str, int], before: Sequence[Tensor], after: Sequence[Tensor]) -> None:
        """Distance and mean of a shifted picture's planes."""
        total = sum(float((one - other).abs().sum()) for one, other in zip(before, after, strict=True))
        self.distances.setdefault(shift, []).append(total / sum(plane.numel() for plane in before))
        self.shifted.setdefault(shift, []).append(_channel_means(after))

    def avg_l1(self, kind: str | None = None) -> float:
        """Over the pictures and the severities of one corruption, or of all."""
        values = [value for shift, held in self.distances.items() if kind in (None, shift[0]) for value in held]
        return float(np.mean(values)) / self.extent

    def mean_l1(self) -> float:
        """Between mean embeddings, over corruptions."""
        mean = np.mean(self.originals, axis=0)
        return (
            float(np.mean([np.abs(np.mean(held, axis=0) - mean).mean() for held in self.shifted.values()]))
            / self.extent
        )

    @property
    def extent(self) -> float:
        """R; 1 for an embedding that is constant."""
        return (self.highest - self.lowest) or 1.0

    @property
    def deviation(self) -> float:
        """Of values around their picture's channel means; 1 for an embedding that is constant."""
        return float(np.sqrt(self.squares / self.num_values)) or 1.0


def _channel_means(planes: Sequence[Tensor]) -> np.ndarray:
    """(channels of all planes,) float64."""
    return torch.cat([plane.double().mean(dim=(0, 2, 3)) for plane in planes]).cpu().numpy()


@torch.no_grad()
def _embedded(embedding: Embedding, picture: np.ndarray) -> list[Tensor]:
    x = image_tensor(Image(picture))
    height, width = x.shape[-2:]
    x = F.pad(x, (0, -width % TOP_STRIDE, 0, -height % TOP_STRIDE), mode="replicate")
    return [plane.float() for plane in embedding(x)]


def _similarity_table(gathered: Mapping[str, _Gathered], settings: SimilaritySettings, num_pictures: int) -> Table:
    rows: list[tuple[str | float | None, ...]] = [
        (name, held.avg_l1(), held.mean_l1(), held.avg_l1() * held.extent / held.deviation)
        for name, held in gathered.items()
    ]
    rows += [(*published, None) for published in PUBLISHED]
    note = (
        f"Lower is closer. {num_pictures} pictures, {len(CORRUPTIONS)} corruptions, severities "
        f"{', '.join(map(str, settings.severities))}. avg_l1: mean over pictures and corruptions of "
        "sum |e - e'| / (number of features x range of the originals' embeddings). mean_l1: the same between channel "
        "means over all pictures. avg_l1_deviations: avg_l1 in standard deviations instead of ranges. The paper (30 "
        "pictures) publishes neither its corruptions, severities nor its formula: its rows stand beside, not against."
    )
    return Table("similarity", _COLUMNS, tuple(rows), note)


def _corruption_table(gathered: Mapping[str, _Gathered]) -> Table:
    rows = tuple((kind, *(held.avg_l1(kind) for held in gathered.values())) for kind in CORRUPTIONS)
    return Table("corruptions", ("corruption", *gathered), rows, "avg_l1 of each corruption, over its severities.")


def _chosen(files: Sequence[Path], count: int | None) -> list[Path]:
    if count is None or count >= len(files):
        return list(files)
    return [files[k * len(files) // count] for k in range(count)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m smalto.bench.similarity", description="embeddings under shifts")
    parser.add_argument("--data", type=Path, required=True, help="folder of stereo pairs or pictures")
    parser.add_argument("--space", default=None, help="neural-space run or system; without it pixels alone")
    parser.add_argument("--severities", default="3", help="1..5, commas between")
    parser.add_argument("--count", type=int, default=None, help="pictures, evenly spread over the folder")
    parser.add_argument("--json", type=Path, default=None, help="also write the numbers to this file")
    chosen = parser.parse_args(arguments)
    embeddings: dict[str, Embedding] = {"pixels": pixels}
    if chosen.space is not None:
        embeddings["shared space"] = space_networks(chosen.space)[0].eval()
    try:
        severities = tuple(int(text) for text in chosen.severities.split(","))
    except ValueError as error:
        raise UsageError(f"--severities {chosen.severities}: expected numbers of 1..5 with commas between") from error
    result = bench_similarity(embeddings, SimilaritySettings(chosen.data, severities, count=chosen.count), _say)
    if chosen.json is not None:
        result.save(chosen.json)
    sys.stdout.write(similarity_text(result))


def _say(done: int, total: int, name: str) -> None:
    sys.stderr.write(f"{done}/{total} {name}\n")


if __name__ == "__main__":
    main()
