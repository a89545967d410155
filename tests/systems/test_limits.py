"""What a system refuses before it works: pictures over its limits, and answers that no picture may be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from smalto.bits.packet import Packet
from smalto.codecs import lossless
from smalto.errors import DamagedPacket, LimitExceeded
from smalto.systems.system import System
from smalto.systems.tasks import PictureTask
from smalto.types import Image, Latent
from tests.tiny_models import scene, tiny_system


@pytest.fixture(scope="module")
def packet() -> Packet:
    """40 x 56 pixels with an alpha plane."""
    pixels = scene(40, 56)
    return tiny_system().encode(Image(pixels, alpha=pixels[:, :, 0].copy()), quality=80)


def _limited(max_pixels: int) -> System:
    system = tiny_system()
    return System(system.name, system.parts, system.engine, max_pixels)


def test_max_pixels_is_the_true_size(packet: Packet) -> None:
    system = _limited(40 * 56)
    assert system.run("reconstruct", packet).pixels.shape == (40, 56, 3)
    assert system.latent(packet.to_bytes()).height == 40
    system = _limited(40 * 56 - 1)
    for source in (packet, packet.to_bytes()):
        with pytest.raises(LimitExceeded, match="max_pixels"):
            system.latent(source)
        with pytest.raises(LimitExceeded, match="max_pixels"):
            system.run("reconstruct", source)


def test_an_answer_larger_than_pictures_may_be_is_refused_before_any_work(packet: Packet) -> None:
    spec = tiny_system().parts.spec
    long = Latent(spec, {"y": torch.empty(1, 8, 1, 1)}, 1, 8193)
    with pytest.raises(LimitExceeded, match="8193 x 1"):
        tiny_system().run("reconstruct", long)
    large = Latent(spec, {"y": torch.empty(1, 8, 1, 1)}, 4097, 16)
    with pytest.raises(LimitExceeded, match="upscale"):
        tiny_system().run(["reconstruct", "upscale"], large)
    with pytest.raises(LimitExceeded, match="8193"):
        tiny_system().run("reconstruct", replace(packet, width=8193, file_id=b""))


def test_a_damaged_alpha_plane_is_found_before_pixels_are_made(packet: Packet, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha = replace(packet.sections[2], chunks=(lossless.encode_plane(np.zeros((41, 56), np.uint8))[0],))
    damaged = replace(packet, sections=(*packet.sections[:2], alpha), file_id=b"")
    monkeypatch.setattr(PictureTask, "answer", lambda *_: pytest.fail("a picture was made"))
    with pytest.raises(DamagedPacket, match="alpha"):
        tiny_system().run("reconstruct", damaged)


def test_load_hands_the_limit_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import smalto.systems

    monkeypatch.setattr("smalto.weights.system_record", lambda name: type("Record", (), {"name": "lite-0"}))
    monkeypatch.setitem(smalto.systems.SYSTEMS, "lite-0", lambda device, dtype, max_pixels: _limited(max_pixels))
    assert smalto.load("lite-0").max_pixels == 1 << 26
    assert smalto.load("lite-0", max_pixels=100).max_pixels == 100
