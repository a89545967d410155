"""``smalto train RECIPE``: one slice of a training run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smalto.cli.datasets import find_data
from smalto.cli.options import Data
from smalto.errors import UsageError
from smalto.train.recipes import RECIPES
from smalto.weights import installed_feature_codecs, installed_systems

if TYPE_CHECKING:
    from smalto.cli.progress import Reporter

CHECKPOINT = "checkpoint"
RUNS = "runs"


Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help=f"One of {', '.join(RECIPES)}.")]
Minutes = Annotated[float, typer.Option(metavar="N", help="Time budget of this slice.")]
Resume = Annotated[
    str | None, typer.Option(metavar="RUN", help="Folder of a run to go on with, or an installed system to start from.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the recipe; may be repeated.")
]
RunFolder = Annotated[
    str | None, typer.Option("--output", "-o", metavar="DIR", help="Folder of a new run; runs/RECIPE-TIME otherwise.")
]
TrainingDevice = Annotated[str | None, typer.Option(metavar="NAME", help="cpu, cuda, ...; the fastest there is.")]
MaxSteps = Annotated[int | None, typer.Option(metavar="N", help="Stop after so many steps.")]
Describe = Annotated[bool, typer.Option("--describe", help="Show the recipe's time and score, and stop.")]


def train(
    context: typer.Context,
    recipe: Recipe,
    data: Data = None,
    minutes: Minutes = 60.0,
    resume: Resume = None,
    settings: Settings = None,
    output: RunFolder = None,
    device: TrainingDevice = None,
    max_steps: MaxSteps = None,
    describe: Describe = False,
) -> None:
    """Train by a recipe, for a time budget.

    The run's folder holds the checkpoint, a CSV log, sample pictures and the weights. Pictures come from --data, by
    default $SMALTO_DATA/cid22/training.
    """
    if recipe not in RECIPES:
        raise UsageError(f"{recipe}: no recipe is called that; there are {', '.join(RECIPES)}")
    if describe:
        from smalto.train.recipes import describe as description

        typer.echo(description(recipe))
        return
    if minutes <= 0.0 or (max_steps is not None and max_steps < 1):
        raise UsageError("--minutes and --max-steps: must be above zero")
    given = _settings(settings or [])
    pictures = find_data(data, "cid22/training")
    folder, start = _place(recipe, resume, output)
    reporter: Reporter = context.obj

    from smalto.train.checkpoint import read_progress
    from smalto.train.loop import Budget
    from smalto.train.loop import train as train_slice
    from smalto.train.recipes import build

    if start == CHECKPOINT:
        progress = read_progress(folder / CHECKPOINT)
        if progress.recipe != recipe:
            raise UsageError(f"--resume {folder}: is a run of recipe {progress.recipe}; name that recipe")
        given = {**{key: str(value) for key, value in progress.settings.items()}, **given}
    run = build(recipe, given)
    budget = Budget(pictures, folder, minutes, start, device, max_steps)
    reporter.line(f"{recipe}: {minutes:g} minutes on {pictures}, run in {folder}")
    done = train_slice(run, budget, reporter.line)
    reporter.line(f"{recipe}: {done.step} steps in {done.seconds / 60:.1f} minutes; go on with --resume {folder}")


def _settings(texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise UsageError(f"--set {text}: not a setting; write it as key=value")
        pairs[key] = value
    return pairs


def _place(recipe: str, resume: str | None, output: str | None) -> tuple[Path, str | None]:
    """The run's folder, and what to start from: None, ``checkpoint`` or an installed system."""
    if resume is not None and Path(resume).is_dir():
        if output is not None and Path(output).resolve() != Path(resume).resolve():
            raise UsageError(f"-o {output}: a resumed run stays in its folder; leave -o out")
        return Path(resume), CHECKPOINT
    installed = {"default", *(record.name for record in (*installed_systems(), *installed_feature_codecs()))}
    if resume is not None and resume not in installed:
        raise UsageError(f"--resume {resume}: neither the folder of a run nor an installed system; check the name")
    folder = Path(output) if output is not None else Path(RUNS) / f"{recipe}-{time.strftime('%Y%m%d-%H%M%S')}"
    if (folder / CHECKPOINT).exists():
        raise UsageError(f"{folder}: holds a run already; go on with --resume {folder}, or choose another folder")
    return folder, resume
