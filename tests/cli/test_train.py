"""What ``train`` refuses before it loads anything, and one real run in small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImages

from tests.cli.conftest import Outcome

Command = Callable[..., Outcome]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with two pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        coarse = PilImages.fromarray(generator.integers(0, 256, (20, 24, 3), np.uint8))
        coarse.resize((160, 140), PilImages.Resampling.BICUBIC).save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("levitation",), "no recipe is called that; there are image-codec"),
        (("image-codec", "--set", "seed"), "write it as key=value"),
        (("image-codec", "--set", "=1"), "write it as key=value"),
        (("image-codec", "--minutes", "0"), "must be above zero"),
        (("image-codec", "--max-steps", "0"), "must be above zero"),
        (("image-codec", "--set", "nonsense=1"), "has no setting 'nonsense'"),
        (("image-codec", "--set", "seed=many"), "seed=many"),
        (("image-codec", "--data", "nowhere"), "nowhere: no such folder"),
    ],
)
def test_wrong_usage(smalto: Command, pictures: Path, arguments: tuple[str, ...], message: str) -> None:
    data = () if "--data" in arguments else ("--data", pictures)
    outcome = smalto("train", *arguments, *data)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err.splitlines()[-1]


def test_a_folder_without_a_run_is_an_error_that_names_it(smalto: Command, pictures: Path) -> None:
    outcome = smalto("train", "image-codec", "--data", pictures, "--resume", pictures)
    assert outcome.code == 1
    assert str(pictures) in outcome.err


def test_describe_says_command_time_and_score(smalto: Command) -> None:
    outcome = smalto("train", "image-codec", "--describe")
    assert outcome.code == 0
    for word in ("Command:", "Time:", "Score:"):
        assert word in outcome.out


@pytest.mark.slow
def test_a_run_starts_resumes_and_keeps_its_settings(smalto: Command, pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    small = ("--set", "crop_px=64", "--set", "batch_size=2", "--max-steps", "1")
    outcome = smalto("train", "image-codec", "--data", pictures, "-o", run, *small)
    assert outcome.code == 0, outcome.err
    state = json.loads((run / "checkpoint" / "state.json").read_text())
    assert (state["recipe"], state["step"], state["settings"]["crop_px"]) == ("image-codec", 1, 64)
    assert sum(piece.stat().st_size for piece in (run / "checkpoint").iterdir()) < 40 << 20
    assert max(piece.stat().st_size for piece in (run / "checkpoint").iterdir()) < 16.5e6
    assert list((run / "weights").glob("*.safetensors"))
    refused = smalto("train", "image-codec", "--data", pictures, "-o", run, *small)
    assert refused.code == 2
    assert f"--resume {run}" in refused.err
    assert smalto("train", "super-resolution", "--data", pictures, "--resume", run).code == 2
    outcome = smalto("train", "image-codec", "--data", pictures, "--resume", run, "--max-steps", "1")
    assert outcome.code == 0, outcome.err
    state = json.loads((run / "checkpoint" / "state.json").read_text())
    assert (state["step"], state["settings"]["crop_px"]) == (2, 64)
