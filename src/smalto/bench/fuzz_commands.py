"""Mutants through the command line: info, verify and decode, in a process that serves or in one for each command."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from smalto.bench.fuzz_report import Verdict
from smalto.bits.mutation import Mutant
from smalto.bits.packet import Packet
from smalto.errors import UsageError

COMMAND_LIMIT_S = 1.0
START_LIMIT_S = 120.0
"""Until a new process has imported everything and answered; a command by itself has a second of processor time."""
HEALTHY, FAILED, DAMAGED = 0, 1, 3
_MISSING_SPACE = "install the weights with these digests"
_COMMAND = "from smalto.cli import main; main()"
_SERVER = """
import contextlib, io, json, sys, time
from smalto.cli.app import execute
answers = sys.stdout
for line in sys.stdin:
    out, err, started = io.StringIO(), io.StringIO(), time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = execute(json.loads(line))
    answers.write(json.dumps([code, out.getvalue(), err.getvalue(), time.process_time() - started]) + "\\n")
    answers.flush()
"""


@dataclass(frozen=True)
class CommandAnswer:
    """What a command did.

    Args:
        code: exit code.
        out: standard output.
        err: standard error.
        seconds: of processor time; of the clock for a process of its own.
    """

    code: int
    out: str
    err: str
    seconds: float


class CommandLine(Protocol):
    """Runs ``smalto ARGUMENTS``."""

    limit_s: float

    def __call__(self, arguments: Sequence[str]) -> CommandAnswer:
        """The answer. Raises TimeoutError when there is none."""
        ...


class SpawnedCommandLine:
    """A new process for every command, as a shell starts it."""

    label = "commands in processes of their own"
    limit_s = START_LIMIT_S

    def __enter__(self) -> SpawnedCommandLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def __call__(self, arguments: Sequence[str]) -> CommandAnswer:
        """Run one command."""
        started = time.perf_counter()
        command = [sys.executable, "-c", _COMMAND, *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=self.limit_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"no answer in {self.limit_s} s") from error
        return CommandAnswer(done.returncode, done.stdout, done.stderr, time.perf_counter() - started)


class ServedCommandLine:
    """One process that runs the command line's entry point again and again."""

    label = "commands in one process"
    limit_s = COMMAND_LIMIT_S

    def __init__(self) -> None:
        self._server: subprocess.Popen[str] | None = None

    def __enter__(self) -> ServedCommandLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.communicate()
            self._server = None

    def __call__(self, arguments: Sequence[str]) -> CommandAnswer:
        """Run one command; a process that dies or is silent is replaced for the next."""
        if self._server is None:
            command = [sys.executable, "-c", _SERVER]
            pipe, one_thread = subprocess.PIPE, {**os.environ, "OMP_NUM_THREADS": "1"}
            self._server = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=one_thread)
        server = self._server
        if server.stdin is None or server.stdout is None:
            raise RuntimeError("the process has no pipes")
        server.stdin.write(json.dumps(list(arguments)) + "\n")
        server.stdin.flush()
        readable, _, _ = select.select([server.stdout], [], [], START_LIMIT_S)
        line = server.stdout.readline() if readable else ""
        if not line:
            self._stop()
            raise TimeoutError(f"no answer in {START_LIMIT_S} s" if not readable else "the process died")
        return CommandAnswer(*json.loads(line))


@contextlib.contextmanager
def judge_commands(command_line: CommandLine, healthy: bytes) -> Iterator[Callable[[Mutant], Verdict]]:
    """A judge for ``fuzz`` that writes each mutant to a file and runs info, verify and decode on it.

    Args:
        command_line: runs the commands.
        healthy: a file that it must decode; this also loads the system before any time is taken.

    Raises:
        UsageError: it does not.
    """
    with tempfile.TemporaryDirectory(prefix="smalto-fuzz-") as folder:
        source, target = Path(folder) / "healthy.smalto", Path(folder) / "healthy.png"
        source.write_bytes(healthy)
        answer = command_line(["decode", str(source), "-o", str(target)])
        if answer.code != HEALTHY or not target.exists():
            raise UsageError(f"the command line does not decode a healthy file; it says {answer.err.strip()!r}")
        yield lambda item: _judge(command_line, item, Path(folder))


def _judge(command_line: CommandLine, item: Mutant, folder: Path) -> Verdict:
    source, target = folder / "mutant.smalto", folder / "picture.png"
    source.write_bytes(item.data)
    commands = (("info", source), ("verify", source), ("decode", source, "-o", target))
    answers, complaint = {}, None
    for command in commands:
        try:
            answer = command_line([str(part) for part in command])
        except TimeoutError as error:
            complaint = f"{command[0]}: {error}"
            break
        answers[command[0]] = answer
        complaint = complaint or _answer_complaint(command[0], answer, command_line.limit_s)
    decoded = answers.get("decode")
    if decoded is not None and complaint is None:
        complaint = _complaint(item, answers["verify"].code, decoded.code, target)
    outcome = "no answer" if decoded is None else f"exit {decoded.code}"
    seconds = max((answer.seconds for answer in answers.values()), default=0.0)
    target.unlink(missing_ok=True)
    return Verdict(item.number, item.kind, item.resealed, outcome, seconds, complaint)


def _answer_complaint(command: str, answer: CommandAnswer, limit_s: float) -> str | None:
    """What is wrong with a command's answer by itself."""
    lines = answer.err.splitlines()
    if answer.seconds > limit_s:
        return f"{command}: {answer.seconds:.2f} s"
    if answer.code not in (HEALTHY, FAILED, DAMAGED):
        return f"{command}: exit code {answer.code}"
    if answer.code == HEALTHY:
        return None
    if not lines or not all(line.startswith("smalto: ") for line in lines) or "unexpected" in answer.err:
        return f"{command}: exit code {answer.code} and {answer.err[:300]!r}"
    if answer.code == FAILED and _MISSING_SPACE not in answer.err:
        return f"{command}: exit code 1 and {answer.err[:300]!r}"
    return None if len(lines) == 1 or command == "verify" else f"{command}: {len(lines)} lines of error"


def _complaint(item: Mutant, verified: int, decoded: int, target: Path) -> str | None:
    """What is wrong with the answers of verify and decode taken together."""
    from PIL import Image as PilImages

    if target.exists() != (decoded == HEALTHY):
        return f"decode: exit code {decoded}, and a picture is {'there' if target.exists() else 'missing'}"
    if not item.resealed and HEALTHY in (verified, decoded):
        return f"damage went unnoticed: verify {verified}, decode {decoded}"
    if decoded != HEALTHY:
        return None
    if verified != HEALTHY:
        return f"decode gives a picture, verify exit code {verified}"
    header = Packet.open(item.data).header
    with PilImages.open(target) as picture:
        size = picture.size
    return None if size == (header.width, header.height) else f"a picture of {size[0]} x {size[1]} pixels"
