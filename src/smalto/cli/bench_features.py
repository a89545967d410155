"""``smalto bench features``: feature coding on real features beside peers, and the paper's experiments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smalto.cli.datasets import find_data
from smalto.cli.options import Data
from smalto.errors import UsageError
from smalto.files import replace_file

if TYPE_CHECKING:
    from smalto.bench.features import FeatureSettings
    from smalto.bench.results import BenchResult
    from smalto.cli.progress import Reporter

JsonFile = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")]


def features(
    context: typer.Context,
    data: Data = None,
    json_file: JsonFile = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="DIR", help="JSON, Markdown, plot, for --transform.")
    ] = None,
    sources: Annotated[
        str, typer.Option(metavar="NAMES", help="Models whose features are coded.")
    ] = "squeezenet,mobilefacenet,minilm,latents",
    layers: Annotated[str | None, typer.Option(metavar="NAMES", help="Only these layers.")] = None,
    count: Annotated[int, typer.Option(metavar="N", help="Inputs of each model.")] = 100,
    tiers: Annotated[str, typer.Option(metavar="NAMES", help="Tiers of ours.")] = "fast",
    qualities: Annotated[
        str, typer.Option(metavar="Q,Q,...", help="Levels 0..255 of learned tiers.")
    ] = "0,51,102,153,204,255",
    network: Annotated[
        str | None, typer.Option(metavar="FILE", help="A run's planes.safetensors, instead of the installed one.")
    ] = None,
    baseline_network: Annotated[
        str | None, typer.Option(metavar="FILE", help="The same of a run on linearly scaled planes: the baseline.")
    ] = None,
    peers: Annotated[bool, typer.Option("--peers/--no-peers", help="What people use today, beside.")] = True,
    packed_inputs: Annotated[
        int | None, typer.Option(metavar="N", help="Inputs, evenly spread, whose bytes give peers' rates; all.")
    ] = None,
    transform: Annotated[bool, typer.Option("--transform", help="Distributions before and after instead.")] = False,
    speed: Annotated[bool, typer.Option("--speed", help="Time the transform instead.")] = False,
    values: Annotated[int, typer.Option(metavar="N", help="Values, for --speed.")] = 4_000_000,
    rounds: Annotated[int | None, typer.Option(metavar="N", help="Alternating rounds, for --speed, --loading.")] = None,
    loading: Annotated[bool, typer.Option("--loading", help="Time a DataLoader over a packed set instead.")] = False,
    file: Annotated[str | None, typer.Option(metavar="FILE", help="A stack of samples, for --loading.")] = None,
    samples: Annotated[int, typer.Option(metavar="N", help="Samples, for --loading.")] = 768,
    iterations: Annotated[int, typer.Option(metavar="N", help="Iterations of KMeans, for --speed.")] = 300,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the values, for --speed, --loading.")] = 0,
    kmeans: Annotated[bool, typer.Option("--kmeans/--no-kmeans", help="Whether --speed times KMeans.")] = True,
) -> None:
    """Feature coding: rate against the task beside what people use today; or the transform, its speed, or loading."""
    reporter: Reporter = context.obj
    if speed + loading + transform > 1:
        raise UsageError("--speed, --loading, --transform: one at a time")
    if output is not None and not transform:
        raise UsageError("--output: only with --transform; --json writes any result")
    if loading:
        from smalto.bench.feature_loading import LoadingSettings, bench_feature_loading

        wanted = LoadingSettings(features=file, num_samples=samples, num_rounds=rounds or 5, seed=seed)
        _show(bench_feature_loading(wanted, reporter.line), json_file)
        return
    if speed:
        from smalto.bench.feature_speed import FeatureSpeedSettings, bench_feature_speed

        options = FeatureSpeedSettings(values, rounds or 7, kmeans, iterations, seed)
        _show(bench_feature_speed(options, reporter.line), json_file)
        return

    from smalto.bench.feature_learned import Networks
    from smalto.bench.features import FeatureSettings, measure

    settings = FeatureSettings(
        data=find_data(data, "."),
        sources=tuple(sources.split(",")),
        layers=() if layers is None else tuple(layers.split(",")),
        count=count,
        tiers=tuple(tiers.split(",")),
        qualities=_levels(qualities),
        networks=Networks(_path(network), _path(baseline_network)),
        with_peers=peers,
        packed_inputs=packed_inputs,
    )
    if transform:
        _transform(settings, output, json_file, reporter)
        return
    with reporter.counter("features") as tell:
        result = measure(settings, tell)
    _show(result, json_file)


def _transform(settings: FeatureSettings, output: str | None, json_file: str | None, reporter: Reporter) -> None:
    """Distributions before and after the transform."""
    from smalto.bench.feature_transform import TransformSettings, bench_transform
    from smalto.bench.feature_transform_report import save_report, to_markdown
    from smalto.bench.rd_report import require_plotting

    if output is not None:
        require_plotting()
    wanted = TransformSettings(settings.data, settings.sources, settings.layers, settings.count, settings.networks)
    with reporter.counter("features") as tell:
        result = bench_transform(wanted, tell)
    typer.echo(to_markdown(result))
    _save_json(result, json_file)
    if output is not None:
        reporter.line(f"report: {', '.join(str(path) for path in save_report(result, output))}")


def _show(result: BenchResult, json_file: str | None) -> None:
    shown = [f"### {table.name}\n\n{table.note}\n\n{table.to_markdown(4)}" for table in result.tables]
    typer.echo("\n\n".join([result.heading(), *shown]))
    _save_json(result, json_file)


def _save_json(result: BenchResult, json_file: str | None) -> None:
    if json_file is not None:
        replace_file(json_file, result.to_json().encode())


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _levels(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise UsageError(f"--qualities {text}: not a list of whole numbers; write it as 0,51,102") from error
