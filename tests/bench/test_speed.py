"""The speed benchmark fills its tables; how fast anything is, is not tested here."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from smalto.bench import speed
from smalto.bench.miniature import miniature_factorized_system, miniature_system, scene
from smalto.bench.multiplications import SIDE_PX, system_multiplications
from smalto.bench.results import BenchResult
from smalto.bench.speed import SpeedSettings, bench_speed, speed_text
from smalto.bench.speed_memory import Peak, peak_of, resized
from smalto.errors import MissingExtra, UsageError
from smalto.systems.system import System
from smalto.types import Image


@pytest.fixture(scope="module")
def system() -> System:
    """A miniature system."""
    return miniature_system()


class _Peer:
    """Stands in for CompressAI."""

    name = "peer"
    version = "1"

    def __init__(self) -> None:
        self.network = torch.nn.ModuleDict({name: torch.nn.Identity() for name in ("g_a", "h_a", "h_s", "g_s")})
        self.network.M, self.network.N = 2, 3
        self.shapes: list[tuple[int, ...]] = []

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(x.shape))
        return x

    def decode(self, coded: torch.Tensor) -> torch.Tensor:
        return coded


QUICK = SpeedSettings(rounds=2, threads=(1,), megapixels=(0.01, 0.04), with_memory=False)


def test_every_table_is_filled(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = _Peer()
    monkeypatch.setattr(speed, "CompressaiHyperprior", lambda: peer)
    monkeypatch.setattr(speed.CompressaiHyperprior, "name", "peer", raising=False)
    before = torch.get_num_threads()
    told: list[str] = []
    result = bench_speed(system, Image(scene(90, 120)), QUICK, told.append)
    assert torch.get_num_threads() == before
    assert peer.shapes == [(1, 3, 512, 768)] * 3
    stages = result.table("stages")
    assert set(zip(stages.column("way"), stages.column("stage"), strict=True)) == {
        ("encode", "encoder"),
        ("encode", "codec"),
        ("encode", "whole"),
        ("decode", "codec"),
        ("decode", "reconstruct"),
        ("decode", "whole"),
    }
    assert [row[0:2] for row in result.table("peer").rows] == [(1, "encode"), (1, "decode")]
    assert all(isinstance(ratio, float) and ratio > 0 for ratio in result.table("peer").column("median_ratio"))
    sizes = result.table("sizes")
    assert sizes.column("size_px") == ("100 x 100", "200 x 200")
    assert sizes.column("encode_peak_mib") == (None, None)
    assert told[-1].startswith("200 x 200")
    parts = result.table("multiplications").column("part")
    assert parts[:5] == ("encoder base", "hyper-analysis", "mean path", "scale path", "head reconstruct")
    assert BenchResult.from_json(result.to_json()).table("sizes") == sizes
    text = speed_text(result)
    assert all(f"### {name}" in text for name in ("stages", "peer", "sizes", "multiplications"))
    assert json.loads(result.to_json())["suite"] == "speed"


def test_a_peer_that_is_not_installed_is_reported(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        name = "peer"

        def __init__(self) -> None:
            raise MissingExtra("compressai cannot be imported; pip install it")

    monkeypatch.setattr(speed, "CompressaiHyperprior", Missing)
    result = bench_speed(system, Image(scene(90, 120)), SpeedSettings(1, (1,), (), with_memory=False))
    assert result.table("peer").column("peer_median_s") == ("not installed", "not installed")
    assert "pip install it" in result.table("peer").note
    assert {table.name for table in result.tables} == {"stages", "peer", "multiplications"}


@pytest.mark.parametrize(
    "wrong", [{"rounds": 0}, {"threads": ()}, {"threads": (0,)}, {"megapixels": (67.2,)}, {"megapixels": (0.0,)}]
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="bench speed"):
        SpeedSettings(**wrong)  # type: ignore[arg-type]


def test_the_command_says_what_was_asked_for() -> None:
    assert SpeedSettings().command() == "smalto bench speed"
    assert SpeedSettings(3, (2,), (67.108864, 1), 30, False, False).command() == (
        "smalto bench speed --rounds 3 --threads 2 --sizes 67.108864,1 --quality 30 --no-peer --no-memory"
    )
    assert SpeedSettings(megapixels=()).command() == "smalto bench speed --sizes none"


@pytest.mark.parametrize(("height", "width"), [(1, 1), (90, 120), (200, 50), (500, 1000)])
def test_photographs_are_cut_or_continued_by_their_mirror_image(height: int, width: int) -> None:
    photograph = Image(scene(90, 120))
    picture = resized(photograph, height, width)
    assert picture.pixels.shape == (height, width, 3)
    rows, columns = min(height, 90), min(width, 120)
    assert np.array_equal(picture.pixels[:rows, :columns], photograph.pixels[:rows, :columns])
    if height > 90:
        assert np.array_equal(picture.pixels[90:180], picture.pixels[89::-1][: min(90, height - 90)])


def test_multiplications_are_those_of_the_layers(system: System) -> None:
    counted = system_multiplications(system)
    codec = system.parts.codec
    layers = codec.scale_path.layers
    cells, expected = (SIDE_PX // 64) ** 2, 0
    for layer in layers:
        expected += cells * layer.kernel**2 * layer.channels_in * layer.channels_out * layer.up**2
        cells *= layer.up**2
    assert counted["scale path"] == expected / SIDE_PX**2
    assert set(counted) == {"encoder base", "hyper-analysis", "mean path", "scale path", "head reconstruct"}


def test_a_codec_without_networks_multiplies_nothing() -> None:
    assert set(system_multiplications(miniature_factorized_system())) == {"encoder base", "head reconstruct"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="resident sets are read from /proc or getrusage")
def test_peaks_come_from_fresh_processes(system: System) -> None:
    peak = peak_of(system, Image(scene(64, 64)), 300, "medium", 1)
    assert 0 < peak.loaded_bytes <= peak.encode_bytes
    assert 0 < peak.decode_bytes < 4 << 30
    assert Peak().mebibytes() == (None, None, None)


@pytest.mark.slow
def test_the_peer_codes_what_it_is_given() -> None:
    from smalto.bench.peers.compressai_hyperprior import CompressaiHyperprior

    try:
        peer = CompressaiHyperprior()
    except MissingExtra as error:
        pytest.skip(str(error))
    x = torch.rand(1, 3, 64, 128)
    assert peer.decode(peer.encode(x)).shape == x.shape
    assert (peer.network.N, peer.network.M) == (128, 192)
