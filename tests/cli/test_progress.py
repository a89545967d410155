"""Notes go to stderr, and nothing at all is said quietly."""

from __future__ import annotations

import pytest

from smalto.cli.progress import Reporter


def test_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Reporter().line("done")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "done\n")


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(quiet=True)
    reporter.line("done")
    assert list(reporter.track([1, 2, 3], "work")) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


def test_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(Reporter().track([1, 2, 3], "work")) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert list(Reporter().track([1, 2, 3], "work")) == [1, 2, 3]
    out, err = capsys.readouterr()
    assert out == ""
    assert "work" in err
