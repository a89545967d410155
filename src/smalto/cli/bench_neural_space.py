"""``smalto bench neural-space``: the shared neural space, its tasks, its codecs and what it all costs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smalto.cli.bench_features import JsonFile
from smalto.cli.datasets import DATA_VARIABLE, find_data
from smalto.cli.options import Device
from smalto.errors import UsageError

if TYPE_CHECKING:
    import torch

    from smalto.cli.progress import Reporter

DTYPES = ("float32", "bfloat16", "auto")


def neural_space(
    context: typer.Context,
    system: Annotated[
        str, typer.Option(metavar="NAME", help="Installed system; parts of --run replace its own.")
    ] = "neural-space",
    data: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Folder of kodak/, camvid/, middlebury/ and polyu/; those there are taken."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Of reconstruction, equivariance, demosaicing, raw, denoise, segment, stereo, similarity, rates, "
            "costs; by default all, or with --speed none.",
        ),
    ] = None,
    speed: Annotated[bool, typer.Option("--speed", help="Time denoising heads and DnCNN at 512 x 512.")] = False,
    count: Annotated[int | None, typer.Option(metavar="N", help="Pictures of each data set, evenly spread.")] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART=FOLDER",
            help="A run's part: space, raw, latent, denoise, segment, stereo, denoise-pixels, segment-pixels, "
            "stereo-pixels; repeat it for several parts and seeds.",
        ),
    ] = None,
    qualities: Annotated[str, typer.Option(metavar="Q,Q,...", help="Of ours, for rates.")] = "0,20,40,60,80,100",
    rounds: Annotated[int | None, typer.Option(metavar="N", help="Of times; by default 3, with --speed 15.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Sizes M and L of heads are counted and not timed.")] = False,
    dtype: Annotated[
        str, typer.Option(metavar="NAME", help="float32, bfloat16, or auto for what systems choose here.")
    ] = "float32",
    device: Device = "cpu",
    json_file: JsonFile = None,
) -> None:
    """The shared neural space: pictures, RAW, tasks, rates and costs, beside peers and the paper's figures."""
    words = None if only is None else tuple(only.split(","))
    levels = _qualities(qualities)
    if dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype}: choose {', '.join(DTYPES)}")
    if rounds is not None and rounds < 1:
        raise UsageError(f"--rounds {rounds}: must be 1 or more")
    named = data is not None or bool(os.environ.get(DATA_VARIABLE))
    folder = find_data(data, ".") if named else None

    from smalto.bench.neural_space import SUITES, NeuralSpaceSettings, measure
    from smalto.bench.space_sources import SpaceSources, parse_runs

    sources = SpaceSources(system, parse_runs(run or []), device, _torch_dtype(dtype))
    suites = words if words is not None else (() if speed else tuple(SUITES))
    settings = NeuralSpaceSettings(sources, folder, suites, speed, count, qualities=levels, rounds=rounds, quick=quick)
    reporter: Reporter = context.obj
    result = measure(settings, reporter.counter, None if json_file is None else lambda part: part.save(Path(json_file)))
    shown = [f"### {table.name}\n\n{table.note}\n\n{table.to_markdown(4)}" for table in result.tables]
    typer.echo("\n\n".join([result.heading(), *shown]))
    if json_file is not None:
        result.save(Path(json_file))


def _torch_dtype(name: str) -> torch.dtype | None:
    import torch

    return None if name == "auto" else getattr(torch, name)


def _qualities(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise UsageError(f"--qualities {text}: not a list of numbers; write it as 0,50,100") from error
    if not all(0 <= value <= 100 for value in values):
        raise UsageError(f"--qualities {text}: qualities are 0..100")
    return values
