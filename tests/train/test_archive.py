"""Fitting and publishing the archive codec of a space."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smalto.codecs.archive_planes import BOTTOM, TOP, archive_codec_of
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.heads.shared_decoder import SharedDecoder
from smalto.layers.shared_planes import SharedPlanes
from smalto.systems.shared_space import shared_arrays, shared_decoder_digest
from smalto.train.archive import main, sensitivities
from smalto.train.shared_start import start_passing
from smalto.weights.store import read_arrays, write_arrays


def space() -> tuple[SharedEncoder, SharedDecoder]:
    torch.manual_seed(0)
    encoder, decoder = SharedEncoder(), SharedDecoder()
    start_passing(encoder, decoder)
    return encoder.half().float(), decoder.half().float()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(30):
        waves = np.cumsum(np.cumsum(rng.normal(size=(50, 62, 3)), 0), 1)
        levels = 255 * (waves - waves.min()) / np.ptp(waves)
        Image.fromarray(levels.astype(np.uint8)).save(folder / f"{number:02d}.png")
    return folder


def test_the_command_leaves_a_part_to_install(tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture) -> None:
    encoder, decoder = space()
    write_arrays(tmp_path / "space.safetensors", shared_arrays(encoder, decoder))
    assert main([str(tmp_path / "space.safetensors"), "--data", str(pictures), "-o", str(tmp_path / "run")]) == 0
    assert "bpp" in capsys.readouterr().out
    record = json.loads((tmp_path / "run/weights/archive.json").read_text())
    codec = archive_codec_of(read_arrays(tmp_path / "run/weights/archive.safetensors"))
    assert record["codec_digest"] == codec.digest.hex()
    assert record["decoder_digest"] == shared_decoder_digest(decoder).hex()
    score = record["score"]
    assert 0 < score["bpp"] < 64
    assert 35 < score["psnr_db"] <= score["whole_psnr_db"] + 0.5
    assert set(score["snr_db"]) == {TOP, BOTTOM}
    assert min(score["snr_db"].values()) > 10


def test_too_few_pictures_are_one_line(tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture) -> None:
    write_arrays(tmp_path / "space.safetensors", shared_arrays(*space()))
    (pictures / "00.png").unlink()
    assert main([str(tmp_path / "space.safetensors"), "--data", str(pictures), "-o", str(tmp_path)]) == 2
    assert "too few" in capsys.readouterr().err


def test_sensitivity_is_what_an_error_costs() -> None:
    _, decoder = space()
    decoder.requires_grad_(False)
    held = [SharedPlanes(torch.randn(1, 64, 16, 16) * 0.3, torch.randn(1, 64, 8, 8) * 0.3) for _ in range(24)]
    square = sensitivities(decoder, held)[BOTTOM]
    direction = torch.zeros(1, 64, 16, 16)
    direction[:, 0, ::2, ::2] = 1e-3  # the first folded channel of every cell
    moved = torch.stack(
        [
            (decoder(SharedPlanes(one.z_b + direction * torch.randn(1, 1, 16, 16), one.z_t)) - decoder(one))
            for one in held
        ]
    )
    found = float(moved.square().sum()) / (24 * 64 * 1e-6)
    assert found == pytest.approx(square[0, 0], rel=0.25)
