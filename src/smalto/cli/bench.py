"""``smalto bench SUITE``: ours beside peers, in one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smalto.cli.datasets import find_data
from smalto.cli.options import Data, Device
from smalto.errors import UsageError
from smalto.files import replace_file

if TYPE_CHECKING:
    from smalto.bench.results import BenchResult
    from smalto.cli.progress import Reporter

NONE = "none"

bench = typer.Typer(help="Measure ours beside peers.", rich_markup_mode=None)

JsonFile = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")]


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
        qualities=_numbers("--qualities", qualities),
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


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} {text}: not whole numbers; write them as 0,50,100") from error


def _save_json(result: BenchResult, json_file: str | None) -> None:
    if json_file is not None:
        replace_file(json_file, result.to_json().encode())
