"""Everything that is measured of the shared neural space, in one report: ``smalto bench neural-space``.

Each suite is a function that other modules have too; what lacks its data or its networks is skipped, and table
``suites`` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from smalto.bench.demosaicing import DemosaicSettings, bench_demosaicing
from smalto.bench.denoising import DenoisingSettings, Method, bench_denoising, space_method
from smalto.bench.denoising_speed import BASELINE
from smalto.bench.raw_space import RawNetworks, bench_raw_space
from smalto.bench.results import BenchResult, Table, bench_result
from smalto.bench.segmentation import Networks, SegmentationSettings, bench_segmentation
from smalto.bench.shared_space import SharedSpaceSettings, bench_shared_space
from smalto.bench.similarity import Embedding, SimilaritySettings, bench_similarity, pixels
from smalto.bench.space_costs import CostSettings, cost_table
from smalto.bench.space_rates import QUALITIES, RateSettings, rate_tables
from smalto.bench.space_raw import RawTasks, raw_task_table
from smalto.bench.space_sharing import bench_sharing
from smalto.bench.space_sources import Absent, SpaceSources
from smalto.bench.space_speed import SpaceSpeedSettings, space_speed_table
from smalto.bench.stereo import bench_stereo, sgbm_methods
from smalto.data.photographs import picture_files, read_image
from smalto.errors import MissingExtra, UsageError
from smalto.systems.engine import Engine
from smalto.systems.shared_space import SharedSpace
from smalto.systems.system import System
from smalto.types import Image

_Part = TypeVar("_Part")
Progress = Callable[[int, int, str], None]
Counter = Callable[[str], AbstractContextManager[Progress]]
_PACKAGES = ("smalto", "torch", "numpy", "pillow", "opencv-python-headless", "colour-demosaicing")


@dataclass(frozen=True)
class NeuralSpaceSettings:
    """What to measure.

    Args:
        sources: networks.
        data: folder of kodak/, camvid/, middlebury/ and polyu/; None leaves out what needs data.
        suites: names of ``SUITES``.
        speed: time denoising at 512 x 512 as well.
        count: pictures of each data set, evenly spread; None takes all.
        qualities: of ours, for the rates.
        rounds: of times; None takes each suite's own number.
        quick: sizes M and L of heads are counted and not timed.
        cost_sizes: (height, width) of the times; the first one for what sharing an encoding saves.
        speed_side_px: of the square picture of ``speed``.

    Raises:
        UsageError: a suite that is none, or nothing to measure.
    """

    sources: SpaceSources = field(default_factory=SpaceSources)
    data: Path | None = None
    suites: tuple[str, ...] = ()
    speed: bool = False
    count: int | None = None
    qualities: tuple[float, ...] = QUALITIES
    rounds: int | None = None
    quick: bool = False
    cost_sizes: tuple[tuple[int, int], ...] = ((720, 1280), (1080, 1920))
    speed_side_px: int = 512

    def __post_init__(self) -> None:
        unknown = [name for name in self.suites if name not in SUITES]
        if unknown or not (self.suites or self.speed):
            raise UsageError(f"--only {','.join(unknown)}: no such suite; choose of {', '.join(SUITES)}")
        if self.count is not None and self.count < 1:
            raise UsageError(f"--count {self.count}: must be 1 or more")

    def folder(self, name: str) -> Path:
        """A data set's folder. Raises Absent."""
        if self.data is None:
            raise Absent(f"no data folder is named; --data DIR, with {name}/ in it")
        if not (self.data / name).exists():
            raise Absent(f"no {name} in the data folder")
        return self.data / name

    def optional(self, name: str) -> Path | None:
        """A data set's folder, where there is one."""
        return self.data / name if self.data is not None and (self.data / name).exists() else None

    def engine(self) -> Engine:
        """Where networks are timed."""
        return Engine.on(self.sources.device, self.sources.dtype)

    def command(self) -> str:
        """The command line that measures this."""
        words = ["smalto bench neural-space", f"--system {self.sources.system}"]
        if self.data is not None:
            words.append("--data DATA")
        if self.suites and (self.speed or self.suites != tuple(SUITES)):
            words.append(f"--only {','.join(self.suites)}")
        flags = (("--speed", self.speed), ("--quick", self.quick))
        words += [flag for flag, given in flags if given]
        words += [f"--run {part}=RUN" for part, runs in self.sources.runs.items() for _ in runs]
        numbers = (("--count", self.count), ("--rounds", self.rounds))
        words += [f"{option} {number}" for option, number in numbers if number is not None]
        if self.qualities != QUALITIES:
            words.append(f"--qualities {','.join(f'{quality:g}' for quality in self.qualities)}")
        if self.sources.dtype is not None:
            words.append(f"--dtype {str(self.sources.dtype).removeprefix('torch.')}")
        return " ".join([*words, *([f"--device {self.sources.device}"] if self.sources.device != "cpu" else [])])


