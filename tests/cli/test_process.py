"""The settings a process takes before torch is imported; each in a process of its own."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from smalto.cli.process import available_cores


def _run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


def test_available_cores_is_positive() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these thresholds")
def test_glibc_takes_the_thresholds() -> None:
    done = _run("from smalto.cli.process import raise_allocation_thresholds as f; print(f())")
    assert done.stdout == "True\n", done.stderr


def test_without_mallopt_nothing_fails() -> None:
    code = (
        "import ctypes\nctypes.CDLL = lambda name: object()\n"
        "from smalto.cli.process import raise_allocation_thresholds as f\nprint(f())"
    )
    assert _run(code).stdout == "False\n"


def test_threads_follow_the_cores_unless_the_user_said_otherwise() -> None:
    code = "from smalto.cli.process import prepare_process as f; f(); import os; print(os.environ['OMP_NUM_THREADS'])"
    assert _run(code, OMP_NUM_THREADS="3").stdout == "3\n"
    own = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=own)
    assert done.stdout == f"{available_cores()}\n"


def test_waiting_threads_sleep_unless_the_user_said_otherwise() -> None:
    code = "from smalto.cli.process import prepare_process as f; f(); import os; print(os.environ['OMP_WAIT_POLICY'])"
    assert _run(code, OMP_WAIT_POLICY="ACTIVE").stdout == "ACTIVE\n"
    own = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=own)
    assert done.stdout == "PASSIVE\n"


def test_importing_the_command_line_sets_nothing() -> None:
    code = "import os, signal; before = dict(os.environ), signal.getsignal(signal.SIGTERM); import smalto.cli; "
    code += "print(before == (dict(os.environ), signal.getsignal(signal.SIGTERM)))"
    assert _run(code).stdout == "True\n"


def test_termination_unwinds_and_leaves_no_half_written_file(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom smalto.cli.process import prepare_process\nfrom smalto.files import replacing\n"
        f"prepare_process()\nwith replacing({str(tmp_path / 'out')!r}) as stream:\n"
        "    stream.write(b'half')\n    os.kill(os.getpid(), signal.SIGTERM)\n    stream.write(b'rest')\n"
    )
    assert _run(code).returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
