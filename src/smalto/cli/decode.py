"""``smalto decode``: .smalto files become pictures, by the frozen decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from smalto.cli.answers import check_endings, write_answer
from smalto.cli.options import Device, Directory, Output, Packets, ReadingSystem
from smalto.cli.outputs import naming, plan_jobs
from smalto.cli.packets import LoadedSystems, read_packet

if TYPE_CHECKING:
    from smalto.cli.progress import Reporter


def decode(
    context: typer.Context,
    files: Packets,
    output: Output = None,
    directory: Directory = None,
    system: ReadingSystem = None,
    device: Device = "cpu",
) -> None:
    """Decode files to pictures.

    Without -o or -d each picture is NAME.decoded.png beside its file. The extension chooses the format. Of a file of
    several spaces the first that is installed is decoded.
    """
    jobs = plan_jobs(files, output, directory, ".decoded.png")
    check_endings(jobs)
    reporter: Reporter = context.obj
    systems = LoadedSystems(system, device)
    for job in reporter.track(jobs, "decode"):
        with naming(job.source_name):
            packet = read_packet(job.source)
            picture = systems.reading([packet], "reconstruct").run("reconstruct", packet)
        write_answer(picture, job.target, "reconstruct")
        reporter.line(f"{job.source_name} -> {job.target_name}: {picture.width} x {picture.height} pixels")
