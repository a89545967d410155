"""``smalto encode``: pictures and RAW captures become .smalto files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from smalto.cli.options import Device, Directory, Output, parse_quality
from smalto.cli.outputs import PIPE, Job, naming, open_source, plan_jobs, write_target
from smalto.cli.registry import RAW_PART, raw_systems, writing_systems
from smalto.errors import UsageError

if TYPE_CHECKING:
    from smalto.cli.progress import Reporter
    from smalto.systems import System
    from smalto.weights import SystemRecord

DEFAULT_TILE_PX = 1024


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="IN...", help="Pictures, or RAW captures where the system encodes them; - reads a picture from a pipe."
    ),
]
WritingSystem = Annotated[
    str | None,
    typer.Option("--system", metavar="NAME", help="Installed system; the default one without it and --with."),
]
Quality = Annotated[
    str | None,
    typer.Option(
        metavar="low|medium|high|0..100|archive",
        help="Rises in rate; medium when neither is given. archive stores the planes themselves, in systems that can.",
    ),
]
Rate = Annotated[
    float | None, typer.Option(metavar="X", help="Bits per pixel of the whole file, of one space, met from below.")
]
EncoderName = Annotated[str | None, typer.Option(metavar="NAME", help="Encoder that writes the space.")]
Tile = Annotated[int, typer.Option(metavar="PX", help="Side of the chunks a file can be read by.")]
Effort = Annotated[
    int | None, typer.Option(metavar="N", help="Search of the encoder; no installed encoder searches yet.")
]
FurtherSpaces = Annotated[
    str | None,
    typer.Option(
        "--with", metavar="SPACE,...", help="Systems whose spaces one file holds, beside that of --system when given."
    ),
]


@dataclass(frozen=True)
class _Settings:
    """What every picture of a command is encoded with, as ``System.encode`` takes it."""

    quality: str | float
    bpp: float | None
    encoder: str | None
    tile: int


def encode(
    context: typer.Context,
    inputs: Inputs,
    output: Output = None,
    directory: Directory = None,
    system: WritingSystem = None,
    quality: Quality = None,
    bpp: Rate = None,
    encoder: EncoderName = None,
    tile: Tile = DEFAULT_TILE_PX,
    effort: Effort = None,
    spaces: FurtherSpaces = None,
    device: Device = "cpu",
) -> None:
    """Encode pictures into .smalto files.

    Without -o or -d each file lies beside its picture, with the extension .smalto. A system may be named without its
    version, as lite for lite-0. RAW captures are camera files (.dng .cr2 .nef ...; needs rawpy), and 16-bit samples in
    .raw, .npy or .png with a sidecar NAME.json.
    """
    if effort is not None:
        raise UsageError(f"--effort {effort}: no installed encoder has a search to set; leave --effort out")
    if quality is not None and bpp is not None:
        raise UsageError("--quality and --bpp: only one of them can set the rate; leave one out")
    if bpp is not None and not 0.0 < bpp <= 64.0:
        raise UsageError(f"--bpp {bpp:g}: not a rate; use bits per pixel above 0 and up to 64")
    if tile % 64 or not 64 <= tile <= 2048:
        raise UsageError(f"--tile {tile}: not a tile; use a multiple of 64 pixels from 64 to 2048")
    records = writing_systems(system, spaces)
    if len(records) > 1 and (bpp is not None or encoder is not None):
        option = "--encoder" if bpp is None else "--bpp"
        raise UsageError(f"{option}: says something of one space, and the file holds {len(records)}; leave it out")
    level = parse_quality(quality if quality is not None else "medium", archive=True)
    jobs = plan_jobs(inputs, output, directory, ".smalto")
    captures = _raw_captures(jobs, records)
    reporter: Reporter = context.obj

    from smalto import load

    loaded = [load(record.name, device=device) for record in records]
    settings = _Settings(level, bpp, encoder, tile)
    for job in reporter.track(jobs, "encode"):
        reporter.line(_encode_one(loaded, job, settings, job.source in captures))


def _raw_captures(jobs: Sequence[Job], records: Sequence[SystemRecord]) -> set[str]:
    """The inputs that are RAW captures.

    Raises:
        UsageError: there is one, and a system has no encoder of them.
    """
    from smalto.systems.raw_pictures import is_raw_file

    captures = {job.source for job in jobs if job.source != PIPE and is_raw_file(job.source)}
    for record in records:
        if captures and RAW_PART not in record.files:
            able = raw_systems()
            remedy = f"use --system {able[0]}" if able else "no installed system has one; develop it to a picture first"
            first = next(job.source for job in jobs if job.source in captures)
            raise UsageError(f"{first}: a RAW capture, and system {record.name} has no RAW encoder; {remedy}")
    return captures


def _encode_one(systems: Sequence[System], job: Job, settings: _Settings, is_raw: bool) -> str:
    """Encode one job; returns the line to say."""
    from smalto import read_image
    from smalto.systems.joined_packets import join_packets
    from smalto.systems.raw_pictures import read_raw

    with naming(job.source_name):
        picture = read_raw(job.source) if is_raw else read_image(open_source(job.source))
        packets = [
            system.encode(
                picture, quality=settings.quality, bpp=settings.bpp, encoder=settings.encoder, tile=settings.tile
            )
            for system in systems
        ]
        packet = packets[0] if len(packets) == 1 else join_packets(packets)
    write_target(job.target, packet.to_bytes())
    rate = 8 * len(packet) / (packet.height * packet.width)
    return f"{job.source_name} -> {job.target_name}: {len(packet):,} bytes, {rate:.3f} bits per pixel"