def measure(
    settings: NeuralSpaceSettings,
    counter: Counter | None = None,
    finished: Callable[[BenchResult], None] | None = None,
) -> BenchResult:
    """Every suite that can be run.

    Args:
        settings: what to measure.
        counter: gives, for a suite's name, a context of its progress.
        finished: called with all there is after each suite, so that a long run is not lost.

    Returns:
        Table ``suites``, and the tables of every suite under ``SUITE TABLE``.

    Raises:
        UsageError: not one suite could be run.
        WeightsError, ImageError: networks or pictures are there and damaged.
    """
    suites: dict[str, Suite] = {name: SUITES[name] for name in settings.suites}
    if settings.speed:
        suites["speed"] = _speed
    states: list[tuple[str, str, str]] = []
    tables: list[Table] = []
    for name, suite in suites.items():
        with (counter or _silent)(name) as tell:
            try:
                found = suite(settings, tell)
            except (Absent, MissingExtra) as reason:
                states.append((name, "skipped", str(reason)))
                continue
        states.append((name, "measured", ", ".join(table.name for table in found)))
        tables += [replace(table, name=f"{name}: {table.name}") for table in found]
        if finished is not None:
            finished(_result(settings, states, tables))
    if not tables:
        raise UsageError("nothing to measure: " + "; ".join(f"{name}: {reason}" for name, _, reason in states))
    return _result(settings, states, tables)


def _result(settings: NeuralSpaceSettings, states: list[tuple[str, str, str]], tables: list[Table]) -> BenchResult:
    note = "What was measured, with its tables, and what was skipped, with its reason."
    first = Table("suites", ("suite", "state", "what"), tuple(states), note)
    return bench_result("neural-space", settings.command(), [first, *tables], _PACKAGES)


@contextmanager
def _silent(_name: str) -> Iterator[Progress]:
    yield lambda done, total, what: None


# -- suites ------------------------------------------------------------------------------------------------------------


def _reconstruction(settings: NeuralSpaceSettings, tell: Progress) -> list[Table]:
    wanted = SharedSpaceSettings(settings.folder("kodak"), 0, settings.count)
    return list(bench_shared_space(_shared(settings), wanted, tell).tables)


def _equivariance(settings: NeuralSpaceSettings, tell: Progress) -> list[Table]:
    wanted = SharedSpaceSettings(settings.folder("kodak"), 1, settings.count)
    return [bench_shared_space(_shared(settings), wanted, tell).table("equivariance")]


def _shared(settings: NeuralSpaceSettings) -> SharedSpace:
    space = settings.sources.space()
    return SharedSpace(space.encoder, space.decoder, settings.engine())


def _demosaicing(settings: NeuralSpaceSettings, tell: Progress) -> list[Table]:
    kodak, space = settings.folder("kodak"), settings.sources.space()
    networks = (settings.sources.raw_encoder(), space.encoder, space.decoder)
    return list(bench_demosaicing(DemosaicSettings(kodak, count=settings.count), networks, tell).tables)


def _raw(settings: NeuralSpaceSettings, tell: Progress) -> list[Table]:
    kodak, space = settings.folder("kodak"), settings.sources.space()
    networks = RawNetworks(settings.sources.raw_encoder(), space.encoder, space.decoder)
    tables = list(bench_raw_space(kodak, networks, progress=tell, count=settings.count).tables)
    sources = settings.sources
    denoisers, segmenters, stereo = (
        _or_none(sources.denoisers),
        _or_none(sources.segmenters),
        _or_none(sources.stereo),
    )
    tasks = RawTasks(
        denoise=next(iter(denoisers.values())) if denoisers else None,
        pictures=kodak,
        segment=segmenters[0] if segmenters else None,
        labelled=settings.optional("camvid"),
        stereo=stereo[0] if stereo else None,
        pairs=settings.optional("middlebury"),
        count=settings.count,
    )
    found = raw_task_table(networks, tasks)
    return [*tables, found] if found.rows else tables


def _or_none(part: Callable[[], _Part]) -> _Part | None:
    try:
        return part()
    except Absent:
        return None


