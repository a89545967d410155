"""The import contract holds, and it covers every module there is."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _layers() -> list[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return next(contract["layers"] for contract in contracts if contract["type"] == "layers")


def test_contract_holds() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_contract_breaks_on_an_upward_import(tmp_path: Path) -> None:
    package = tmp_path / "smalto"
    for room in ("cli", "systems", "bits"):
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").write_text("")
    for module in ("types", "files", "errors"):
        (package / f"{module}.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "bits" / "wrong.py").write_text("def read():\n    import smalto.systems\n")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "smalto.bits.wrong -> smalto.systems" in done.stdout


def test_every_room_is_a_package() -> None:
    source = ROOT / "src" / "smalto"
    rooms = {name.strip(" ()") for layer in _layers() for name in layer.split("|")}
    for folder in source.iterdir():
        if folder.is_dir() and folder.name != "__pycache__":
            assert folder.name in rooms
    for folder in source.rglob("*"):
        if folder.is_dir() and any(folder.glob("*.py")):
            assert (folder / "__init__.py").exists(), f"{folder} would be missing from the wheel"
