"""Results come back from JSON as they were, and print as CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smalto
from smalto.bench import results
from smalto.bench.results import BenchResult, Machine, Table, bench_result, source_commit, this_machine
from smalto.errors import UsageError

CELLS = st.one_of(st.none(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False, allow_infinity=False), st.text())
MACHINE = Machine("a processor", 2, 8.0, "", "Linux x86_64")


def result_of(*tables: Table) -> BenchResult:
    return BenchResult("rd", "smalto bench rd", "2026-01-01T00:00Z", "abc", MACHINE, (("numpy", "2.0"),), tables)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=5), st.text())
@settings(max_examples=60, deadline=None)
def test_json_and_back(rows: list[tuple[results.Cell, results.Cell]], note: str) -> None:
    result = result_of(Table("a", ("x", "y"), tuple(rows), note), Table("b", (), ()))
    assert BenchResult.from_json(result.to_json()) == result


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 1}', '{"schema": 99}', "null", '{"schema": 1, "suite": 3}']
)
def test_other_texts_are_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"benchmark result|another version"):
        BenchResult.from_json(text)


def test_csv_reads_back_in_full() -> None:
    table = Table("a", ("name", "value"), (("x,y", 0.1 + 0.2), ("z", None)))
    assert list(csv.reader(io.StringIO(table.to_csv()))) == [["name", "value"], ["x,y", repr(0.1 + 0.2)], ["z", ""]]


def test_markdown_escapes_and_rounds() -> None:
    lines = Table("a", ("name", "value"), (("x|y", 1.23456), ("z", None))).to_markdown(2).splitlines()
    assert lines == ["| name | value |", "|:--|--:|", "| x\\|y | 1.23 |", "| z | - |"]


def test_ragged_rows_and_missing_names_are_refused() -> None:
    with pytest.raises(UsageError, match="cells"):
        Table("a", ("x",), ((1, 2),))
    with pytest.raises(UsageError, match="no column 'y'"):
        Table("a", ("x",), ()).column("y")
    with pytest.raises(UsageError, match="no table 'b'"):
        result_of().table("b")


def test_a_result_says_where_it_comes_from(tmp_path: Path) -> None:
    made = bench_result("coder", "smalto bench coder", [Table("a", (), ())], ["smalto", "no-such-package"])
    assert dict(made.versions)["smalto"] == smalto.__version__
    assert dict(made.versions)["no-such-package"] == "not installed"
    assert made.machine == this_machine()
    assert made.machine.num_cores >= 1
    assert "smalto bench coder" in made.heading()
    made.save(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["suite"] == "coder"


def test_the_commit_is_that_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    package = tmp_path / "src" / "smalto"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    monkeypatch.setattr(results.smalto, "__file__", str(package / "__init__.py"))
    assert source_commit() == git("rev-parse", "HEAD")
    (package / "__init__.py").write_text("x = 1\n")
    assert source_commit() == git("rev-parse", "HEAD") + "+"
    (tmp_path / "lib" / "smalto").mkdir(parents=True)
    monkeypatch.setattr(results.smalto, "__file__", str(tmp_path / "lib" / "smalto" / "__init__.py"))
    assert source_commit().startswith("smalto ")