def _denoise(settings: NeuralSpaceSettings, tell: Progress) -> list[Table]:
    clean, pairs = settings.optional("kodak"), settings.optional("polyu")
    if clean is None and pairs is None:
        settings.folder("kodak")
    space, heads = settings.sources.space(), settings.sources.denoisers()
    methods: dict[str, Method] = {name: space_method(space, head) for name, head in heads.items()}
    methods["space alone"] = lambda noisy: space.decoder(space.encoder(noisy))
    twin = settings.sources.pixel_denoiser()
    if twin is not None:
        methods[BASELINE] = twin
    return list(bench_denoising(methods, DenoisingSettings(clean, pairs, count=settings.count), tell).tables)


def _segment(settings: NeuralSpaceSettings, tell: Progress) -> list[Table]:
    camvid, sources = settings.folder("camvid"), settings.sources
    networks = Networks(sources.space(), sources.segmenters(), sources.pixel_segmenters())
    return list(bench_segmentation(networks, SegmentationSettings(camvid, count=settings.count), tell).tables)


def _stereo(settings: NeuralSpaceSettings, tell: Progress) -> list[Table]:
    pairs, methods = settings.folder("middlebury"), settings.sources.stereo_methods()
    if find_spec("cv2") is not None:
        methods += sgbm_methods()
    return list(bench_stereo(methods, pairs, tell, settings.count).tables)


def _similarity(settings: NeuralSpaceSettings, tell: Progress) -> list[Table]:
    views, sources = settings.folder("middlebury"), settings.sources
    embeddings: dict[str, Embedding] = {"pixels": pixels, "shared space": sources.space().encoder}
    embeddings |= _pixel_embeddings(sources)
    return list(bench_similarity(embeddings, SimilaritySettings(views, count=settings.count), tell).tables)


def _pixel_embeddings(sources: SpaceSources) -> Mapping[str, Embedding]:
    """What task networks on pixels make of a picture where those on planes take the space's: their first layers."""
    found: dict[str, Embedding] = {}
    denoiser, segmenters, stereo = sources.pixel_denoiser(), sources.pixel_segmenters(), sources.pixel_stereo()
    if denoiser is not None:
        found["DnCNN on pixels, first layer"] = lambda x: (denoiser.layers[:2](x),)
    if segmenters:
        found["PIDNet on pixels, what z_b replaces"] = lambda x: (segmenters[0].enter(x),)
    if stereo is not None:
        found["stereo on pixels, its stem's planes"] = stereo.stem
    return found


def _rates(settings: NeuralSpaceSettings, tell: Progress) -> list[Table]:
    kodak, system = settings.folder("kodak"), settings.sources.codec_system()
    camvid, pairs = settings.optional("camvid"), settings.optional("middlebury")
    return rate_tables(system, RateSettings(kodak, camvid, pairs, settings.qualities, settings.count), tell)


def _costs(settings: NeuralSpaceSettings, tell: Progress) -> list[Table]:
    engine, rounds, size = settings.engine(), settings.rounds or 3, settings.cost_sizes[0]
    tell(0, 2, "every network")
    networks = cost_table(CostSettings(engine, settings.cost_sizes, rounds, settings.quick))
    tell(1, 2, "one encoding for several tasks")
    tables = bench_sharing(engine, size, rounds, _stored(settings, size), not settings.quick)
    tell(2, 2, "done")
    return [networks, *tables]


def _stored(settings: NeuralSpaceSettings, size: tuple[int, int]) -> tuple[System, Image] | None:
    """A system and a photograph of that size, where there are both."""
    from PIL import Image as Pil

    kodak = settings.optional("kodak")
    try:
        system = settings.sources.codec_system()
    except Absent:
        return None
    if kodak is None:
        return None
    picture = read_image(picture_files(kodak)[0]).to_pil().convert("RGB")
    return system, Image(np.asarray(picture.resize((size[1], size[0]), Pil.Resampling.BICUBIC)))


def _speed(settings: NeuralSpaceSettings, tell: Progress) -> list[Table]:
    tell(0, 1, f"{settings.speed_side_px} px")
    wanted = SpaceSpeedSettings(settings.engine(), settings.speed_side_px, settings.rounds or 15)
    with torch.inference_mode():
        return [space_speed_table(wanted)]


Suite = Callable[[NeuralSpaceSettings, Progress], list[Table]]
SUITES: dict[str, Suite] = {
    "reconstruction": _reconstruction,
    "equivariance": _equivariance,
    "demosaicing": _demosaicing,
    "raw": _raw,
    "denoise": _denoise,
    "segment": _segment,
    "stereo": _stereo,
    "similarity": _similarity,
    "rates": _rates,
    "costs": _costs,
}
