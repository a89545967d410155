"""Old packets of the shared space are read for ever: every golden packet, its symbols, its planes and its picture.

``tests.systems.golden_neural_space`` says what each file is and how it was made.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from smalto.bits.packet import FILE_SPACE, CodecNumber, Packet
from smalto.errors import MissingSpace
from smalto.systems.joined_packets import space_fact
from tests.systems.golden_neural_space import (
    FOLDER,
    MAKERS,
    SYMBOLS,
    expected,
    found,
    golden_archive,
    golden_bytes,
    golden_one_plane,
    golden_system,
)

SIZES = {"learned": (27, 75), "raw": (26, 37), "archive": (21, 69), "joined": (19, 31)}
PICTURES = ("picture", "one_plane")


@pytest.mark.parametrize("name", MAKERS)
def test_a_golden_packet_gives_what_it_always_did(name: str) -> None:
    told, held = found(name), expected(name)
    assert told.symbols == json.loads(SYMBOLS.read_text())[name]
    assert (told.latent.height, told.latent.width) == SIZES[name]
    arrays = told.arrays
    assert {key: (array.shape, array.dtype) for key, array in arrays.items()} == {
        key: (array.shape, array.dtype) for key, array in held.items()
    }
    for key, before in held.items():
        if key in PICTURES:
            error = np.square(arrays[key].astype(np.float64) - before).mean()
            assert error <= 255**2 / 10**6, f"{name}: {key} is less than 60 dB from what it was"
            assert before.std() > 5
        elif key == "alpha":
            assert np.array_equal(arrays[key], before)
        else:
            assert np.abs(arrays[key] - before).max() <= 1e-5 * np.ptp(before)
            assert np.ptp(before) > 0


def test_golden_packets_are_of_the_forms_that_they_are_for() -> None:
    packets = {name: Packet.from_bytes(golden_bytes(name)) for name in MAKERS}
    codecs = {name: [section.codec for section in packet.sections] for name, packet in packets.items()}
    learned, archive, alpha = CodecNumber.HYPERPRIOR, CodecNumber.ARCHIVE, CodecNumber.LOSSLESS
    assert codecs == {
        "learned": [learned, learned, alpha],
        "raw": [learned, learned],
        "archive": [archive, archive],
        "joined": [learned, learned, learned, learned, alpha],
    }
    assert [len(section.chunks) for section in packets["learned"].sections] == [1, 2, 1]
    assert [len(section.chunks) for section in packets["archive"].sections] == [2, 2]
    assert packets["raw"].metadata == {"encoder": "raw", "offset": b"\x00\x01"}
    assert packets["archive"].metadata == {"grey": 1, "tile": 64}
    assert space_fact(packets["joined"], "lite-0", "encoder") == "other"
    assert space_fact(packets["joined"], "neural-0", "encoder") is None
    assert packets["joined"].sections[-1].space == FILE_SPACE
    assert golden_system().latent(packets["raw"]).offset_px == (0, 1)
    assert golden_system().run("reconstruct", packets["archive"]).grey


def test_digests_name_the_weights_that_packets_were_written_for() -> None:
    system, other = golden_system(), golden_one_plane()
    assert system.parts.archive_digest == golden_archive().digest
    for name in MAKERS:
        packet = Packet.from_bytes(golden_bytes(name))
        entries = {entry.name: entry for entry in packet.spaces}
        own = entries["neural-0"]
        assert own.decoder_digest == system.parts.decoder_digest
        wanted = system.parts.archive_digest if name == "archive" else system.parts.codec_digest
        assert own.codec_digest == wanted
        if name == "joined":
            assert entries["lite-0"].decoder_digest == other.parts.decoder_digest
            assert entries["lite-0"].codec_digest == other.parts.codec_digest
        spaces = tuple(replace(entry, codec_digest=b"elsewhere"[:8]) for entry in packet.spaces)
        with pytest.raises(MissingSpace, match="install the weights"):
            system.latent(replace(packet, spaces=spaces, file_id=b""))


def test_everything_kept_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 400_000
