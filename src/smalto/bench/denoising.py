"""Denoising in the shared space beside DnCNN on pixels: Gaussian noise, real camera noise, and time.

``python -m smalto.bench.denoising --space RUN --head RUN --pixels RUN --data KODAK --pairs POLYU --speed``: RUN are
folders that ``smalto train`` wrote. Gaussian noise is added to pictures in [0, 1], neither clamped nor rounded; answers
are clamped. PSNR is each picture's, over its three channels; a set's is the mean.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.bench.denoising_speed import BASELINE, speed_table
from smalto.bench.results import BenchResult, Table, bench_result
from smalto.data.noise_pairs import noise_pairs
from smalto.data.photographs import image_tensor, picture_files, read_image
from smalto.errors import UsageError
from smalto.layers.shared_planes import TOP_STRIDE
from smalto.measure.bootstrap import Outcomes, change_interval
from smalto.measure.psnr import psnr_tensor
from smalto.measure.ssim import ssim
from smalto.train.release_heads import read_denoise
from smalto.train.release_raw_space import space_networks
from smalto.train.space_head import FrozenSpace

DEVIATIONS = (15.0, 25.0, 50.0)
NOISY = "noisy"
_COLUMNS = ("noise", "method", "psnr_db", "ssim", "gain_db", "gain_low_db", "gain_high_db")
_COMMAND = "python -m smalto.bench.denoising --space RUN --head RUN --pixels RUN --data KODAK --pairs POLYU"
_PACKAGES = ("smalto", "torch", "numpy", "pillow")
Method = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DenoisingSettings:
    """What to measure.

    Args:
        folder: clean pictures; None leaves Gaussian noise out.
        pairs: folder of ``noise_pairs``; None leaves camera noise out.
        deviations: of Gaussian noise, in 8-bit levels.
        count: pictures and pairs, evenly spread; None takes all.
        seed: of the noise.
    """

    folder: Path | None = None
    pairs: Path | None = None
    deviations: tuple[float, ...] = DEVIATIONS
    count: int | None = None
    seed: int = 0


def space_method(space: FrozenSpace, head: nn.Module) -> Method:
    """Encode, clean the planes, decode."""
    return lambda noisy: space.decoder(head(space.encoder(noisy)))


def bench_denoising(
    methods: Mapping[str, Method],
    settings: DenoisingSettings,
    progress: Callable[[int, int, str], None] | None = None,
) -> BenchResult:
    """Measure methods on clean pictures with noise added, and on pairs.

    Args:
        methods: name -> (1, 3, H, W) noisy to clean, sides multiples of 4; gains are over ``BASELINE`` where it is one.
        settings: pictures and noise.
        progress: called with (pictures done, pictures in all, the last one's name).

    Raises:
        UsageError: there are no methods or no pictures.
    """
    if not methods or (settings.folder is None and settings.pairs is None):
        raise UsageError("denoising: name at least one head, and pictures with --data or --pairs")
    scores: dict[tuple[str, str], list[tuple[float, float]]] = {}
    cases = list(_cases(settings))
    for number, (name, read) in enumerate(cases):
        for noise, noisy, clean in read():
            for method, answer in _answers(methods, noisy):
                scores.setdefault((noise, method), []).append(_quality(answer, clean))
        if progress is not None:
            progress(number + 1, len(cases), name)
    note = (
        f"Means over pictures; gain over {BASELINE} with its 95 % interval (paired bootstrap over pictures). "
        "Gaussian noise by its deviation in 8-bit levels; camera: real photographs against the mean of many shots."
    )
    table = Table("denoising", _COLUMNS, tuple(_rows(scores)), note)
    return bench_result("denoising", _COMMAND, [table], _PACKAGES)


def denoising_text(result: BenchResult) -> str:
    """The result as Markdown."""
    tables = "\n".join(f"{table.to_markdown()}\n{table.note}\n" for table in result.tables)
    return f"# Denoising\n\n{result.heading()}\n{tables}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure runs and write their tables."""
    parser = argparse.ArgumentParser(prog="python -m smalto.bench.denoising", description="denoising")
    parser.add_argument("--space", default=None, help="folder of a neural-space run, weights file or installed system")
    parser.add_argument("--head", type=Path, action="append", default=[], help="run of a head; may be repeated")
    parser.add_argument("--pixels", type=Path, default=None, help="run of DnCNN")
    parser.add_argument("--data", type=Path, default=None, help="folder of clean pictures")
    parser.add_argument("--pairs", type=Path, default=None, help="folder of NAME_real and NAME_mean pictures")
    parser.add_argument("--count", type=int, default=None, help="pictures and pairs, evenly spread")
    parser.add_argument(
        "--speed", action="store_true", help="also, or without heads only, time one picture of 512 x 512"
    )
    parser.add_argument("--json", type=Path, default=None, help="also write the numbers to this file")
    chosen = parser.parse_args(arguments)
    if chosen.head and chosen.space is None:
        raise UsageError("--head: a head reads a space; name its run with --space")
    space = FrozenSpace(*space_networks(chosen.space)) if chosen.space is not None else None
    methods = {f"{type(head).__name__} {run.name}": head for run in chosen.head for head in [read_denoise(run)]}
    ready: dict[str, Method] = {} if space is None else {n: space_method(space, h) for n, h in methods.items()}
    if space is not None:
        ready["space alone"] = lambda noisy: space.decoder(space.encoder(noisy))
    if chosen.pixels is not None:
        ready[BASELINE] = read_denoise(chosen.pixels)  # type: ignore[assignment]
    settings = DenoisingSettings(chosen.data, chosen.pairs, count=chosen.count)
    tables: list[Table] = [] if chosen.speed and not ready else [*bench_denoising(ready, settings, _say).tables]
    if chosen.speed:
        tables.append(speed_table(space))
    result = bench_result("denoising", _COMMAND + (" --speed" if chosen.speed else ""), tables, _PACKAGES)
    if chosen.json is not None:
        result.save(chosen.json)
    sys.stdout.write(denoising_text(result))


def _say(done: int, total: int, name: str) -> None:
    sys.stderr.write(f"{done}/{total} {name}\n")


_Case = tuple[str, Callable[[], Iterator[tuple[str, Tensor, Tensor]]]]


def _cases(settings: DenoisingSettings) -> Iterator[_Case]:
    """Each picture's name, and what gives (noise, noisy, clean) of it, (1, 3, H, W) each."""
    if settings.folder is not None:
        for number, path in enumerate(_spread(picture_files(settings.folder), settings.count)):
            yield path.name, lambda path=path, number=number: _with_noise(path, settings, number)
    if settings.pairs is not None:
        for pair in _spread(noise_pairs(settings.pairs), settings.count):

            def read(pair=pair):  # type: ignore[no-untyped-def]
                noisy, clean = pair.read()
                yield "camera", image_tensor(noisy), image_tensor(clean)

            yield pair.name, read


def _with_noise(path: Path, settings: DenoisingSettings, number: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    clean = image_tensor(read_image(path))
    for deviation in settings.deviations:
        generator = np.random.default_rng((settings.seed, number, round(deviation * 1000)))
        noise = torch.from_numpy(generator.standard_normal(tuple(clean.shape), dtype=np.float32))
        yield f"{deviation:g}", clean + deviation / 255 * noise, clean


def _spread(items: Sequence, count: int | None) -> Sequence:  # type: ignore[type-arg]
    return items if count is None else items[:: max(len(items) // count, 1)][:count]


@torch.inference_mode()
def _answers(methods: Mapping[str, Method], noisy: Tensor) -> Iterator[tuple[str, Tensor]]:
    """What each method makes of a picture of any size, after the noisy picture itself."""
    height, width = noisy.shape[2:]
    padded = F.pad(noisy, (0, -width % TOP_STRIDE, 0, -height % TOP_STRIDE), mode="replicate")
    yield NOISY, noisy
    for name, method in methods.items():
        yield name, method(padded)[:, :, :height, :width]


def _quality(answer: Tensor, clean: Tensor) -> tuple[float, float]:
    shown = answer.float().clamp(0, 1)
    return float(psnr_tensor(shown, clean)), float(ssim(shown, clean))


def _rows(scores: Mapping[tuple[str, str], list[tuple[float, float]]]) -> Iterator[tuple[str | float | None, ...]]:
    for (noise, method), values in scores.items():
        psnr, similarity = (float(mean) for mean in np.mean(values, axis=0))
        baseline = scores.get((noise, BASELINE))
        gain: tuple[float | None, ...] = (None, None, None)
        if baseline is not None and method not in (NOISY, BASELINE):
            before, after = (Outcomes(np.array([row[0] for row in rows])) for rows in (baseline, values))
            gain = (after.score - before.score, *change_interval(before, after))
        yield noise, method, psnr, similarity, *gain


if __name__ == "__main__":
    main()
