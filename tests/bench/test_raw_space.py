"""Mosaics and pictures in one space: nothing between equal planes, captures developed in every layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from smalto.bench.demosaicing import network_demosaicer
from smalto.bench.raw_space import RawNetworks, bench_raw_space, develop, develop_captures, main, raw_space_text
from smalto.bench.results import BenchResult
from smalto.data.raw_mosaic import Mosaic, read_capture
from smalto.errors import UsageError
from smalto.layers.bayer import PATTERNS, mosaic_of
from smalto.layers.shared_planes import SharedPlanes
from smalto.systems.shared_space import shared_arrays
from smalto.train.raw_space import RawSpaceObjective
from smalto.train.release_raw_space import publish_raw_encoder
from smalto.types import Image
from smalto.weights.store import write_arrays
from tests.shared_space import seeded_networks
from tests.tiny_models import scene


class _Cells(nn.Module):
    """Cells of 2 x 2 and of 4 x 4: of a picture whose cells are flat, its mosaic gives the same planes."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.channels_in = channels_in

    def forward(self, x: Tensor) -> SharedPlanes:
        """Picture or RGGB mosaic -> planes of three channels."""
        if self.channels_in == 1:
            green = (x[..., 0::2, 1::2] + x[..., 1::2, 0::2]) / 2
            cells = torch.cat([x[..., 0::2, 0::2], green, x[..., 1::2, 1::2]], dim=1)
        else:
            red, green, blue = x.split(1, dim=1)
            green = (green[..., 0::2, 1::2] + green[..., 1::2, 0::2]) / 2
            cells = torch.cat([red[..., 0::2, 0::2], green, blue[..., 1::2, 1::2]], dim=1)
        return SharedPlanes(cells, nn.functional.avg_pool2d(cells, 2))


class _Repeated(nn.Module):
    """Planes to a picture of flat cells."""

    def forward(self, planes: SharedPlanes) -> Tensor:
        """(1, 3, H / 2, W / 2) -> (1, 3, H, W)."""
        return planes.z_b.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


NETWORKS = RawNetworks(_Cells(1), _Cells(3), _Repeated())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    root.mkdir()
    for seed, (height, width) in enumerate(((41, 62), (48, 40), (64, 36))):
        Image(scene(height, width, seed=seed)).save(root / f"{seed}.png")
    return root


def test_what_sees_the_same_shares_the_space(folder: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    result = bench_raw_space(folder, NETWORKS, progress=lambda *done: seen.append(done))
    table = result.table("raw_space")
    assert table.column("layout") == PATTERNS
    for row in table.rows:
        own_b, own_t, other_b, other_t, decodes, raw, rgb = (float(cell or 0) for cell in row[1:])
        assert own_b == own_t == 0.0
        assert min(other_b, other_t) > 0.5
        assert decodes == 100.0
        assert raw == pytest.approx(rgb)
    assert seen[-1] == (3, 3, "2.png")
    assert BenchResult.from_json(result.to_json()) == result
    assert "one space" in raw_space_text(result)


def test_a_random_raw_encoder_does_not(folder: Path) -> None:
    encoder, decoder = seeded_networks()
    networks = RawNetworks(seeded_networks(1)[0], encoder, decoder)
    row = bench_raw_space(folder, networks, ("RGGB",)).table("raw_space").rows[0]
    assert float(row[1] or 0) > 0.3
    assert float(row[5] or 0) < 40


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_capture_becomes_a_picture(pattern: str) -> None:
    linear = torch.tensor([0.1, 0.2, 0.05])[:, None, None].expand(3, 9, 10)[None]
    capture = Mosaic(mosaic_of(linear, pattern)[0, 0].numpy(), pattern, gains=(2.0, 1.0, 4.0))
    picture = develop(capture, network_demosaicer(_Cells(1), _Repeated()))
    assert picture.pixels.shape == (9, 10, 3)
    assert np.all(picture.pixels == round(255 * (1.055 * 0.2 ** (1 / 2.4) - 0.055)))


def test_captures_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a_8x6_grbg_10bit.raw").write_bytes(np.arange(48, dtype="<u2").tobytes())
    methods = {"ours": network_demosaicer(_Cells(1), _Repeated())}
    (written,) = develop_captures(tmp_path, methods, tmp_path / "out")
    assert written.name == "a_8x6_grbg_10bit-ours.png"
    assert written.is_file()
    with pytest.raises(UsageError, match="no captures here"):
        develop_captures(tmp_path / "out", methods, tmp_path)


def test_the_shared_captures_are_developed(data_folder: Path) -> None:
    method = network_demosaicer(_Cells(1), _Repeated())
    capture = read_capture(data_folder / "raw" / "DSC_1339_768x512_rggb_14bit_u16le.raw")
    picture = develop(capture, method)
    assert picture.pixels.shape == (512, 768, 3)
    means = picture.pixels.reshape(-1, 3).mean(axis=0)
    assert float(np.ptp(means)) < 0.25 * float(means.mean())  # balanced


def test_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    networks = seeded_networks()
    write_arrays(tmp_path / "space.safetensors", shared_arrays(*networks))
    publish_raw_encoder(RawSpaceObjective(lambda: networks), iter(()), tmp_path)
    (tmp_path / "a_8x6_bggr_10bit.raw").write_bytes(bytes(96))
    common = ["--data", str(folder), "--space", str(tmp_path), "--raw", str(tmp_path)]
    main([*common, "--captures", str(tmp_path), "-o", str(tmp_path / "out")])
    assert "a_8x6_bggr_10bit-ours.png" in capsys.readouterr().out
    with pytest.raises(UsageError, match="go together"):
        main([*common, "-o", str(tmp_path)])


def test_one_picture_is_too_few(folder: Path) -> None:
    for name in ("1.png", "2.png"):
        (folder / name).unlink()
    with pytest.raises(UsageError, match="two or more"):
        bench_raw_space(folder, NETWORKS)
