"""The command line's frame: which commands there are, and how an error becomes one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the input is damaged or not ours, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from smalto import __version__
from smalto.cli.bench import bench
from smalto.cli.decode import decode
from smalto.cli.demo import demo
from smalto.cli.encode import encode
from smalto.cli.export import export
from smalto.cli.features import features
from smalto.cli.info import info
from smalto.cli.process import prepare_process
from smalto.cli.progress import Reporter
from smalto.cli.run import run
from smalto.cli.systems import systems
from smalto.cli.train import train
from smalto.cli.verify import verify
from smalto.errors import SmaltoError, UsageError

INTERRUPTED = 130
_INTERRUPTED_TEXT = "interrupted; an output that was not finished has not been written"
_QUIET = ("-q", "--quiet")
_DEBUG = "--debug"

app = typer.Typer(
    name="smalto",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, encode, decode, run, info, verify, systems, train, export):
    app.command()(command)
app.add_typer(features, name="features")
app.add_typer(bench, name="bench")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"smalto {__version__}")
        raise typer.Exit


@app.callback()
def root(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing; taken after a command too.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Add the traceback to an error; taken after a command too.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Encode an image once, store it in one small file, let every task read that file."""


def main() -> NoReturn:
    """The ``smalto`` command."""
    prepare_process()
    try:
        code = execute(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def execute(arguments: Sequence[str]) -> int:
    """Run one command line and report errors as one line on stderr.

    Args:
        arguments: what follows ``smalto``.

    Returns:
        The exit code.
    """
    own, rest = _split_flags(arguments)
    debug = _DEBUG in own
    reporter = Reporter(quiet=any(flag in own for flag in _QUIET))
    try:
        if not rest:
            app(["--help"], prog_name="smalto", standalone_mode=False)
            return UsageError.exit_code
        result = app(rest, prog_name="smalto", standalone_mode=False, obj=reporter)
        if result == INTERRUPTED:  # typer turns Ctrl-C into this code
            return _fail(_INTERRUPTED_TEXT, INTERRUPTED, debug)
        return result if isinstance(result, int) else 0
    except SmaltoError as error:
        return _fail(str(error), error.exit_code, debug)
    except TyperException as error:
        return _fail(_usage_message(error, rest[0]), UsageError.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(_INTERRUPTED_TEXT, INTERRUPTED, debug)
    except BrokenPipeError:
        raise
    except MemoryError:
        return _fail("out of memory; close other programs, or encode in smaller tiles with --tile", 1, debug)
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        return _fail(f"{name}{error.strerror or error}; check the name, the permissions and the space left", 1, debug)
    except Exception as error:
        text = f"unexpected {type(error).__name__}: {error}; run again with --debug and report what it prints"
        return _fail(text, 1, debug)


def _split_flags(arguments: Sequence[str]) -> tuple[set[str], list[str]]:
    """Take --debug and -q out wherever they stand before ``--``, so that they work on both sides of the command."""
    stop = arguments.index("--") if "--" in arguments else len(arguments)
    own = {text for text in arguments[:stop] if text == _DEBUG or text in _QUIET}
    return own, [text for text in arguments[:stop] if text not in own] + list(arguments[stop:])


def _usage_message(error: TyperException, first: str) -> str:
    message = error.format_message().rstrip(".")
    names = [command.callback.__name__ for command in app.registered_commands if command.callback]
    page = f"smalto {first} --help" if first in (*names, "features", "bench") else "smalto --help"
    return f"{message[:1].lower()}{message[1:]}; see {page}"


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    sys.stderr.write(f"smalto: {' '.join(message.split())}\n")
    return code
