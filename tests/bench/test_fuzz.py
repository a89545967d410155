"""The fuzz run finds nothing here, and would find what it is meant to find."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from smalto.bench import fuzz as fuzz_command
from smalto.bench.fuzz import fuzz, fuzz_target
from smalto.bench.fuzz_commands import CommandAnswer, ServedCommandLine, judge_commands
from smalto.bench.fuzz_judge import FuzzTarget, Verdict, judge
from smalto.bench.miniature import miniature_factorized_system, miniature_system
from smalto.bits.mutation import KINDS, Mutant, mutant
from smalto.bits.packet import Packet
from smalto.cli.app import execute
from smalto.errors import DamagedPacket, UsageError
from smalto.systems.system import System

MAX_PIXELS = 1 << 20


@pytest.fixture(scope="module")
def target() -> Iterator[FuzzTarget]:
    """The miniature system and its files, read by one thread as the command does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield fuzz_target(miniature_system(), MAX_PIXELS)
    torch.set_num_threads(threads)


def test_two_thousand_mutants_do_no_harm(target: FuzzTarget) -> None:
    report = fuzz(target, range(2000))
    assert report.passed, report.to_text()
    outcomes = {verdict.outcome for verdict in report.verdicts}
    assert {"picture", "DamagedPacket", "DecodeMismatch", "LimitExceeded", "MissingSpace", "NotAPacket"} <= outcomes
    assert all(verdict.outcome != "picture" for verdict in report.verdicts if not verdict.resealed)
    table = report.table()
    assert table.rows[-1][2] == 2000
    assert sum(int(cell or 0) for cell in table.rows[-1][3:]) == 2000


def test_five_hundred_mutants_of_the_factorised_codec_do_no_harm(target: FuzzTarget) -> None:
    report = fuzz(fuzz_target(miniature_factorized_system(), MAX_PIXELS), range(500))
    assert report.passed, report.to_text()
    assert {"picture", "DecodeMismatch"} <= {verdict.outcome for verdict in report.verdicts}


@pytest.mark.slow
def test_twenty_thousand_mutants_do_no_harm(target: FuzzTarget) -> None:
    report = fuzz(target, range(20_000), seed=1)
    assert report.passed, report.to_text()


def test_the_target_has_files_of_many_forms(target: FuzzTarget) -> None:
    packets = [Packet.from_bytes(data) for data in target.originals]
    assert {1, 12} <= {packet.sections[1].num_chunks for packet in packets}
    assert any(len(packet.sections) == 3 for packet in packets)
    assert any(packet.metadata.get("grey") == 1 for packet in packets)
    assert len({packet.sections[0].q for packet in packets}) > 3


def _judged(target: FuzzTarget, data: bytes, resealed: bool = True, limit_s: float = 10.0) -> Verdict:
    return judge(target, Mutant(0, "made here", resealed, data), limit_s)


