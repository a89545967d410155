"""The guide to features: every snippet runs, in the order of the page, and leaves what the text says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

numcodecs: Any = pytest.importorskip(
    "numcodecs.registry", reason="numcodecs is not installed; it comes with smalto[export]"
)
zarr: Any = pytest.importorskip("zarr", reason="zarr is not installed; it comes with smalto[export]")

from smalto.export.numcodecs_codec import NumcodecsFeatures  # noqa: E402
from smalto.export.zarr_codec import CODEC_NAME, ZarrFeatures  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guides" / "features.md"
SNIPPET = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the snippets run."""
    folder = tmp_path_factory.mktemp("guide")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SMALTO_PROFILES", str(folder / "profiles"))
        yield folder


@pytest.fixture(scope="module")
def names(folder: Path) -> dict[str, Any]:
    """What the snippets leave behind, after all of them ran."""
    zarr.registry.register_codec(CODEC_NAME, ZarrFeatures)  # what entry points do for an installed package
    numcodecs.register_codec(NumcodecsFeatures)
    held: dict[str, Any] = {}
    snippets = SNIPPET.findall(GUIDE.read_text(encoding="utf-8"))
    assert {language for language, _ in snippets} == {"python", "sh"}
    for language, text in snippets:
        if language == "python":
            exec(compile(text, str(GUIDE), "exec"), held)
            continue
        for line in text.splitlines():
            _command(line)
    return held


def _command(line: str) -> None:
    program, *arguments = shlex.split(line)
    assert program == "smalto"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", "smalto", *arguments], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_python(names: dict[str, Any]) -> None:
    embeddings = names["embeddings"].astype(np.float32)
    noise = np.square(names["back"].astype(np.float32) - embeddings).mean() / embeddings.var()
    assert 0.002 < noise < 0.02
    assert names["back"].dtype == np.float16
    assert len(names["blob"]) < names["embeddings"].nbytes / 3


def test_command_line(names: dict[str, Any], folder: Path) -> None:
    back = np.load(folder / "back.npy")
    assert back.dtype == np.float16
    assert np.abs(back.astype(np.float32) - names["embeddings"]).max() <= 0.05
    bits = 8 * (folder / "small.smalto").stat().st_size / names["embeddings"].size
    assert 1.5 < bits < 2.5


def test_zarr_and_numcodecs(names: dict[str, Any], folder: Path) -> None:
    for name, expected in (("embeddings.zarr", 2), ("embeddings-2.zarr", 10)):
        found = zarr.open_array(folder / name, mode="r")[:]
        assert np.abs(found.astype(np.float32) - names["embeddings"]).max() <= 0.05
        chunks = [
            path for path in (folder / name).rglob("*") if path.is_file() and not path.name.startswith((".z", "zarr"))
        ]
        assert len(chunks) == expected
    assert np.abs(names["same"].astype(np.float32) - names["embeddings"]).max() <= 0.05


def test_packed(names: dict[str, Any]) -> None:
    embeddings = names["embeddings"].astype(np.float32)
    assert names["count"] == 200
    assert np.abs(names["sample"] - embeddings[17]).max() <= 0.05
    assert np.abs(names["run"] - embeddings[40:60]).max() <= 0.05
    assert names["means"].shape == (1, 64)
    assert tuple(names["batch"].shape[1:]) == (32, 64)


def test_lines_are_short() -> None:
    assert max(map(len, GUIDE.read_text(encoding="utf-8").splitlines())) <= 132
