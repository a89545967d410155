"""Which file each input becomes, settled and checked before any work begins."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from smalto.errors import SmaltoError, UsageError
from smalto.files import replace_file

PIPE = "-"


@dataclass(frozen=True)
class Job:
    """One input, or several views of one scene, and the output they become; each may be ``-``, the pipe.

    Args:
        source: the input, of several views the first.
        target: the output.
        further: the other views.
    """

    source: str
    target: str
    further: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """Every input."""
        return (self.source, *self.further)

    @property
    def source_name(self) -> str:
        """The inputs' names for messages."""
        return " and ".join(display_name(source) for source in self.sources)

    @property
    def target_name(self) -> str:
        """The output's name for messages."""
        return "standard output" if self.target == PIPE else self.target


def display_name(source: str) -> str:
    """An input's name for messages."""
    return "standard input" if source == PIPE else source


def is_url(source: str) -> bool:
    """Whether ``source`` names a file on a web server."""
    return source.startswith(("http://", "https://"))


def check_inputs(sources: Sequence[str]) -> None:
    """Every input exists and the pipe is read at most once.

    Raises:
        UsageError: naming the first input that does not hold.
    """
    if list(sources).count(PIPE) > 1:
        raise UsageError("-: standard input can be read only once; name it once")
    for source in sources:
        if source == PIPE or is_url(source):
            continue
        if os.path.isdir(source):
            raise UsageError(f"{source}: is a folder; name the files in it, as in {os.path.join(source, '*')}")
        if not os.path.exists(source):
            raise UsageError(f"{source}: no such file; check the name")


def plan_jobs(
    sources: Sequence[str], output: str | None, directory: str | None, ending: str, num_views: int = 1
) -> list[Job]:
    """Pair every input, or group of inputs, with its output.

    Args:
        sources: inputs; ``-`` is the pipe, which goes to the pipe unless an output is named.
        output: the one output's name, or None.
        directory: a folder for the outputs, or None for beside each input.
        ending: what replaces the first input's extension in an output's name, as ``.smalto``.
        num_views: inputs that become one output together; ``sources`` holds groups of so many, one after another.

    Raises:
        UsageError: an input is missing, two inputs share one output, or an output is one of the inputs.
    """
    check_inputs(sources)
    if output is not None and directory is not None:
        raise UsageError("-o and -d: only one of them can say where the output goes; leave one out")
    if output is not None and len(sources) > num_views:
        raise UsageError(f"-o {output}: one output for {len(sources)} inputs; use -d for a folder")
    if output is not None and output != PIPE and os.path.isdir(output):
        raise UsageError(f"-o {output}: is a folder; use -d {output}")
    if output is not None and output != PIPE and not Path(output).parent.is_dir():
        raise UsageError(f"-o {output}: there is no folder {Path(output).parent}; make it first")
    groups = [tuple(sources[first : first + num_views]) for first in range(0, len(sources), num_views)]
    jobs = [
        Job(first, output if output is not None else _output_name(first, directory, ending), tuple(further))
        for first, *further in groups
    ]
    _refuse_collisions(jobs)
    if any(job.target == PIPE for job in jobs) and sys.stdout.isatty():
        raise UsageError("-: will not write bytes to a terminal; name an output with -o or redirect it")
    if directory is not None:
        make_folder(directory)
    return jobs


def read_source(source: str) -> bytes:
    """All bytes of an input.

    Raises:
        SmaltoError: it cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if source == PIPE else Path(source).read_bytes()
    except OSError as error:
        raise SmaltoError(f"{source}: cannot be read ({error.strerror}); check its permissions") from error


def open_source(source: str) -> str | BytesIO:
    """The input as readers take it: its path, or the pipe's bytes as a seekable file object."""
    return BytesIO(read_source(source)) if source == PIPE else source


def write_target(target: str, data: bytes) -> None:
    """Write an output whole: atomically to a file, or to the pipe."""
    if target == PIPE:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        replace_file(target, data)


@contextlib.contextmanager
def naming(source: str) -> Iterator[None]:
    """Let errors raised inside name the file they are about."""
    try:
        yield
    except SmaltoError as error:
        if source in str(error):
            raise
        raise type(error)(f"{source}: {error}") from error


def _output_name(source: str, directory: str | None, ending: str) -> str:
    if source == PIPE:
        return PIPE
    name = Path(source.split("?")[0]).stem + ending
    if directory is not None:
        return os.path.join(directory, name)
    return name if is_url(source) else str(Path(source).with_name(name))


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    taken: dict[str, str] = {}
    inputs = {os.path.realpath(source): source for job in jobs for source in job.sources if source != PIPE}
    for job in jobs:
        if job.target == PIPE:
            continue
        place = os.path.realpath(job.target)
        if place in taken:
            raise UsageError(
                f"{taken[place]} and {job.source_name}: both would become {job.target}; rename one or run them apart"
            )
        if place in inputs:
            raise UsageError(
                f"{job.target}: would replace the input {inputs[place]}; choose another name with -o or -d"
            )
        taken[place] = job.source_name


def make_folder(directory: str) -> None:
    """Make an output folder unless it is there.

    Raises:
        SmaltoError: it cannot be made.
    """
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SmaltoError(f"{directory}: cannot make this folder ({error.strerror}); choose another with -d") from error