def test_a_judge_notices_what_it_must(target: FuzzTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = target.originals[1]
    assert _judged(target, healthy).complaint is None
    assert "unnoticed" in (_judged(target, healthy, resealed=False).complaint or "")

    def crash(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    def two_lines(*_: object) -> None:
        raise DamagedPacket("one\ntwo")

    def forever(*_: object) -> None:
        while True:
            time.perf_counter()

    def other_error(*_: object) -> None:
        raise UsageError("the file is not the caller's fault")

    for reader, outcome in (
        (crash, "crash"),
        (two_lines, "DamagedPacket"),
        (other_error, "crash"),
        (forever, "too long"),
    ):
        monkeypatch.setattr(System, "run", reader)
        verdict = _judged(target, healthy, limit_s=0.3)
        assert (verdict.outcome, verdict.complaint is None) == (outcome, False), verdict


def test_a_judge_measures_pictures(target: FuzzTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    other = target.system.run("reconstruct", target.originals[2])
    monkeypatch.setattr(System, "run", lambda *_: other)
    assert "is declared" in (_judged(target, target.originals[1]).complaint or "")


def test_files_over_max_pixels_give_no_picture(target: FuzzTarget) -> None:
    small = FuzzTarget(
        System("small", target.system.parts, target.system.engine, 40 * 56 - 1), target.wide, target.originals
    )
    verdict = _judged(small, target.originals[1])
    assert (verdict.outcome, verdict.complaint) == ("LimitExceeded", None)


def _in_process(arguments: Sequence[str]) -> CommandAnswer:
    out, err, started = io.StringIO(), io.StringIO(), time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = execute(list(arguments))
    return CommandAnswer(code, out.getvalue(), err.getvalue(), time.process_time() - started)


_in_process.limit_s = 10.0  # type: ignore[attr-defined]


@pytest.fixture
def _miniature_installed(target: FuzzTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalto.cli.packets.LoadedSystems.reading", lambda self, packets, task: target.system)
    monkeypatch.setattr("smalto.cli.info.answered_tasks", lambda header: ("reconstruct",))


@pytest.mark.usefixtures("_miniature_installed")
def test_fifty_mutants_through_the_command_line(target: FuzzTarget) -> None:
    with judge_commands(_in_process, target.originals[0]) as judging:
        report = fuzz(target, range(54), seed=3, judging=judging)
    assert report.passed, report.to_text()
    assert {"exit 0", "exit 3"} <= {verdict.outcome for verdict in report.verdicts}


@pytest.mark.usefixtures("_miniature_installed")
def test_the_judge_of_commands_notices_what_it_must(target: FuzzTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Mutant(0, "made here", True, target.originals[1])
    with judge_commands(_in_process, target.originals[0]) as judging:
        assert (judging(whole).outcome, judging(whole).complaint) == ("exit 0", None)
        assert "unnoticed" in (judging(Mutant(0, "made here", False, whole.data)).complaint or "")
        cut = judging(Mutant(0, "made here", False, whole.data[:-1]))
        assert (cut.outcome, cut.complaint) == ("exit 3", None)
        monkeypatch.setattr("smalto.cli.decode.write_answer", lambda *_: None)
        assert "missing" in (judging(whole).complaint or "")
        monkeypatch.setattr(System, "run", lambda *_: 1 / 0)
        assert "unexpected" in (judging(whole).complaint or "")


@pytest.mark.usefixtures("_miniature_installed")
def test_a_command_line_that_reads_nothing_is_not_fuzzed() -> None:
    with pytest.raises(UsageError, match="not a"), judge_commands(_in_process, b"nothing"):
        pass


def test_a_served_command_line_answers_and_is_replaced_when_it_dies(tmp_path: Path) -> None:
    with ServedCommandLine() as command_line:
        first = command_line(["verify", str(tmp_path / "absent.smalto")])
        assert first.code == 2
        assert first.err.startswith("smalto: ")
        assert command_line._server is not None
        command_line._server.kill()
        command_line._server.wait()
        with pytest.raises((TimeoutError, BrokenPipeError)):
            command_line(["--version"])
        command_line._stop()
        assert command_line(["--version"]).out.startswith("smalto ")


def test_the_command_reports_and_exits(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["--count", "36", "--factorized", "18", "--installed", "0", "--command-line", "0"]
    assert fuzz_command.main([*arguments, "--json", str(tmp_path / "fuzz.json")]) == 0
    text = capsys.readouterr().out
    assert "miniature-0: 36 mutants of seed 0" in text
    assert "miniature-factorized-0: 18 mutants of seed 0" in text
    assert all(kind in text for kind in KINDS)
    assert (tmp_path / "fuzz.json").exists()


def test_a_failure_is_reported_with_its_number(target: FuzzTarget) -> None:
    def judging(item: Mutant) -> Verdict:
        return Verdict(item.number, item.kind, item.resealed, "crash", 0.0, "a bug" if item.number == 7 else None)

    report = fuzz(target, range(9), judging=judging)
    assert not report.passed
    assert f"FAILED: mutant 7 ({mutant(target.originals, 7).kind}, checksums old): a bug" in report.to_text()
