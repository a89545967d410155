"""The benchmark commands: options reach the suites, results reach stdout and files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImages

from smalto.bench import feature_learned, features
from smalto.codecs.index_planes import freeze_index_planes
from tests.bench.feature_maps import MapSource
from tests.cli.conftest import Outcome
from tests.codecs.test_index_planes import tiny

Command = Callable[..., Outcome]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with one picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    y, x = np.mgrid[0:192, 0:176]
    waves = np.stack([128 + 100 * np.sin(x / k + y / 13) for k in (5, 7, 9)], axis=2)
    PilImages.fromarray(waves.astype(np.uint8)).save(folder / "waves.png")
    return folder


def test_rd_measures_peers_and_writes_json(smalto: Command, pictures: Path, tmp_path: Path) -> None:
    arguments = ("--data", pictures, "--system", "none", "--peers", "jpeg", "--published", "none")
    outcome = smalto("bench", "rd", *arguments, "--json", tmp_path / "rd.json")
    assert outcome.code == 0, outcome.err
    assert "## Mean curves" in outcome.out
    result = json.loads((tmp_path / "rd.json").read_text())
    rows = next(table for table in result["tables"] if table["name"] == "pictures")["rows"]
    assert {row[0] for row in rows} == {"jpeg"}
    again = smalto("bench", "rd", *arguments, "--peers-from", tmp_path / "rd.json", "-q")
    assert again.code == 0
    assert again.err == ""


def test_coder_measures_streams(smalto: Command, tmp_path: Path) -> None:
    outcome = smalto("bench", "coder", "--symbols", "10000", "--rounds", "1", "--json", tmp_path / "coder.json")
    assert outcome.code == 0, outcome.err
    names = {table["name"] for table in json.loads((tmp_path / "coder.json").read_text())["tables"]}
    assert {"speed", "streams", "tables"} <= names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "missing command; see smalto bench --help"),
        (("levitation",), "no such command 'levitation'; see smalto bench --help"),
        (("rd", "--qualities", "1,two"), "not a list of numbers"),
        (("rd", "--peers", "jpeg3000"), "jpeg3000"),
        (("rd", "--published", "moon"), "moon"),
        (("coder", "--symbols", "3"), "10000 symbols"),
        (("features", "--speed", "--values", "3"), "values"),
        (("features", "--speed", "--loading"), "one at a time"),
        (("features", "--transform", "--speed"), "one at a time"),
        (("features", "--output", "x"), "only with --transform"),
        (("features", "--data", ".", "--tiers", "slow"), "no tier is called 'slow'"),
        (("features", "--data", ".", "--qualities", "9,x"), "not a list of whole numbers"),
        (("features", "--data", ".", "--transform", "--sources", "nothing"), "nothing"),
        (("features", "--data", ".", "--count", "0"), "must be 1 or more"),
        (("features", "--data", ".", "--sources", "nothing"), "nothing"),
        (("speed", "--threads", "two"), "not a list of numbers"),
        (("speed", "--sizes", "1,big"), "not a list of numbers"),
        (("speed", "--quality", "fine"), "not a quality"),
    ],
)
def test_wrong_usage(smalto: Command, pictures: Path, arguments: tuple[str, ...], message: str) -> None:
    data = ("--data", pictures) if "rd" in arguments else ()
    outcome = smalto("bench", *arguments, *data)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_features_measures_learned_tiers_and_the_transform(
    smalto: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = freeze_index_planes(tiny())
    monkeypatch.setenv("SMALTO_PROFILES", str(tmp_path / "profiles"))
    monkeypatch.setattr(features, "feature_source", lambda name, data: MapSource(name, side=16))
    monkeypatch.setattr(feature_learned, "codec_of_file", lambda path: network)
    arguments = ("bench", "features", "--data", tmp_path, "--sources", "squeezenet,minilm", "--count", "3")
    networks = ("--network", "planes.safetensors", "--baseline-network", "linear.safetensors")
    tiers = ("--tiers", "fast,hyperprior", "--qualities", "0,255", "--no-peers")
    outcome = smalto(*arguments, *networks, *tiers, "--json", tmp_path / "features.json")
    assert outcome.code == 0, outcome.err
    result = json.loads((tmp_path / "features.json").read_text())
    points = next(table for table in result["tables"] if table["name"] == "points")
    codecs = {row[points["columns"].index("codec")] for row in points["rows"]}
    assert {"smalto fast", "smalto hyperprior", "lloyd-max, network of truncated"} < codecs
    assert len(codecs) == 4 + 6
    assert (
        "--qualities 0,255 --network planes.safetensors --baseline-network linear.safetensors --no-peers" in outcome.out
    )

    pytest.importorskip("matplotlib", reason="the plot needs it (extra bench)")
    outcome = smalto(*arguments, *networks, "--transform", "-o", tmp_path / "report")
    assert outcome.code == 0, outcome.err
    assert "## Active latents" in outcome.out
    assert (tmp_path / "report" / "feature-transform.png").read_bytes().startswith(b"\x89PNG")
