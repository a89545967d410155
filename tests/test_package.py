"""The wheel does the main job where nothing may be written: a read-only install, no home folder, no network."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImages

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("src", "pyproject.toml", "README.md", "LICENSE")
_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE = 1

PROGRAM = """
import socket, sys

def refuse(*arguments):
    raise OSError("the test allows no network")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
import smalto
from pathlib import Path
home = Path(smalto.__file__).parent
for folder in (home, home / "bits", home / "weights"):
    try:
        (folder / "probe").write_bytes(b"")
    except OSError:
        continue
    sys.exit(f"{folder} can be written, so this test shows nothing")
assert not Path.home().exists()
from smalto.cli import main
main()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder holding the installed wheel, read-only."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, source / name)
    wheels, site = source / "dist", tmp_path_factory.mktemp("site")
    _call("-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(source))
    (wheel,) = wheels.glob("*.whl")
    _call("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    for path in [site, *site.rglob("*")]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    return site


def test_demo_runs_offline_from_a_read_only_install(installed: Path, tmp_path: Path) -> None:
    picture = tmp_path / "waves.png"
    y, x = np.mgrid[0:96, 0:160]
    waves = np.stack([128 + 90 * np.sin(x / 9), 128 + 90 * np.cos(y / 7), 128 + 60 * np.sin((x + y) / 5)], axis=2)
    PilImages.fromarray(waves.astype(np.uint8)).save(picture)
    out = tmp_path / "report"
    done = _smalto(installed, "demo", str(picture), "-o", str(out))
    assert done.returncode == 0, done.stderr
    page = (out / "index.html").read_text()
    for name in ("waves.smalto", "waves.original.png", "waves.smalto.png", "waves.upscale.png"):
        assert (out / name).stat().st_size > 0
        assert name in page or name == "waves.upscale.png"
    with PilImages.open(out / "waves.upscale.png") as upscaled:
        assert upscaled.size == (320, 192)
    done = _smalto(installed, "verify", str(out / "waves.smalto"))
    assert done.returncode == 0, done.stderr


def test_wheel_holds_weights_licence_and_types(installed: Path) -> None:
    names = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    assert "smalto/py.typed" in names
    assert "smalto/weights/index.json" in names
    assert any(name.startswith("smalto/weights/") and name.endswith(".safetensors") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    sources = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.py")}
    assert sources <= names
    assert not any(name.split("/")[0] in ("tests", "docs") for name in names)
    assert sum(path.stat().st_size for path in (installed / "smalto" / "weights").iterdir()) < 24_000_000


def _call(*arguments: str) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _smalto(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(site), "HOME": str(site / "no-home")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=site.parent,
        env=environment,
        preexec_fn=_obey_permissions,
    )


def _obey_permissions() -> None:
    """Give up root's right to write where the mode forbids it; it takes effect in the program started next."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0)
