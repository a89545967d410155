"""What coding the planes costs tasks: every head from coded planes against the same head from exact ones, by rate.

Ours at several qualities, and the planes themselves where the system can (``archive``); beside each an AVIF of no more
bytes, decoded and encoded to planes again, and the PNG, whose planes are the exact ones. A rate is that of the whole
file, in bits per pixel, the mean over pictures; of stereo pairs that of one view.

A task's loss is the share of its score that coding takes, in percent:

- denoise: PSNR of the answer against the clean picture, noise of sigma 25 on Kodak, stored as 8-bit pictures;
- segment: mean IoU on CamVid's test split;
- depth: pixels of Middlebury whose disparity is right (100 - d1_all).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import features
from torch import Tensor

from smalto.bench.results import Cell, Table
from smalto.data.photographs import picture_files, read_image
from smalto.data.segmentation import CLASSES, LabelledTree
from smalto.data.stereo import read_pair, stereo_files
from smalto.errors import UsageError
from smalto.measure.classical import AVIF
from smalto.measure.psnr import psnr_db
from smalto.measure.segmentation import confusion, segmentation_score
from smalto.measure.stereo import stereo_score
from smalto.measure.whitening import Whitening
from smalto.systems.system import System
from smalto.types import Image, Latent

QUALITIES = (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)
ARCHIVE, PNG = "archive", "PNG"
PLANES = ("z_b", "z_t")
SIGMA, MAX_DB = 25.0, 100.0
TARGET_LOSS, TARGET_BPP = 1.0, 2.0
NUM_FITTED = 8
_WHITE_CELLS = 20_000  # of each picture, for the whitening
_RATES = ("coding", "quality", "bpp", "psnr_db", "z_b_error", "z_t_error", "png_bpp", "larger_than_png")
_LOSSES = ("task", "coding", "quality", "bpp", "score", "exact_score", "loss_percent", "difference")
_VERDICTS = ("coding", "task", "quality", "bpp", "verdict")
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class RateSettings:
    """What to measure.

    Args:
        pictures: folder of clean pictures (Kodak), for the rates and for denoising.
        labelled: CamVid or Cityscapes; None leaves segmentation out.
        pairs: stereo pairs; None leaves depth out.
        qualities: of ours, 0..100.
        count: pictures of each folder, evenly spread; None takes all.
        seed: of the noise.

    Raises:
        UsageError: no qualities, or a count below 1.
    """

    pictures: Path
    labelled: Path | None = None
    pairs: Path | None = None
    qualities: tuple[float, ...] = QUALITIES
    count: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.qualities or (self.count is not None and self.count < 1):
            raise UsageError("rates: name at least one quality, and a count of 1 or more")


@dataclass(frozen=True)
class CodedPicture:
    """One picture as one coding leaves it.

    Args:
        coding: the system's name, AVIF or PNG.
        quality: of ours; of AVIF that of ours whose bytes it had.
        num_bytes: of the whole file.
        latent: what tasks read.
    """

    coding: str
    quality: str
    num_bytes: int
    latent: Latent


@dataclass
class TaskPoint:
    """What one coding at one quality makes of a task, gathered over pictures.

    Args:
        bpp: of each picture.
        scores: of each picture.
        differences: of each picture's answer from the answer of exact planes.
        matrices: confusion matrices, for segmentation.
    """

    bpp: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    matrices: list[np.ndarray] = field(default_factory=list)

    @property
    def score(self) -> float:
        """Mean of the pictures' scores; of segmentation the set's mean IoU in percent."""
        if self.matrices:
            return 100.0 * segmentation_score(np.sum(self.matrices, axis=0)).mean_iou
        return float(np.mean(self.scores))


Points = dict[tuple[str, str], TaskPoint]


def rate_tables(system: System, settings: RateSettings, progress: Progress | None = None) -> list[Table]:
    """Tables ``rates``, ``task loss`` and ``verdict``.

    Args:
        system: with its codecs; tasks that it does not answer are left out.
        settings: pictures and qualities.
        progress: called with (pictures done, pictures in all, what).
    """
    tell = progress or (lambda done, total, what: None)
    rates = _reconstruction(system, settings, tell)
    points: dict[str, Points] = {}
    if "denoise" in system.tasks:
        points["denoise"] = _denoise(system, settings, tell)
    if "segment" in system.tasks and settings.labelled is not None:
        points["segment"] = _segment(system, settings, tell)
    if "depth" in system.tasks and settings.pairs is not None:
        points["depth"] = _depth(system, settings, tell)
    if not points:
        return [rates]
    losses = _loss_table(points)
    return [rates, losses, verdict_table(losses)]


def coded_pictures(system: System, picture: Image, qualities: Sequence[float]) -> Iterator[CodedPicture]:
    """A picture as every coding leaves it: the PNG first, then ours and AVIF in turns, rising in rate.

    Where even AVIF's smallest file is larger than ours, that one stands beside it.
    """
    pixels = np.asarray(picture.to_pil().convert("RGB"))
    yield CodedPicture(PNG, "-", png_bytes(pixels), system.latent_of(picture))
    named: list[tuple[str | float, str]] = [(quality, f"{quality:g}") for quality in qualities]
    if system.parts.archive is not None:
        named.append((ARCHIVE, ARCHIVE))
    for quality, name in named:
        data = system.encode(picture, quality=quality).to_bytes()
        yield CodedPicture(system.name, name, len(data), system.latent(data))
        if features.check("avif"):
            least = AVIF.encode(pixels, AVIF.qualities[0])
            file = least if len(least) > len(data) else AVIF.encode_to_size(pixels, len(data)).data
            yield CodedPicture(AVIF.label, name, len(file), system.latent_of(Image(AVIF.decode(file))))


def png_bytes(pixels: np.ndarray) -> int:
    """Bytes of the PNG of (H, W, 3) uint8, as small as Pillow makes it."""
    from PIL import Image as Pil

    buffer = BytesIO()
    Pil.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return len(buffer.getvalue())


def verdict_table(losses: Table) -> Table:
    """The smallest rate of each coding at which a task loses less than a percent, or what there is instead."""
    rows: list[tuple[Cell, ...]] = []
    codings = [coding for coding in dict.fromkeys(losses.column("coding")) if coding != PNG]
    tasks = list(dict.fromkeys(losses.column("task")))
    held = {(row[1], row[0], row[2]): row for row in losses.rows}
    for coding in codings:
        qualities = [quality for c, task, quality in held if c == coding and task == tasks[0]]
        for several in (*([task] for task in tasks), *([tasks] if len(tasks) > 1 else [])):
            points = [[held[coding, task, quality] for task in several] for quality in qualities]
            found = sorted(((_rate(point), _loss(point), str(q)) for point, q in zip(points, qualities, strict=True)))
            rows.append((coding, "all of them" if len(several) > 1 else several[0], *_verdict(found)))
    note = (
        f"Of the rates measured the smallest from which on a task loses less than {TARGET_LOSS:g} % of its score; of "
        f"all tasks the mean of their rates, and the largest loss. The aim is {TARGET_BPP:g} bpp; what needs "
        "more names its price."
    )
    return Table("verdict", _VERDICTS, tuple(rows), note)


def _verdict(found: Sequence[tuple[float, float, str]]) -> tuple[str, float, str]:
    """(quality, rate, sentence) of points (rate, loss, quality) that rise in rate."""
    enough = len(found)
    while enough and found[enough - 1][1] < TARGET_LOSS:
        enough -= 1
    if enough == len(found):
        rate, loss, quality = found[-1]
        return quality, rate, f"not under {TARGET_LOSS:g} %: {loss:.2f} % is lost at {rate:.2f} bpp, the most measured"
    rate, loss, quality = found[enough]
    within = f"under {TARGET_LOSS:g} % from {rate:.2f} bpp"
    return quality, rate, within if rate <= TARGET_BPP else f"{within}: the price is above the aim"


def _rate(point: Sequence[tuple[Cell, ...]]) -> float:
    return float(np.mean([row[3] for row in point]))  # type: ignore[arg-type]


def _loss(point: Sequence[tuple[Cell, ...]]) -> float:
    return max(float("inf") if row[6] is None else float(row[6]) for row in point)


def _spread(items: Sequence, count: int | None) -> list:  # type: ignore[type-arg]
    if count is None or count >= len(items):
        return list(items)
    return [items[k * len(items) // count] for k in range(count)]


def _bpp(coded: CodedPicture) -> float:
    return 8 * coded.num_bytes / (coded.latent.height * coded.latent.width)


def _reconstruction(system: System, settings: RateSettings, tell: Progress) -> Table:
    """Rates, pictures and planes."""
    files = _spread(picture_files(settings.pictures), settings.count)
    whitenings = _whitenings([system.latent_of(read_image(path)) for path in _spread(files, NUM_FITTED)])
    rows: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for number, path in enumerate(files):
        picture = read_image(path)
        pixels = np.asarray(picture.to_pil().convert("RGB"))
        exact: CodedPicture | None = None
        for coded in coded_pictures(system, picture, settings.qualities):
            exact = exact or coded  # the PNG comes first
            shown = system.run("reconstruct", coded.latent).to_pil().convert("RGB")
            errors = [
                float(whitenings[name].error(coded.latent.planes[name].float().cpu(), exact.latent.planes[name].cpu()))
                for name in PLANES
            ]
            quality = min(psnr_db(np.asarray(shown), pixels), MAX_DB)
            facts = (_bpp(coded), quality, *errors, _bpp(exact), float(coded.num_bytes > exact.num_bytes))
            rows.setdefault((coded.coding, coded.quality), []).append(facts)
        tell(number + 1, len(files), path.name)
    means = [(key, np.mean(values, axis=0), values) for key, values in rows.items()]
    table = tuple(
        (*key, *(float(value) for value in mean[:5]), int(sum(row[5] for row in values))) for key, mean, values in means
    )
    note = (
        f"Means over {len(files)} pictures: whole files; PSNR of reconstruct against the picture; squared error of "
        "each plane, whitened, by its own power (1: nothing of it is left). AVIF: of no more bytes than ours of that "
        "quality, decoded and encoded to planes again. PNG: the exact planes. larger_than_png: pictures whose file is."
    )
    return Table("rates", _RATES, table, note)


def _whitenings(latents: Sequence[Latent]) -> dict[str, Whitening]:
    """Fitted to cells of exact planes, evenly spread."""
    found = {}
    for name in PLANES:
        cells = [latent.planes[name].float().cpu().flatten(2) for latent in latents]  # (1, n, h w)
        kept = [plane[:, :, :: max(plane.shape[2] // _WHITE_CELLS, 1)] for plane in cells]
        joined: Tensor = torch.cat(kept, dim=2)[:, :, None]  # (1, n, 1, cells)
        found[name] = Whitening(joined.shape[1])
        found[name].fit(joined)
    return found


def _denoise(system: System, settings: RateSettings, tell: Progress) -> Points:
    files = _spread(picture_files(settings.pictures), settings.count)
    points: Points = {}
    for number, path in enumerate(files):
        clean = np.asarray(read_image(path).to_pil().convert("RGB"))
        noise = np.random.default_rng((settings.seed, number)).standard_normal(clean.shape)
        noisy = Image(np.clip(clean + SIGMA * noise + 0.5, 0, 255).astype(np.uint8))
        exact: np.ndarray | None = None
        for coded in coded_pictures(system, noisy, settings.qualities):
            answer = system.run("denoise", coded.latent).pixels
            exact = answer if exact is None else exact
            point = points.setdefault((coded.coding, coded.quality), TaskPoint())
            point.bpp.append(_bpp(coded))
            point.scores.append(psnr_db(answer, clean))
            point.differences.append(min(psnr_db(answer, exact), MAX_DB))
        tell(number + 1, len(files), f"denoise {path.name}")
    return points


def _segment(system: System, settings: RateSettings, tell: Progress) -> Points:
    folder = settings.labelled or Path()
    tree = LabelledTree(folder, "test" if (folder / "test").is_dir() else "val")
    numbers = _spread(range(len(tree)), settings.count)
    points: Points = {}
    for done, number in enumerate(numbers):
        labelled = tree.read(number)
        exact: np.ndarray | None = None
        for coded in coded_pictures(system, labelled.picture, settings.qualities):
            ids = system.run("segment", coded.latent).ids
            exact = ids if exact is None else exact
            point = points.setdefault((coded.coding, coded.quality), TaskPoint())
            point.bpp.append(_bpp(coded))
            point.matrices.append(confusion(ids, labelled.ids, len(CLASSES)))
            point.differences.append(100.0 * float((ids == exact).mean()))
        tell(done + 1, len(numbers), f"segment {labelled.name}")
    return points


def _depth(system: System, settings: RateSettings, tell: Progress) -> Points:
    files = _spread(stereo_files(settings.pairs or Path()), settings.count)
    points: Points = {}
    for number, place in enumerate(files):
        pair = read_pair(place)
        exact: np.ndarray | None = None
        views = (coded_pictures(system, view, settings.qualities) for view in (pair.left, pair.right))
        for left, right in zip(*views, strict=True):
            disparity = system.run("depth", [left.latent, right.latent]).pixels
            exact = disparity if exact is None else exact
            point = points.setdefault((left.coding, left.quality), TaskPoint())
            point.bpp.append((_bpp(left) + _bpp(right)) / 2)
            point.scores.append(100.0 - stereo_score(disparity, pair.disparity).d1_all)
            point.differences.append(float(np.abs(disparity - exact).mean()))
        tell(number + 1, len(files), f"depth {pair.name}")
    return points


def _loss_table(points: dict[str, Points]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for task, of_task in points.items():
        exact = of_task[PNG, "-"].score
        for (coding, quality), point in of_task.items():
            loss = 100.0 * (exact - point.score) / exact if exact > 0 else None
            mean_bpp, difference = float(np.mean(point.bpp)), float(np.mean(point.differences))
            rows.append((task, coding, quality, mean_bpp, point.score, exact, loss, difference))
    note = (
        f"score: denoise, PSNR of the answer against the clean picture in dB, noise of sigma {SIGMA:g} before coding; "
        "segment, mean IoU in percent; depth, percent of pixels that are right (100 - d1_all). exact_score: from exact "
        "planes. loss_percent: of the exact score. difference from the answer of exact planes: PSNR in dB (100: "
        "equal), percent of pixels with the same label, mean end-point difference in px."
    )
    return Table("task loss", _LOSSES, tuple(rows), note)
