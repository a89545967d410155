"""The kernels' decorator: compiled code is kept where that is safe, and its absence is no failure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import smalto.bits
from smalto.bits import compiled

SOURCE = Path(smalto.bits.__file__).parents[2]
KERNEL = """
from smalto.bits.compiled import compiled

@compiled
def twice(value: int) -> int:
    return 2 * value
"""
PROGRAM = """
import warnings
warnings.simplefilter("error")
from kernel import twice
assert twice(21) == 42
print(type(twice._cache).__name__, sum(twice.stats.cache_hits.values()))
"""
CODER_PROGRAM = """
import warnings
warnings.simplefilter("error")
from smalto.bits import rans
from smalto.bits.cdf import tables_from_pmfs
tables = tables_from_pmfs([(-1, [0.25, 0.5, 0.25], 0.1)])
stream = rans.encode([0, 1, 9], [0, 0, 0], tables)
assert rans.decode(stream, [0, 0, 0], tables).tolist() == [0, 1, 9]
print(type(rans._push_all._cache).__name__)
"""


def run(folder: Path, program: str = PROGRAM, **environment: str) -> list[str]:
    """Run a program beside ``kernel.py`` with nothing but the given environment; any warning or error fails."""
    result = subprocess.run(
        [sys.executable, "-B", "-c", program],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{folder}{os.pathsep}{SOURCE}", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout.split()


@pytest.fixture
def install(tmp_path: Path) -> Path:
    """A folder with a kernel beside which nothing can be stored, for root too: ``__pycache__`` is a file there."""
    folder = tmp_path / "install"
    folder.mkdir()
    (folder / "kernel.py").write_text(KERNEL)
    (folder / "__pycache__").write_bytes(b"")
    return folder


def test_kept_beside_the_source(install: Path) -> None:
    (install / "__pycache__").unlink()
    assert run(install, HOME=str(install)) == ["FunctionCache", "0"]
    assert run(install, HOME=str(install)) == ["FunctionCache", "1"]
    assert list((install / "__pycache__").glob("kernel.twice-*.nbi"))


def test_kept_in_the_home_of_a_read_only_install(install: Path, tmp_path: Path) -> None:
    assert run(install, HOME=str(tmp_path)) == ["FunctionCache", "0"]
    assert run(install, HOME=str(tmp_path)) == ["FunctionCache", "1"]
    assert not (install / "~").exists()


def test_kept_in_a_private_folder_without_a_home(install: Path, tmp_path: Path) -> None:
    for hits in ("0", "1"):
        assert run(install, HOME=str(tmp_path / "missing"), TMPDIR=str(tmp_path)) == ["FunctionCache", hits]
    folder = tmp_path / f"smalto-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.rglob("kernel.twice-*.nbi"))
    assert not (tmp_path / "missing").exists()


def test_kept_nowhere_when_no_place_is_safe(install: Path, tmp_path: Path) -> None:
    (tmp_path / f"smalto-{os.getuid()}").write_bytes(b"in the way")
    assert run(install, HOME=str(tmp_path / "missing"), TMPDIR=str(tmp_path)) == ["NullCache", "0"]


@pytest.mark.slow
def test_the_coder_of_a_read_only_install_without_a_home(tmp_path: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SOURCE / "smalto" / "bits", tmp_path / "smalto" / "bits", ignore=ignore)
    shutil.copy(SOURCE / "smalto" / "errors.py", tmp_path / "smalto")
    (tmp_path / "smalto" / "__init__.py").write_bytes(b"")
    (tmp_path / "smalto" / "bits" / "__pycache__").write_bytes(b"")
    program = "import tempfile; tempfile.tempdir = '/nowhere'" + CODER_PROGRAM
    assert run(tmp_path, program, HOME=str(tmp_path / "missing")) == ["NullCache"]


def test_a_folder_that_others_may_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = compiled.private_cache_folder()
    assert folder == tmp_path / f"smalto-{os.getuid()}"
    folder.chmod(0o770)
    assert compiled.private_cache_folder() is None
    folder.rmdir()
    folder.symlink_to(tmp_path)
    assert compiled.private_cache_folder() is None


@pytest.mark.parametrize("home", ["~", "relative", "/no/such/home"])
def test_a_missing_home_is_seen(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    assert not compiled.has_home()


def test_a_home_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compiled.has_home()
