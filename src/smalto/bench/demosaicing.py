"""Demosaicing: ``python -m smalto.bench.demosaicing --data FOLDER [--space RUN --raw RUN]``.

Pictures are mosaicked, demosaicked and compared with themselves. Ours is the RAW encoder of the shared neural space
followed by the space's frozen decoder; beside it the decoder behind the encoder of whole pictures, which is the most
that the RAW encoder can reach, and classical methods from a kept library.

CPSNR: 10 log10(1 / MSE) over the three channels together, answers clipped to [0, 1] and not rounded, ``border_px``
pixels on each side left out, since methods treat borders differently; the mean over pictures. With 5 px and RGGB the
classical methods give 30.29, 35.82 and 39.33 dB on Kodak; with no border left out 29.21, 35.36 and 39.24.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.bench.peers.demosaicing import METHODS, PACKAGE, Demosaicer, peer_demosaicer
from smalto.bench.results import BenchResult, Table, bench_result
from smalto.data.photographs import image_tensor, picture_files, read_image
from smalto.errors import MissingExtra, UsageError
from smalto.layers.bayer import PATTERNS, mosaic_of, to_rggb
from smalto.layers.shared_planes import TOP_STRIDE
from smalto.measure.psnr import psnr_db
from smalto.train.release_raw_space import raw_encoder_of, space_networks

OURS = "RAW encoder + decoder"
CEILING = "decoder, of the whole picture"
_COLUMNS = ("method", "layout", "cpsnr_db", "whole_cpsnr_db", "seconds")


@dataclass(frozen=True)
class DemosaicSettings:
    """What to measure.

    Args:
        folder: of pictures.
        layouts: CFA patterns of the mosaics.
        border_px: left out on each side.
        count: of pictures, evenly spread over the folder; None takes all.
    """

    folder: Path
    layouts: tuple[str, ...] = ("RGGB",)
    border_px: int = 5
    count: int | None = None

    def __post_init__(self) -> None:
        if not self.layouts or not set(self.layouts) <= set(PATTERNS):
            raise UsageError(f"layouts {', '.join(self.layouts)} are not among {', '.join(PATTERNS)}")
        if self.border_px < 0 or (self.count is not None and self.count < 1):
            raise UsageError("border_px must be 0 or more, count 1 or more")


def network_demosaicer(encoder: nn.Module, decoder: nn.Module) -> Demosaicer:
    """RAW encoder and decoder of the shared space; any layout is padded to RGGB and the answer cropped.

    Args:
        encoder: (1, 1, H, W) RGGB to planes.
        decoder: planes to (1, 3, H, W).
    """

    @torch.no_grad()
    def demosaiced(mosaic: np.ndarray, pattern: str) -> np.ndarray:
        padded = to_rggb(torch.from_numpy(mosaic).float()[None, None], pattern, TOP_STRIDE)
        picture = padded.cropped(decoder(encoder(padded.values)))  # (1, 3, H, W)
        return picture[0].permute(1, 2, 0).double().numpy()

    return demosaiced


def bench_demosaicing(
    settings: DemosaicSettings,
    networks: tuple[nn.Module, nn.Module, nn.Module] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> BenchResult:
    """Measure every method on a folder.

    Args:
        settings: pictures, layouts and border.
        networks: RAW encoder, encoder of pictures and decoder; None measures the classical methods alone.
        progress: called with (pictures done, pictures in all, the last one's name).

    Returns:
        Tables ``demosaicing`` (means) and ``pictures`` (CPSNR of each, first layout). A method whose library is not
        installed has no numbers.

    Raises:
        UsageError: the folder has no pictures.
    """
    files = _chosen(picture_files(settings.folder), settings.count)
    methods, missing = installed_peers()
    if networks is not None:
        methods[OURS] = network_demosaicer(networks[0], networks[2])
    scores: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    ceilings: list[tuple[float, float, float]] = []
    for number, path in enumerate(files):
        picture = image_tensor(read_image(path))
        truth = _pixels(picture)
        for layout in settings.layouts:
            mosaic = mosaic_of(picture, layout)[0, 0].double().numpy()
            for name, method in methods.items():
                scores.setdefault((name, layout), []).append(_score(method, mosaic, layout, truth, settings.border_px))
        if networks is not None:
            ceilings.append(_score(_whole(networks[1], networks[2], picture), truth, "", truth, settings.border_px))
        if progress is not None:
            progress(number + 1, len(files), path.name)
    if ceilings:
        scores[CEILING, "-"] = ceilings
    tables = [_means(scores, missing, settings, len(files)), _each(scores, files, settings.layouts[0])]
    command = f"python -m smalto.bench.demosaicing --data {settings.folder.name} --layouts {','.join(settings.layouts)}"
    if networks is not None:
        command += " --space RUN --raw RUN"
    return bench_result("demosaicing", command, tables, ("smalto", "torch", "numpy", PACKAGE))


def cpsnr_db(answer: np.ndarray, truth: np.ndarray, border_px: int) -> float:
    """CPSNR of (H, W, 3) pictures in [0, 1] without their borders; at most 100 dB.

    Raises:
        UsageError: nothing is left.
    """
    inner = tuple(slice(border_px, side - border_px) for side in truth.shape[:2])
    if truth[inner].size == 0:
        raise UsageError(f"a picture of {truth.shape[0]} x {truth.shape[1]} has nothing inside {border_px} px borders")
    return min(psnr_db(np.clip(answer[inner], 0.0, 1.0), truth[inner]), 100.0)


def demosaicing_text(result: BenchResult) -> str:
    """The result as Markdown."""
    means = result.table("demosaicing")
    return f"# Demosaicing\n\n{result.heading()}\n{means.to_markdown(2)}\n{means.note}\n"


def installed_peers() -> tuple[dict[str, Demosaicer], tuple[str, ...]]:
    """Methods that are installed, names of those that are not."""
    found: dict[str, Demosaicer] = {}
    for name in METHODS:
        try:
            found[name] = peer_demosaicer(name)
        except MissingExtra:
            continue
    return found, tuple(name for name in METHODS if name not in found)


def _score(
    method: Demosaicer, mosaic: np.ndarray, layout: str, truth: np.ndarray, border_px: int
) -> tuple[float, float, float]:
    start = time.perf_counter()
    answer = method(mosaic, layout)
    seconds = time.perf_counter() - start
    return cpsnr_db(answer, truth, border_px), cpsnr_db(answer, truth, 0), seconds


def _whole(encoder: nn.Module, decoder: nn.Module, picture: Tensor) -> Demosaicer:
    """Has the whole picture (1, 3, H, W) instead of its mosaic."""

    @torch.no_grad()
    def decoded(_mosaic: np.ndarray, _pattern: str) -> np.ndarray:
        height, width = picture.shape[-2:]
        padded = F.pad(picture, (0, -width % TOP_STRIDE, 0, -height % TOP_STRIDE), mode="replicate")
        return _pixels(decoder(encoder(padded))[..., :height, :width])

    return decoded


def _pixels(picture: Tensor) -> np.ndarray:
    return picture[0].permute(1, 2, 0).double().numpy()


def _means(
    scores: Mapping[tuple[str, str], Sequence[tuple[float, float, float]]],
    missing: Sequence[str],
    settings: DemosaicSettings,
    num_pictures: int,
) -> Table:
    rows: list[tuple[str | float | None, ...]] = [
        (name, layout, *(float(value) for value in np.mean(values, axis=0)))
        for (name, layout), values in scores.items()
    ]
    rows += [(name, layout, None, None, None) for name in missing for layout in settings.layouts]
    note = (
        f"Means over {num_pictures} pictures. cpsnr_db leaves {settings.border_px} px on each side out, "
        "whole_cpsnr_db nothing; answers are clipped, not rounded; seconds a picture."
    )
    if missing:
        note += f" Not installed: {', '.join(missing)} (pip install {PACKAGE})."
    return Table("demosaicing", _COLUMNS, tuple(rows), note)


def _each(
    scores: Mapping[tuple[str, str], Sequence[tuple[float, float, float]]], files: Sequence[Path], layout: str
) -> Table:
    names = [key for key in scores if key[1] in (layout, "-")]
    rows = tuple((path.name, *(scores[key][k][0] for key in names)) for k, path in enumerate(files))
    return Table("pictures", ("picture", *(name for name, _ in names)), rows, f"cpsnr_db of each picture, {layout}.")


def _chosen(files: Sequence[Path], count: int | None) -> list[Path]:
    if count is None or count >= len(files):
        return list(files)
    return [files[k * len(files) // count] for k in range(count)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m smalto.bench.demosaicing", description="demosaicing of mosaics")
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--layouts", default="RGGB", help="CFA patterns, commas between; or all")
    parser.add_argument("--border", type=int, default=5, help="pixels left out on each side")
    parser.add_argument("--count", type=int, default=None, help="pictures, evenly spread over the folder")
    parser.add_argument("--space", default=None, help="neural-space run or system, for its encoder and decoder")
    parser.add_argument("--raw", default=None, help="neural-space-raw run")
    parser.add_argument("--json", type=Path, default=None, help="also write the numbers to this file")
    chosen = parser.parse_args(arguments)
    if (chosen.space is None) != (chosen.raw is None):
        raise UsageError("--space and --raw go together: the decoder is of one run, the RAW encoder of the other")
    networks = None
    if chosen.space is not None:
        encoder, decoder = space_networks(chosen.space)
        networks = (raw_encoder_of(chosen.raw, decoder).eval(), encoder.eval(), decoder.eval())
    layouts = PATTERNS if chosen.layouts == "all" else tuple(chosen.layouts.upper().split(","))
    result = bench_demosaicing(DemosaicSettings(chosen.data, layouts, chosen.border, chosen.count), networks, _say)
    if chosen.json is not None:
        result.save(chosen.json)
    sys.stdout.write(demosaicing_text(result))


def _say(done: int, total: int, name: str) -> None:
    sys.stderr.write(f"{done}/{total} {name}\n")


if __name__ == "__main__":
    main()
