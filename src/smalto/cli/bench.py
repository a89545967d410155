"""``smalto bench SUITE``: ours beside peers, in one run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from smalto.cli.bench_features import JsonFile, features
from smalto.cli.bench_neural_space import neural_space
from smalto.cli.datasets import DATA_VARIABLE, find_data, sample_photographs
from smalto.cli.options import Data, Device, SystemName, parse_quality
from smalto.errors import UsageError
from smalto.files import replace_file

if TYPE_CHECKING:
    from smalto.bench.results import BenchResult
    from smalto.cli.progress import Reporter

NONE = "none"
Number = TypeVar("Number", int, float)

bench = typer.Typer(help="Measure ours beside peers.", rich_markup_mode=None)


@bench.command()
def rd(
    context: typer.Context,
    data: Data = None,
    json_file: JsonFile = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="DIR", help="Write JSON, CSV, Markdown and a plot here.")
    ] = None,
    qualities: Annotated[
        str, typer.Option(metavar="Q,Q,...", help="Qualities of ours.")
    ] = "0,10,20,30,40,50,60,70,80,90,100",
    peers: Annotated[str, typer.Option(metavar="NAMES", help="Classical codecs beside, or none.")] = "jpeg,webp,avif",
    system: Annotated[str, typer.Option(metavar="NAME", help="Installed system, or none.")] = "default",
    codec: Annotated[
        str | None, typer.Option(metavar="MODULE:CLASS", help="A codec of your own; FILE.py:CLASS works too.")
    ] = None,
    published: Annotated[str, typer.Option(metavar="SET", help="Published curves beside: kodak, or none.")] = "kodak",
    peers_from: Annotated[
        str | None, typer.Option(metavar="FILE", help="JSON of an earlier run whose peers are taken over.")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Rate and distortion on a folder of pictures, by default $SMALTO_DATA/kodak."""
    from smalto.bench.rate_distortion import RdSettings, measure
    from smalto.bench.rd_report import require_plotting, save_report, to_markdown

    settings = RdSettings(
        folder=find_data(data, "kodak"),
        qualities=_numbers("--qualities", qualities, int),
        peers=() if peers == NONE else tuple(peers.split(",")),
        system=None if system == NONE else system,
        device=device,
        codec=codec,
        published="" if published == NONE else published,
        peers_from=None if peers_from is None else Path(peers_from),
    )
    if output is not None:
        require_plotting()
    reporter: Reporter = context.obj
    with reporter.counter("rd") as count:
        result = measure(settings, progress=count)
    typer.echo(to_markdown(result))
    _save_json(result, json_file)
    if output is not None:
        reporter.line(f"report: {', '.join(str(path) for path in save_report(result, output))}")


bench.command()(features)
bench.command()(neural_space)


@bench.command()
def coder(
    context: typer.Context,
    json_file: JsonFile = None,
    symbols: Annotated[int, typer.Option(metavar="N", help="Symbols of the realistic mix.")] = 10_000_000,
    rounds: Annotated[int, typer.Option(metavar="N", help="Rounds in which the coders take turns.")] = 5,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the symbols.")] = 0,
) -> None:
    """The entropy coder beside CompressAI's and constriction's."""
    from smalto.bench.coder import bench_coder, coder_text

    reporter: Reporter = context.obj
    result = bench_coder(symbols, num_rounds=rounds, seed=seed, progress=reporter.line)
    typer.echo(coder_text(result))
    _save_json(result, json_file)


@bench.command()
def speed(
    context: typer.Context,
    data: Annotated[
        str | None, typer.Option("--data", metavar="PLACE", help="A picture, or a folder whose first picture is taken.")
    ] = None,
    json_file: JsonFile = None,
    rounds: Annotated[int, typer.Option(metavar="N", help="Repetitions; the median counts.")] = 15,
    threads: Annotated[str, typer.Option(metavar="N,N,...", help="Compute threads, one after another.")] = "1,2",
    sizes: Annotated[
        str, typer.Option(metavar="MPX,MPX,...", help="Sizes of the growth table, or none.")
    ] = "0.1,0.4,1,2,4,8,16",
    quality: Annotated[str, typer.Option(metavar="low|medium|high|0..100", help="Quality of ours.")] = "medium",
    peer: Annotated[bool, typer.Option("--peer/--no-peer", help="CompressAI's hyperprior beside.")] = True,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Peak memory of every size.")] = True,
    system: SystemName = "default",
) -> None:
    """Seconds and memory of a photograph, by default the first of $SMALTO_DATA/kodak or a sample."""
    chosen = parse_quality(quality)
    megapixels = () if sizes == NONE else _numbers("--sizes", sizes, float)
    counts = _numbers("--threads", threads, int)
    place = _photograph(data)

    from smalto import load, read_image
    from smalto.bench.speed import SpeedSettings, bench_speed, speed_text

    settings = SpeedSettings(rounds, counts, megapixels, chosen, peer, memory)
    reporter: Reporter = context.obj
    result = bench_speed(load(system), read_image(place), settings, reporter.line)
    typer.echo(speed_text(result))
    _save_json(result, json_file)


@bench.command()
def upscale(
    context: typer.Context,
    data: Data = None,
    json_file: JsonFile = None,
    qualities: Annotated[
        str, typer.Option(metavar="Q,Q,...", help="Qualities of the coded halves.")
    ] = "20,40,60,80,100",
    system: SystemName = "default",
) -> None:
    """Super-resolution from the latent of halved pictures, by default of $SMALTO_DATA/kodak."""
    folder, levels = find_data(data, "kodak"), _numbers("--qualities", qualities, int)

    from smalto import load
    from smalto.bench.super_resolution import UpscaleSettings, bench_upscale, upscale_text

    reporter: Reporter = context.obj
    with reporter.counter("upscale") as count:
        result = bench_upscale(load(system), UpscaleSettings(folder, levels), count)
    typer.echo(upscale_text(result))
    _save_json(result, json_file)


def _photograph(named: str | None) -> Path:
    """The picture to measure with: named, the first of a folder, or a sample that scikit-image ships."""
    if named is None and not os.environ.get(DATA_VARIABLE):
        return sample_photographs()[0]
    place = find_data(named, "kodak")
    if not place.is_dir():
        return place

    from smalto.data.photographs import picture_files

    return picture_files(place)[0]


def _numbers(option: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    try:
        return tuple(kind(word) for word in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} {text}: not a list of numbers; write it as 0,50,100") from error


def _save_json(result: BenchResult, json_file: str | None) -> None:
    if json_file is not None:
        replace_file(json_file, result.to_json().encode())
