"""Own codecs are loaded from modules and files; what is wrong with them is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smalto.bench.miniature import miniature_system, scene
from smalto.bench.picture_codecs import ClassicalPeer, Staged, SystemCodec, eight_bit, load_codec
from smalto.bench.rate_distortion import measure_one
from smalto.errors import UsageError
from smalto.measure.classical import WEBP
from smalto.types import Image

SOURCE = """
class Good:
    def encode(self, image, quality): return b""
    def decode(self, data): return None
class Half:
    def encode(self, image, quality): return b""
class Raises:
    def __init__(self): raise RuntimeError("no weights")
"""


def test_from_a_file_and_from_a_module_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "codec_of_mine.py").write_text(SOURCE)
    assert load_codec(f"{tmp_path / 'codec_of_mine.py'}:Good").encode(Image(np.zeros((1, 1, 3), np.uint8)), 1) == b""
    monkeypatch.chdir(tmp_path)
    assert type(load_codec("codec_of_mine:Good")).__name__ == "Good"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Good", "not module:Class"),
        ("mine.py:not a name", "not module:Class"),
        ("mine.py:Half", "needs methods"),
        ("mine.py:Raises", "RuntimeError: no weights"),
        ("mine.py:Missing", "cannot be loaded"),
        ("none.py:Good", "no such file"),
        ("no_such_module_anywhere:Good", "cannot be loaded"),
    ],
)
def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        load_codec(name)
    assert "\n" not in str(caught.value)


def test_classical_peers_have_no_stages() -> None:
    peer = ClassicalPeer(WEBP)
    image = Image(np.full((9, 7, 3), 90, np.uint8))
    assert peer.decode(peer.encode(image, 50)).pixels.shape == (9, 7, 3)
    assert not isinstance(peer, Staged)


def test_eight_bit_rounds_to_nearest() -> None:
    assert eight_bit(np.array([0.0, 0.5, 1.5], np.float32)).tolist() == [0, 128, 255]
    assert eight_bit(np.array([3], np.uint8)).tolist() == [3]


def test_a_system_counts_the_bytes_of_its_file() -> None:
    system = miniature_system()
    codec = SystemCodec(system)
    image = Image(scene(40, 56))
    data = codec.encode(image, 60)
    assert set(codec.stage_seconds) >= {"encoder", "codec"}
    assert data == system.encode(image, quality=60).to_bytes()
    decoded = codec.decode(data)
    assert set(codec.stage_seconds) >= {"codec", "reconstruct"}
    assert np.array_equal(decoded.pixels, system.run("reconstruct", data).pixels)
    measured = measure_one("smalto", codec, image, 60, "scene.png")
    assert measured.num_bytes == len(data)
    assert {stage.partition(".")[0] for stage, _ in measured.stages} == {"encode", "decode"}
