"""One encoding for several tasks, as a user pays for it, beside pipelines that each read pixels.

::

    planes   view ─► encoder ─┬► denoise ─► decoder        pixels   view ─► DnCNN
             (or a stored     ├► segment                            view ─► PIDNet
              file's planes)  └► depth, of two views               views ─► stereo

Math: with E seconds for the planes of one view, P for its pixels, v views, and for a task h seconds on planes and p on
pixels, N tasks are cheaper on planes from ``N = floor(v (E - P) / (p - h)) + 1``, and never where p <= h and E >= P.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from smalto.bench.results import Cell, Table
from smalto.bench.space_costs import on_device, picture_like, planes_like
from smalto.bench.space_speed import described, multiply_adds, seconds_in_turns, shapes_only
from smalto.data.segmentation import CLASSES
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.heads.denoise import Denoiser, LightDenoiser
from smalto.heads.pixel_denoise import PixelDenoiser
from smalto.heads.segment import PixelSegmenter, Segmenter, class_ids
from smalto.heads.shared_decoder import SharedDecoder
from smalto.heads.stereo import SIZES, PixelStereo, StereoHead
from smalto.measure.classical import AVIF
from smalto.systems.engine import Engine
from smalto.systems.system import System
from smalto.types import Image

ENCODER, STORED = "the encoder", "a stored file"
TASKS = ("denoise", "segment", "depth")
COPIES = (1, 2, 3, 5, 10, 100, 1000)
LARGE = "segment, size L"
NOT_REACHED = "not reached: a task saves nothing"
_DENOISE = {"denoise": LightDenoiser, "denoise, exact head": Denoiser}
Calls = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class TaskCost:
    """One task, in seconds or in multiply-adds.

    Args:
        task: its name.
        on_planes: from planes that are there, with the decoder where the answer is a picture.
        on_pixels: from pixels that are there.
        num_views: whose planes or pixels it reads.
    """

    task: str
    on_planes: float
    on_pixels: float
    num_views: int = 1

    @property
    def saving(self) -> float:
        """Of the planes, once they are there."""
        return self.on_pixels - self.on_planes


@dataclass(frozen=True)
class SourceCost:
    """What a view costs before the first task.

    Args:
        name: where planes come from.
        planes: of one view.
        pixels: of the same view, in the pipelines on pixels.
    """

    name: str
    planes: float
    pixels: float = 0.0


@dataclass(frozen=True)
class SharingCosts:
    """Everything that the tables are computed from.

    Args:
        sources: in seconds.
        tasks: in seconds.
        source_work: of the encoder, in multiply-adds.
        task_work: in multiply-adds.
        decoder_s: decoder alone, part of ``denoise`` on planes.
    """

    sources: tuple[SourceCost, ...]
    tasks: tuple[TaskCost, ...]
    source_work: SourceCost
    task_work: tuple[TaskCost, ...]
    decoder_s: float


def measure_sharing(
    engine: Engine,
    size: tuple[int, int],
    rounds: int,
    stored: tuple[System, Image] | None = None,
    with_large: bool = True,
) -> SharingCosts:
    """Time everything once more together, taking turns.

    Args:
        engine: where networks run.
        size: height and width in pixels, multiples of 4.
        rounds: of taking turns.
        stored: a system and a picture of that size whose file is read; None leaves stored files out.
        with_large: segmentation of size L too, the one of the paper's figures.
    """
    calls = {**_calls(size, engine.device, with_large), **({} if stored is None else _file_calls(*stored))}
    taken = {name: float(np.median(each)) for name, each in seconds_in_turns(calls, rounds, engine).items()}
    sources = [SourceCost(ENCODER, taken["encoder"])]
    if stored is not None:
        sources.append(SourceCost(STORED, taken["planes of a file"], taken["pixels of a file"]))
    with shapes_only():
        work = {name: multiply_adds(call) for name, call in _calls(size, None, with_large).items()}
    return SharingCosts(
        tuple(sources), _tasks(taken), SourceCost(ENCODER, work["encoder"]), _tasks(work), taken["decoder"]
    )


def break_even(source: SourceCost, tasks: Sequence[TaskCost]) -> int | None:
    """Rounds of these tasks from which on planes are cheaper than pixels; None when never.

    Example:
        >>> break_even(SourceCost("encoder", 3.0), [TaskCost("segment", 1.0, 2.0)])
        4
    """
    views = max(task.num_views for task in tasks)
    before, saving = views * (source.planes - source.pixels), sum(task.saving for task in tasks)
    if before < saving:
        return 1
    return math.floor(before / saving) + 1 if saving > 0 else None


def spent(source: SourceCost, tasks: Sequence[TaskCost]) -> tuple[float, float]:
    """Cost of tasks on the views of one scene: on planes, each view encoded once, and on pixels."""
    views = max(task.num_views for task in tasks)
    on_planes = views * source.planes + sum(task.on_planes for task in tasks)
    return on_planes, views * source.pixels + sum(task.on_pixels for task in tasks)


def sharing_tables(costs: SharingCosts, settings: str) -> list[Table]:
    """Tables ``shared encoding``, ``orders``, ``copies`` and ``break even``.

    Args:
        costs: measured.
        settings: size, device and rounds, for the notes.
    """
    trio = [task for task in costs.tasks if task.task in TASKS]
    return [
        _parts_table(costs, trio, settings),
        _order_table(costs, trio),
        _copies_table(costs),
        _break_even_table(costs, trio),
    ]


def bench_sharing(
    engine: Engine,
    size: tuple[int, int],
    rounds: int,
    stored: tuple[System, Image] | None = None,
    with_large: bool = True,
) -> list[Table]:
    """Measure, and tabulate; see ``measure_sharing`` and ``sharing_tables``."""
    settings = f"{size[1]} x {size[0]}, {described(engine)}, median of {rounds} rounds; untrained networks"
    return sharing_tables(measure_sharing(engine, size, rounds, stored, with_large), settings)


def _tasks(cost: Mapping[str, float]) -> tuple[TaskCost, ...]:
    twins = {**dict.fromkeys(_DENOISE, "DnCNN"), "segment": "PIDNet", LARGE: "PIDNet L", "depth": "stereo"}
    return tuple(
        TaskCost(task, cost[task], cost[twin], 1 + (task == "depth")) for task, twin in twins.items() if task in cost
    )


def _calls(size: tuple[int, int], device: torch.device | None, with_large: bool) -> Calls:
    """Networks of both kinds on one scene, untrained."""
    built: dict[str, nn.Module] = {
        "encoder": SharedEncoder(),
        "decoder": SharedDecoder(),
        **{name: kind() for name, kind in _DENOISE.items()},
        "segment": Segmenter("s", len(CLASSES)),
        "depth": StereoHead(SIZES["S"]),
        "DnCNN": PixelDenoiser() if device is None else PixelDenoiser().eval().folded(),
        "PIDNet": PixelSegmenter("s", len(CLASSES)),
        "stereo": PixelStereo(SIZES["S"]),
    }
    if with_large:
        built |= {LARGE: Segmenter("l", len(CLASSES)), "PIDNet L": PixelSegmenter("l", len(CLASSES))}
    net = {name: on_device(network, device) for name, network in built.items()}
    x, planes = picture_like(*size, device), planes_like(*size, device)
    calls: Calls = {
        "encoder": lambda: net["encoder"](x),
        "decoder": lambda: net["decoder"](planes),
        "depth": lambda: net["depth"](planes, planes),
        "DnCNN": lambda: net["DnCNN"](x),
        "stereo": lambda: net["stereo"](x, x),
    }
    for name, given in (("segment", planes), ("PIDNet", x), (LARGE, planes), ("PIDNet L", x)):
        if name in net:
            calls[name] = lambda name=name, given=given: class_ids(net[name](given), *size)
    return calls | {task: lambda task=task: net["decoder"](net[task](planes)) for task in _DENOISE}


def _file_calls(system: System, picture: Image) -> Calls:
    """Planes of a stored file, and pixels of an AVIF file of no more bytes."""
    pixels = np.asarray(picture.to_pil().convert("RGB"))
    data = system.encode(picture).to_bytes()
    beside = AVIF.encode_to_size(pixels, max(len(data), len(AVIF.encode(pixels, AVIF.qualities[0]))))
    return {"planes of a file": lambda: system.latent(data), "pixels of a file": lambda: AVIF.decode(beside.data)}


def _parts_table(costs: SharingCosts, trio: Sequence[TaskCost], settings: str) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (f"a view from {source.name}", source.planes, source.pixels, source.planes - source.pixels)
        for source in costs.sources
    ]
    rows += [(task.task, task.on_planes, task.on_pixels, -task.saving) for task in costs.tasks]
    for source in costs.sources:
        for several in (trio[:2], trio):
            on_planes, on_pixels = spent(source, several)
            name = f"{' + '.join(task.task for task in several)} from {source.name}"
            rows.append((name, on_planes, on_pixels, on_planes - on_pixels))
    note = (
        f"Seconds; {settings}. denoise: light head, and the decoder ({costs.decoder_s:.3f} s of it), against DnCNN "
        "with its norms folded; segment: PIDNet S; depth: stereo S of two views, hence two encodings. A stored file: "
        "its planes at medium quality, against an AVIF of no more bytes decoded to pixels."
    )
    return Table("shared encoding", ("what", "planes_s", "pixels_s", "difference_s"), tuple(rows), note)


def _order_table(costs: SharingCosts, trio: Sequence[TaskCost]) -> Table:
    counts = range(1, len(trio) + 1)
    columns = ("planes_from", "order", *(f"{kind}_{k}_s" for k in counts for kind in ("planes", "pixels")))
    rows = []
    for source in costs.sources:
        for order in itertools.permutations(trio):
            sums = [value for k in counts for value in spent(source, order[:k])]
            rows.append((source.name, ", ".join(task.task for task in order), *sums))
    note = (
        "Seconds in all after the first, the first two and all three tasks; a second view is encoded when depth comes."
    )
    return Table("orders", columns, tuple(rows), note)


def _copies_table(costs: SharingCosts) -> Table:
    rows = []
    for source in costs.sources:
        for task in costs.tasks:
            ratios = [on_planes / on_pixels for on_planes, on_pixels in (spent(source, [task] * n) for n in COPIES)]
            rows.append((source.name, task.task, *ratios))
    note = "Time on planes by time on pixels when N tasks of one kind read the same views; below 1 planes are cheaper."
    return Table("copies", ("planes_from", "task", *(f"n_{number}" for number in COPIES)), tuple(rows), note)


def _break_even_table(costs: SharingCosts, trio: Sequence[TaskCost]) -> Table:
    work = {task.task: task for task in costs.task_work}
    rows: list[tuple[Cell, ...]] = []
    for source in costs.sources:
        for several in (*([task] for task in costs.tasks), trio):
            views = max(task.num_views for task in several)
            count, saving = len(several), sum(task.saving for task in several) / len(several)
            name = several[0].task if count == 1 else "the mean of " + ", ".join(task.task for task in several)
            by_work = break_even(costs.source_work, [work[task.task] for task in several])
            rows.append(
                (
                    source.name,
                    name,
                    views * (source.planes - source.pixels),
                    saving,
                    _shown(break_even(source, several), count),
                    _shown(by_work, count) if source.name == ENCODER else None,
                )
            )
    note = (
        "From how many tasks on one encoding is cheaper than pipelines on pixels: seconds before the first task by the "
        "seconds that a task saves; of three kinds, tasks are counted in threes. By multiply-adds the same without any "
        "machine; they tell nothing of a file's entropy decoding."
    )
    columns = ("planes_from", "task", "before_s", "saving_a_task_s", "tasks", "tasks_by_multiply_adds")
    return Table("break even", columns, tuple(rows), note)


def _shown(rounds: int | None, tasks_a_round: int) -> str:
    return NOT_REACHED if rounds is None else str(rounds * tasks_a_round)
