"""``smalto encode``: pictures become .smalto files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from smalto.cli.options import Device, Directory, Output, SystemName, parse_quality
from smalto.cli.outputs import Job, naming, open_source, plan_jobs, write_target
from smalto.errors import UsageError

if TYPE_CHECKING:
    from smalto.cli.progress import Reporter
    from smalto.systems import System

DEFAULT_TILE_PX = 1024


Inputs = Annotated[list[str], typer.Argument(metavar="IN...", help="Pictures; - reads one from a pipe.")]
Quality = Annotated[
    str | None, typer.Option(metavar="low|medium|high|0..100", help="Rises in rate; medium when neither is given.")
]
Rate = Annotated[float | None, typer.Option(metavar="X", help="Bits per pixel of the whole file, met from below.")]
EncoderName = Annotated[str | None, typer.Option(metavar="NAME", help="Encoder that writes the space.")]
Tile = Annotated[int, typer.Option(metavar="PX", help="Side of the chunks a file can be read by.")]
Effort = Annotated[
    int | None, typer.Option(metavar="N", help="Search of the encoder; no installed encoder searches yet.")
]
FurtherSpaces = Annotated[
    str | None, typer.Option("--with", metavar="SPACE,...", help="Further spaces; none can be added yet.")
]


def encode(
    context: typer.Context,
    inputs: Inputs,
    output: Output = None,
    directory: Directory = None,
    system: SystemName = "default",
    quality: Quality = None,
    bpp: Rate = None,
    encoder: EncoderName = None,
    tile: Tile = DEFAULT_TILE_PX,
    effort: Effort = None,
    spaces: FurtherSpaces = None,
    device: Device = "cpu",
) -> None:
    """Encode pictures into .smalto files.

    Without -o or -d each file lies beside its picture, with the extension .smalto.
    """
    if effort is not None:
        raise UsageError(f"--effort {effort}: no installed encoder has a search to set; leave --effort out")
    if spaces is not None:
        raise UsageError(f"--with {spaces}: a file of the installed systems holds one space; leave --with out")
    if quality is not None and bpp is not None:
        raise UsageError("--quality and --bpp: only one of them can set the rate; leave one out")
    if bpp is not None and not 0.0 < bpp <= 64.0:
        raise UsageError(f"--bpp {bpp:g}: not a rate; use bits per pixel above 0 and up to 64")
    if tile % 64 or not 64 <= tile <= 2048:
        raise UsageError(f"--tile {tile}: not a tile; use a multiple of 64 pixels from 64 to 2048")
    level = parse_quality(quality if quality is not None else "medium")
    jobs = plan_jobs(inputs, output, directory, ".smalto")
    reporter: Reporter = context.obj

    from smalto import load

    loaded = load(system, device=device)
    for job in reporter.track(jobs, "encode"):
        reporter.line(_encode_one(loaded, job, level, bpp, encoder, tile))


def _encode_one(
    system: System, job: Job, quality: str | float, bpp: float | None, encoder: str | None, tile: int
) -> str:
    """Encode one job; returns the line to say."""
    from smalto import read_image

    with naming(job.source_name):
        image = read_image(open_source(job.source))
        packet = system.encode(image, quality=quality, bpp=bpp, encoder=encoder, tile=tile)
    write_target(job.target, packet.to_bytes())
    rate = 8 * len(packet) / (image.height * image.width)
    return f"{job.source_name} -> {job.target_name}: {len(packet):,} bytes, {rate:.3f} bits per pixel"
