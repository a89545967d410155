"""Mutants of the shared space's golden packets: every reader refuses by name or gives what is declared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from smalto.bench.fuzz import fuzz
from smalto.bench.fuzz_judge import FuzzTarget, complaint_about, examined, judge
from smalto.bench.fuzz_report import FuzzReport
from smalto.bits.mutation import Mutant
from smalto.bits.packet import Packet
from smalto.errors import DamagedPacket, PacketError
from smalto.systems.system import System
from tests.systems.golden_neural_space import MAKERS, golden_bytes, golden_one_plane, golden_system

MAX_PIXELS = 1 << 12
NUM_MUTANTS = 216
LIMIT_S = 10.0


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _target(system: System, name: str) -> FuzzTarget:
    limited = System(system.name, system.parts, system.engine, MAX_PIXELS)
    return FuzzTarget(limited, limited, (golden_bytes(name),))


def _report(target: FuzzTarget, num_mutants: int, seed: int) -> FuzzReport:
    return fuzz(target, range(num_mutants), seed, lambda item: judge(target, item, LIMIT_S))


def _outcomes(report: FuzzReport) -> set[str]:
    assert report.passed, report.to_text()
    assert all(verdict.outcome != "picture" for verdict in report.verdicts if not verdict.resealed)
    return {verdict.outcome for verdict in report.verdicts}


@pytest.mark.parametrize("name", MAKERS)
def test_mutants_of_golden_packets_do_no_harm(name: str) -> None:
    outcomes = _outcomes(_report(_target(golden_system(), name), NUM_MUTANTS, 0))
    assert {"picture", "DamagedPacket", "DecodeMismatch", "MissingSpace", "NotAPacket"} <= outcomes


def test_mutants_of_the_joined_packet_do_no_harm_to_its_other_space() -> None:
    outcomes = _outcomes(_report(_target(golden_one_plane(), "joined"), NUM_MUTANTS, 1))
    assert {"picture", "DamagedPacket", "DecodeMismatch", "MissingSpace"} <= outcomes


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_three_thousand_mutants_do_no_harm(name: str) -> None:
    _outcomes(_report(_target(golden_system(), name), 3000, 2))


@pytest.mark.parametrize("name", MAKERS)
def test_healthy_packets_draw_no_complaint(name: str) -> None:
    target = _target(golden_system(), name)
    data = golden_bytes(name)
    assert complaint_about(target, Mutant(0, "original", True, data), examined(target, data)) is None
    assert "unnoticed" in (complaint_about(target, Mutant(0, "original", False, data), examined(target, data)) or "")


@pytest.mark.parametrize("name", MAKERS)
def test_every_byte_of_a_packet_is_guarded(name: str) -> None:
    data = bytearray(golden_bytes(name))
    for place in range(len(data)):
        data[place] ^= 0x5A
        with pytest.raises(PacketError):
            golden_system().latent(bytes(data))
        data[place] ^= 0x5A


@pytest.mark.parametrize("name", ["learned", "archive", "joined"])
def test_a_packet_under_the_other_codecs_digest_is_damage(name: str) -> None:
    system, packet = golden_system(), Packet.from_bytes(golden_bytes(name))
    parts = system.parts
    other = parts.codec_digest if name == "archive" else parts.archive_digest
    spaces = tuple(
        replace(entry, codec_digest=other) if entry.name == parts.spec.space else entry for entry in packet.spaces
    )
    with pytest.raises(DamagedPacket, match="the file is damaged"):
        system.latent(replace(packet, spaces=spaces, file_id=b""))
