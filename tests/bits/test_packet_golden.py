"""Old bytes are read for ever: every golden packet, and what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smalto.bits.packet import Packet
from smalto.errors import UnsupportedVersion
from tests.bits.packet_examples import EXAMPLES, GOLDEN

# The ids stand here so that another way of deriving them would not touch what these files say.
FILE_IDS = {"one-section": "37c46e99", "two-sections": "dc7f2d6a", "tiles": "61388816", "unknown-skipped": "2ba65a8b"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_golden_packet_reads_as_it_always_did(name: str) -> None:
    path = GOLDEN / f"packet-{name}.smalto"
    expected = replace(EXAMPLES[name], file_id=bytes.fromhex(FILE_IDS[name]))
    assert Packet.load(path) == expected
    assert list(Packet.load(path).metadata) == list(expected.metadata)
    with Packet.open(path) as reader:
        assert reader.verify().healthy
        assert reader.file_bytes == path.stat().st_size


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unknown-critical", "section 0 needs codec 77"),
        ("version-2", "format version 2"),
        ("array-set", "files of array set are not known"),
        ("trailing-table", "with its table at the end are not known"),
    ],
)
def test_golden_packets_of_later_versions_are_refused(name: str, message: str) -> None:
    with pytest.raises(UnsupportedVersion, match=message) as caught:
        Packet.load(GOLDEN / f"packet-{name}.smalto")
    assert caught.value.exit_code == 3
