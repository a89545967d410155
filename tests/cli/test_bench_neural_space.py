"""``smalto bench neural-space``: options reach the suites, the report reaches stdout and a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from smalto.bench import neural_space
from smalto.bench.results import Table
from smalto.bench.space_sources import Absent
from tests.cli.conftest import Outcome

Command = Callable[..., Outcome]


def test_the_report_says_what_was_skipped(smalto: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[neural_space.NeuralSpaceSettings] = []

    def costs(settings: neural_space.NeuralSpaceSettings, tell: neural_space.Progress) -> list[Table]:
        seen.append(settings)
        tell(1, 1, "done")
        return [Table("figures", ("part", "seconds"), (("encoder", 0.25),), "A note.")]

    def raw(settings: neural_space.NeuralSpaceSettings, tell: neural_space.Progress) -> list[Table]:
        raise Absent("no RAW encoder")

    monkeypatch.setitem(neural_space.SUITES, "costs", costs)
    monkeypatch.setitem(neural_space.SUITES, "raw", raw)
    arguments = ("bench", "neural-space", "--data", tmp_path, "--only", "raw,costs", "--count", "3", "--rounds", "2")
    run = ("--run", f"space={tmp_path}", "--qualities", "5,50", "--dtype", "auto", "--quick")
    outcome = smalto(*arguments, *run, "--json", tmp_path / "a.json")
    assert outcome.code == 0, outcome.err
    assert "| raw | skipped | no RAW encoder |" in outcome.out
    assert "### costs: figures\n\nA note." in outcome.out
    (settings,) = seen
    assert (settings.count, settings.rounds, settings.quick, settings.qualities) == (3, 2, True, (5.0, 50.0))
    assert settings.sources.runs == {"space": (str(tmp_path),)}
    assert settings.sources.dtype is None
    tables = json.loads((tmp_path / "a.json").read_text())["tables"]
    assert [table["name"] for table in tables] == ["suites", "costs: figures"]


def test_speed_alone_measures_nothing_else(smalto: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neural_space, "_speed", lambda settings, tell: [Table("speed", ("part",), (("x",),))])
    outcome = smalto("bench", "neural-space", "--speed")
    assert outcome.code == 0, outcome.err
    assert "| speed | measured | speed |" in outcome.out
    assert "reconstruction" not in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "smell"), "no such suite"),
        (("--qualities", "1,two"), "not a list of numbers"),
        (("--qualities", "1,200"), "qualities are 0..100"),
        (("--dtype", "float8"), "choose float32"),
        (("--rounds", "0"), "must be 1 or more"),
        (("--count", "0"), "must be 1 or more"),
        (("--data", "/nowhere/at/all"), "no such folder"),
        (("--run", "space"), "PART=FOLDER"),
        (("--run", "smell=."), "no such part"),
    ],
)
def test_wrong_usage(smalto: Command, arguments: tuple[str, ...], message: str) -> None:
    outcome = smalto("bench", "neural-space", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
