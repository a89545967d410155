"""The frame: errors are one line, exit codes keep their meaning, nothing heavy is imported before it is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from smalto import __version__
from smalto.cli import app
from smalto.errors import DamagedPacket, MissingSpace, SmaltoError, UsageError
from tests.cli.conftest import Outcome

COMMANDS = ("demo", "encode", "decode", "run", "info", "verify", "systems", "train", "bench")
HEAVY = ("numpy", "numba", "torch", "PIL", "rich")


def _process(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    program = code or "from smalto.cli import main; main()"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_lists_every_command(smalto: Callable[..., Outcome]) -> None:
    outcome = smalto("--help")
    assert outcome.code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in outcome.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(smalto: Callable[..., Outcome], command: str) -> None:
    outcome = smalto(command, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith(f"Usage: smalto {command}")


def test_nothing_is_wrong_usage_with_help(smalto: Callable[..., Outcome]) -> None:
    outcome = smalto()
    assert outcome.code == 2
    assert outcome.out.startswith("Usage: smalto")


def test_version(smalto: Callable[..., Outcome]) -> None:
    assert smalto("--version") == Outcome(0, f"smalto {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nonsense",), "no such command 'nonsense'; see smalto --help"),
        (("encode",), "missing argument 'in...'; see smalto encode --help"),
        (("info", "--nonsense", "x"), "no such option: --nonsense; see smalto info --help"),
        (("encode", "x.png", "--tile", "big"), "see smalto encode --help"),
        (("encode", "x.png", "--quality", "101"), "--quality 101: not a quality"),
        (("encode", "x.png", "--quality", "best"), "--quality best: not a quality"),
        (("encode", "x.png", "--quality", "low", "--bpp", "1"), "only one of them can set the rate"),
        (("encode", "x.png", "--bpp", "0"), "--bpp 0: not a rate"),
        (("encode", "x.png", "--bpp", "nan"), "--bpp nan: not a rate"),
        (("encode", "x.png", "--tile", "100"), "--tile 100: not a tile"),
        (("encode", "x.png", "--effort", "3"), "leave --effort out"),
        (("encode", "x.png", "--with", "huvr-0"), "no system is called 'huvr-0'"),
        (("encode", "x.png", "--with", "lite,,lite"), "names divided by commas"),
        (("encode", "x.png"), "x.png: no such file"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    smalto: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = smalto(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("smalto: ")
    assert message in outcome.err.lower()
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (SmaltoError("a: failed; do b"), 1, "a: failed; do b"),
        (MissingSpace("space x is not installed; upgrade"), 1, "space x is not installed; upgrade"),
        (UsageError("wrong"), 2, "wrong"),
        (DamagedPacket("bad\nbytes"), 3, "bad bytes"),
        (PermissionError(13, "Permission denied", "secret.png"), 1, "secret.png: Permission denied"),
        (MemoryError(), 1, "out of memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("division by zero"), 1, "unexpected ZeroDivisionError: division by zero"),
    ],
)
def test_every_error_is_one_line_with_its_exit_code(
    smalto: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    packet_file: Path,
    error: BaseException,
    code: int,
    message: str,
) -> None:
    def fail(source: str) -> None:
        raise error

    monkeypatch.setattr("smalto.cli.info.open_any", fail)
    outcome = smalto("info", packet_file)
    assert (outcome.code, outcome.out) == (code, "")
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("smalto: ")
    assert message in lines[0]


def test_debug_adds_the_traceback_wherever_it_stands(smalto: Callable[..., Outcome], tmp_path: Path) -> None:
    for arguments in (("--debug", "info", tmp_path / "x"), ("info", tmp_path / "x", "--debug")):
        outcome = smalto(*arguments)
        assert outcome.code == 2
        assert outcome.err.startswith("Traceback (most recent call last)")
        assert outcome.err.splitlines()[-1].startswith("smalto: ")


def test_what_follows_two_dashes_is_a_file_name(
    smalto: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "-q: no such file" in smalto("info", "--", "-q").err
    assert app._split_flags(["-q", "info", "--debug", "--", "-q"]) == ({"-q", "--debug"}, ["info", "--", "-q"])


def test_light_commands_import_nothing_heavy(packet_file: Path) -> None:
    program = (
        "import sys\nfrom smalto.cli.app import execute\ncode = execute(sys.argv[1:])\n"
        f"sys.exit(','.join(name for name in {HEAVY!r} if name in sys.modules) or code)"
    )
    for arguments in (("--help",), ("encode", "--help"), ("info", str(packet_file)), ("verify", str(packet_file))):
        done = _process(*arguments, code=program)
        assert done.returncode == 0, (arguments, done.stderr)
    done = _process("systems", code=program)
    assert done.returncode == 0, done.stderr


def test_a_closed_pipe_is_no_traceback(packet_file: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", "from smalto.cli import main; main()", "info", str(packet_file)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_ctrl_c_is_one_line_and_leaves_no_half_written_file(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(b"")
    (tmp_path / "p.smalto").write_bytes(b"old")
    program = (
        "import os, signal, smalto\nimport smalto.cli.encode as command\nfrom smalto.files import replacing\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "def write(target, data):\n    with replacing(target) as stream:\n        stream.write(b'half')\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n        stream.write(data)\n"
        "smalto.load = smalto.read_image = lambda *arguments, **options: None\n"
        "command._encode_one = lambda loaded, job, *rest: write(job.target, b'rest')\n"
        "from smalto.cli import main\nmain()"
    )
    done = _process("encode", str(tmp_path / "p.png"), code=program)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.startswith("smalto: interrupted")
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.png", "p.smalto"]
    assert (tmp_path / "p.smalto").read_bytes() == b"old"
