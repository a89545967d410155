"""What ``info`` says is what the file holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from smalto.bits.packet import Packet
from tests.cli.conftest import Outcome


def test_json_states_the_true_size_and_every_byte(
    smalto: Callable[..., Outcome], packet_file: Path, packet: Packet
) -> None:
    outcome = smalto("info", packet_file, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    record = json.loads(outcome.out)
    size = packet_file.stat().st_size
    assert record["bytes"] == size
    assert record["bits_per_pixel"] == pytest.approx(8 * size / (30 * 40))
    assert record["latent_bits_per_pixel"] == pytest.approx(8 * packet.payload_bytes / (30 * 40))
    ranges = [record["header_bytes"], *(section["byte_range"] for section in record["sections"])]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == size - 1
    for (_, last), (first, _) in pairwise(ranges):
        assert first == last + 1
    assert record["spaces"] == [
        {
            "name": "elsewhere-0",
            "decoder_digest": b"decoder!".hex(),
            "codec_digest": b"codec!!!".hex(),
            "draft": True,
        }
    ]
    assert record["tasks"] == []
    assert record["metadata"] == {"encoder": "someone", "grey": 1}
    assert [section["part"] for section in record["sections"]] == ["hyper", "main"]
    assert [section["codec"] for section in record["sections"]] == ["factorized", "hyperprior"]
    assert [section["chunks"] for section in record["sections"]] == [1, 2]


def test_text_is_for_people(smalto: Callable[..., Outcome], packet_file: Path) -> None:
    text = smalto("info", packet_file).out
    assert "40 x 30 pixels" in text
    assert f"{packet_file.stat().st_size} bytes" in text
    assert "bits_per_pixel (whole file)" in text
    assert "draft: may vanish" in text
    assert "none: no space of it is installed here" in text
    assert "hyperprior, q 128, 2 chunks" in text


def test_several_files(smalto: Callable[..., Outcome], packet_file: Path) -> None:
    outcome = smalto("info", packet_file, packet_file, "--json")
    first, second = outcome.out.splitlines()
    assert json.loads(first) == json.loads(second)


def test_damaged_header_is_exit_3_and_names_the_file(smalto: Callable[..., Outcome], packet_file: Path) -> None:
    data = bytearray(packet_file.read_bytes())
    data[12] ^= 1
    packet_file.write_bytes(data)
    outcome = smalto("info", packet_file)
    assert (outcome.code, outcome.out) == (3, "")
    assert str(packet_file) in outcome.err


def test_something_else_is_exit_3(smalto: Callable[..., Outcome], tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert smalto("info", path).code == 3
