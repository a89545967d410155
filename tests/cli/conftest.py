"""Command lines run in this process, and small packets made without any network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from smalto.bits.packet import PART_HYPER, PART_MAIN, CodecNumber, Packet, Section, SpaceEntry
from smalto.cli.app import execute


@dataclass(frozen=True)
class Outcome:
    """What a command line did."""

    code: int
    out: str
    err: str


@pytest.fixture
def smalto(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run ``smalto ARGUMENTS...`` in this process."""

    def run(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        code = execute([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def packet() -> Packet:
    """A healthy packet in a space that nobody has."""
    hyper = Section(0, 0, PART_HYPER, CodecNumber.FACTORIZED, 128, True, (b"hyper",))
    main = Section(0, 0, PART_MAIN, CodecNumber.HYPERPRIOR, 128, True, (b"first chunk", b"second"))
    return Packet(
        height=30,
        width=40,
        spaces=(SpaceEntry("elsewhere-0", b"decoder!", b"codec!!!"),),
        sections=(hyper, main),
        metadata={"encoder": "someone", "grey": 1},
    )


@pytest.fixture
def packet_file(packet: Packet, tmp_path: Path) -> Path:
    """The packet as a file."""
    path = tmp_path / "picture.smalto"
    packet.save(path)
    return path
