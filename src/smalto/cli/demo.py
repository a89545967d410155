"""``smalto demo``: the main job on sample photographs, as pictures and an HTML report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smalto.cli.datasets import sample_photographs
from smalto.cli.options import Device, SystemName, parse_quality
from smalto.cli.outputs import PIPE, check_inputs, make_folder
from smalto.errors import UsageError

if TYPE_CHECKING:
    from smalto.cli.progress import Reporter


def demo(
    context: typer.Context,
    pictures: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PICTURE]...", help="Photographs scikit-image ships when none is named."),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DIR", help="Folder for everything.")
    ] = "smalto-demo",
    quality: Annotated[str, typer.Option(metavar="low|medium|high|0..100", help="Rises in rate.")] = "medium",
    system: SystemName = "default",
    device: Device = "cpu",
) -> None:
    """Show the main job on photographs.

    Each is encoded once; every task is answered from its one file; pictures and an HTML report go into a folder.
    """
    level = parse_quality(quality)
    paths = [Path(name) for name in pictures] if pictures else sample_photographs()
    _check_pictures(paths)
    make_folder(output)
    reporter: Reporter = context.obj

    from smalto import load
    from smalto.bench.contact_sheet import write_contact_sheet
    from smalto.bench.demonstration import demonstrate, warm_up
    from smalto.bench.report import write_report

    loaded = load(system, device=device)
    warm_up(loaded)
    shown = []
    for path in reporter.track(paths, "demo"):
        shown.append(demonstrate(loaded, path, Path(output), level))
        last = shown[-1]
        write_contact_sheet(last, Path(output))
        rate = f"{last.num_bytes:,} bytes, {last.bits_per_pixel:.3f} bits per pixel"
        reporter.line(f"{path.name}: {rate}, {last.psnr_db:.2f} dB")
    page = write_report(shown, Path(output), system)
    reporter.line(f"report: {page}")


def _check_pictures(paths: list[Path]) -> None:
    names = [str(path) for path in paths]
    if PIPE in names:
        raise UsageError("-: demo reads no pipe; name a picture")
    check_inputs(names)
    stems = [path.stem for path in paths]
    for path in paths:
        if stems.count(path.stem) > 1:
            raise UsageError(f"{path}: two pictures are called {path.stem}, their outputs would be too; rename one")
