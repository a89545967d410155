"""Hostile files through every reader: ``python -m smalto.bench.fuzz`` (``make fuzz``).

Mutants (smalto.bits.mutation) go through info, verify, the latent and the picture. Half of them keep their old
checksums: verify, latent and picture must refuse each of these by name. Half have them recomputed, and meet the parser
and the entropy decoder: these must give a named error or a picture of the declared size. Nothing may crash, compute
for over a second, or hold more memory than the true size explains.

    python -m smalto.bench.fuzz                                          everything: 100,000 in process, 1,000 commands
    python -m smalto.bench.fuzz --count 5000 --seed 7 --start 20         another sequence, from mutant 20 on
    python -m smalto.bench.fuzz --count 0 --factorized 0 --installed 0   the command line alone

A miniature system with random weights reads all mutants; one with the factorised codec, the installed default system
and the command line read a share. The exit code is 1 when a mutant fails; its kind, number and seed are printed, and
repeat it.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from smalto.bench.fuzz_commands import ServedCommandLine, SpawnedCommandLine, judge_commands
from smalto.bench.fuzz_judge import FuzzTarget, attempt, complaint_about, examined, judge, verified
from smalto.bench.fuzz_report import FuzzReport, Verdict
from smalto.bench.miniature import miniature_factorized_system, miniature_system, scene
from smalto.bench.peak_memory import peak_rss_bytes
from smalto.bench.results import bench_result, source_commit
from smalto.bits.mutation import Mutant, mutant
from smalto.bits.packet import Packet
from smalto.errors import UsageError, WeightsError
from smalto.systems import load
from smalto.systems.system import System
from smalto.types import Image

UNVERIFIED_LIMIT_BYTES = 64 << 20
GROWTH_LIMIT_BYTES = (64 << 20) + 8 * (1 << 26)
"""64 MiB, and 8 bytes a pixel of the largest latent that is decoded."""
INSTALLED_PIXELS = 1 << 17
_TRACED_EVERY = 64
_HARD_LIMIT_S = 120.0


def fuzz_target(system: System, max_pixels: int, seed: int = 0, small: bool = False) -> FuzzTarget:
    """The system with files of many forms: one pixel, several tiles, grey, alpha, flat, all qualities.

    Args:
        system: encodes the files and reads the mutants.
        max_pixels: largest picture that mutants may be decoded to.
        seed: of the drawn pictures.
        small: leave out those that take a real network long.
    """
    pictures: list[tuple[object, float, int]] = [
        (scene(1, 1, seed), 0, 1024),
        (scene(40, 56, seed), 40, 1024),
        (scene(96, 80, seed + 1)[:, :, 0].copy(), 100, 1024),
        (np.full((64, 64, 3), 127, np.uint8), 40, 1024),
        (Image(scene(33, 47, seed + 2), alpha=scene(33, 47, seed + 3)[:, :, 1].copy()), 60, 1024),
        (scene(130, 200, seed + 4), 40, 64),
    ]
    if not small:
        pictures += [(np.full((600, 900, 3), 200, np.uint8), 0, 256), (scene(300, 400, seed + 5), 60, 128)]
    originals = tuple(
        system.encode(picture, quality=quality, tile=tile).to_bytes() for picture, quality, tile in pictures
    )
    limited = System(system.name, system.parts, system.engine, max_pixels)
    target = FuzzTarget(limited, system, originals)
    for number, data in enumerate(originals):  # also compiles the kernels, before any time is taken
        if complaint_about(target, Mutant(number, "original", True, data), examined(target, data)) is not None:
            raise UsageError(f"system {system.name} does not decode its own file {number}; mutants would show nothing")
    return target


def _unverified_bytes(data: bytes) -> int:
    """The most that opening, verifying and loading a file allocate in Python and NumPy."""
    tracemalloc.start()
    try:
        attempt(lambda: verified(data))
        attempt(lambda: Packet.from_bytes(data))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def fuzz(
    target: FuzzTarget,
    numbers: range,
    seed: int = 0,
    judging: Callable[[Mutant], Verdict] | None = None,
    before_each: Callable[[int], None] | None = None,
) -> FuzzReport:
    """Judge a range of mutants.

    Args:
        target: what reads them, and what they are made of.
        numbers: of the mutants.
        seed: of the sequence.
        judging: another judge than ``judge``, for instance one that runs commands.
        before_each: called with each number before its mutant is judged.
    """
    judging = judging or (lambda item: judge(target, item))
    verdicts, traced, started = [], 0, time.perf_counter()
    resident = peak_rss_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in numbers:
            if before_each is not None:
                before_each(number)
            item = mutant(target.originals, number, seed)
            verdicts.append(judging(item))
            if number % _TRACED_EVERY == 0:
                traced = max(traced, _unverified_bytes(item.data))
    growth = peak_rss_bytes() - resident
    complaints = []
    if traced > UNVERIFIED_LIMIT_BYTES:
        complaints.append(f"{traced >> 20} MiB were allocated before checksums held")
    if growth > GROWTH_LIMIT_BYTES:
        complaints.append(f"memory grew by {growth >> 20} MiB")
    seconds = time.perf_counter() - started
    return FuzzReport(target.system.name, seed, tuple(verdicts), seconds, traced, growth, tuple(complaints))


def watchdog(label: str) -> Callable[[int], None]:
    """For ``before_each``: ends the process with a traceback when one mutant never returns, and says how far it is."""

    def watch(number: int) -> None:
        faulthandler.dump_traceback_later(_HARD_LIMIT_S, exit=True, file=2)  # standard error, even when replaced
        if number % 5000 == 0:
            sys.stderr.write(f"{label}: mutant {number}\n")
            sys.stderr.flush()

    return watch


def _installed(max_pixels: int) -> FuzzTarget | None:
    """The installed default system, or None where no weights are."""
    try:
        return fuzz_target(load(), max_pixels, small=True)
    except WeightsError as error:
        sys.stderr.write(f"the installed system is left out: {error}\n")
        return None


def _command_reports(target: FuzzTarget, asked: argparse.Namespace) -> list[FuzzReport]:
    """Mutants through the command line: many in one process that serves, some in processes of their own."""
    reports = []
    for count, kind in ((asked.command_line, ServedCommandLine), (asked.processes, SpawnedCommandLine)):
        if count:
            numbers, label = range(asked.start, asked.start + count), kind.label
            with kind() as command_line, judge_commands(command_line, target.originals[0]) as judging:
                report = fuzz(target, numbers, asked.seed, judging, watchdog(label))
            reports.append(replace(report, label=f"{report.label}, {label}"))
    return reports


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m smalto.bench.fuzz", description="Hostile files through every reader."
    )
    parser.add_argument("--count", type=int, default=100_000, help="mutants through a miniature system, in process")
    parser.add_argument("--factorized", type=int, default=5_000, help="through one with the factorised codec")
    parser.add_argument("--installed", type=int, default=2_000, help="mutants through the installed default system")
    parser.add_argument("--command-line", type=int, default=1_000, help="mutants through info, verify and decode")
    parser.add_argument("--processes", type=int, default=0, help="the same, with a new process for every command")
    parser.add_argument("--seed", type=int, default=0, help="of the mutants")
    parser.add_argument("--start", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--max-pixels", type=int, default=1 << 20, help="largest picture the miniature system decodes")
    parser.add_argument("--json", metavar="FILE", help="keep the result for scripts")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the top of this file. Returns the exit code."""
    asked = _arguments(sys.argv[1:] if arguments is None else arguments)
    threads, commit = torch.get_num_threads(), source_commit()
    torch.set_num_threads(1)
    reports = []
    try:
        for count, miniature in ((asked.count, miniature_system), (asked.factorized, miniature_factorized_system)):
            if count:
                target = fuzz_target(miniature(), asked.max_pixels)
                numbers = range(asked.start, asked.start + count)
                reports.append(fuzz(target, numbers, asked.seed, before_each=watchdog(target.system.name)))
        installed = _installed(INSTALLED_PIXELS) if asked.installed or asked.command_line or asked.processes else None
        if installed is not None:
            numbers = range(asked.start, asked.start + asked.installed)
            if asked.installed:
                reports.append(fuzz(installed, numbers, asked.seed, before_each=watchdog(installed.system.name)))
            reports += _command_reports(installed, asked)
    finally:
        torch.set_num_threads(threads)
        if not any(verdict.outcome == "too long" for report in reports for verdict in report.verdicts):
            faulthandler.cancel_dump_traceback_later()  # an interrupted reader may leave a thread that never ends
    command = " ".join(["python -m smalto.bench.fuzz", *(sys.argv[1:] if arguments is None else arguments)])
    result = bench_result("fuzz", command, [report.table() for report in reports], ("torch", "numpy", "numba"))
    result = replace(result, commit=commit)  # a long run is of the source that it began with
    if asked.json:
        result.save(asked.json)
    sys.stdout.write(result.heading() + "\n" + "\n".join(report.to_text() for report in reports))
    return 0 if all(report.passed for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
