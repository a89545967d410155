"""Every checksum is looked at, in every file, whatever the others hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome


def test_healthy(smalto: Callable[..., Outcome], packet_file: Path) -> None:
    assert smalto("verify", packet_file) == Outcome(0, f"{packet_file}: healthy\n", "")


def test_quiet_is_silent(smalto: Callable[..., Outcome], packet_file: Path) -> None:
    assert smalto("verify", packet_file, "-q") == Outcome(0, "", "")


def test_every_damaged_byte_is_named(smalto: Callable[..., Outcome], packet_file: Path) -> None:
    data = packet_file.read_bytes()
    for place in range(len(data)):
        packet_file.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        outcome = smalto("verify", packet_file)
        assert (outcome.code, outcome.out) == (3, "")
        assert outcome.err.startswith("smalto: ")
        assert str(packet_file) in outcome.err
        assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"", lambda data: b"no"]
)
def test_wrong_lengths_are_damage(
    smalto: Callable[..., Outcome], packet_file: Path, change: Callable[[bytes], bytes]
) -> None:
    packet_file.write_bytes(change(packet_file.read_bytes()))
    assert smalto("verify", packet_file).code == 3


def test_one_damaged_file_does_not_hide_the_others(
    smalto: Callable[..., Outcome], packet_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "broken.smalto"
    other.write_bytes(packet_file.read_bytes()[:-3])
    outcome = smalto("verify", other, packet_file)
    assert outcome.code == 3
    assert outcome.out == f"{packet_file}: healthy\n"
    assert str(other) in outcome.err


def test_missing_file_is_wrong_usage(smalto: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = smalto("verify", tmp_path / "nothing.smalto")
    assert outcome.code == 2
    assert "no such file" in outcome.err
