"""``smalto run``: one task, answered from each file's latent, or from a pair's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smalto.cli.answers import check_endings, side_by_side, write_answer
from smalto.cli.options import Device, Directory, Output, Packets, ReadingSystem
from smalto.cli.outputs import PIPE, Job, display_name, naming, plan_jobs, write_target
from smalto.cli.packets import LoadedSystems, read_packet
from smalto.cli.registry import check_task, num_views
from smalto.errors import UsageError

if TYPE_CHECKING:
    from smalto.cli.progress import Reporter

DECODER_TASK = "reconstruct"


def run(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="What to answer; `smalto systems` lists the tasks.")],
    files: Packets,
    output: Output = None,
    directory: Directory = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Also write NAME.compare.png: the decoder's picture, the answer.")
    ] = False,
    system: ReadingSystem = None,
    device: Device = "cpu",
) -> None:
    """Answer a task from the latent of files.

    Without -o or -d each answer is NAME.TASK.png beside its file. The extension chooses the form: .png a picture for
    people, .npy or .npz the numbers, .json for scripts. Depth takes the left file, then the right; more pairs may
    follow, and answers are named after the left files.
    """
    check_task(system, task)
    views = num_views(task)
    if len(files) % views:
        raise UsageError(f"{task}: takes the left file, then the right, and more such pairs; {len(files)} is no pair")
    jobs = plan_jobs(files, output, directory, f".{task}.png", views)
    check_endings(jobs)
    if compare and task == DECODER_TASK:
        raise UsageError("--compare: reconstruct is what others are compared with; leave --compare out")
    if compare and any(job.target == PIPE for job in jobs):
        raise UsageError("--compare: needs a file name to stand beside; name the output with -o")
    reporter: Reporter = context.obj
    systems = LoadedSystems(system, device)
    for job in reporter.track(jobs, task):
        _run_one(systems, task, job, compare)
        reporter.line(f"{job.source_name} -> {job.target_name}: {task}")


def _run_one(systems: LoadedSystems, task: str, job: Job, compare: bool) -> None:
    packets = []
    for source in job.sources:
        with naming(display_name(source)):
            packets.append(read_packet(source))
    with naming(job.source_name):
        tasks = [DECODER_TASK, task] if compare else [task]
        answers = systems.reading(packets, task).run(tasks, packets[0] if len(packets) == 1 else packets)
    write_answer(answers[-1], job.target, task)
    if compare:
        beside = Path(job.target)
        write_target(str(beside.with_name(f"{beside.stem}.compare.png")), side_by_side(answers[0], answers[-1], task))
