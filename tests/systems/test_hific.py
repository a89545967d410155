"""HiFiC as a System: weights by path, small pictures through real bytes, nothing shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from smalto.codecs.hific_hyperprior import HificHyperprior, freeze_hific
from smalto.encoders.hific import HIFIC as HIFIC_ENCODER
from smalto.encoders.hific import Encoder
from smalto.errors import UsageError, WeightsError
from smalto.heads.image import HIFIC as HIFIC_DECODER
from smalto.heads.image import Decoder
from smalto.systems import OPEN_SYSTEMS, load_from
from smalto.systems.hific import HificNetworks, hific_system, save_hific
from smalto.systems.system import System
from smalto.weights.store import write_arrays
from tests.tiny_models import (
    NARROW_HIFIC_DECODER,
    NARROW_HIFIC_ENCODER,
    scene,
    seeded,
    tiny_hific_codec,
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of a narrow HiFiC."""
    path = tmp_path_factory.mktemp("hific") / "hific.safetensors"
    encoder, decoder = seeded(Encoder, NARROW_HIFIC_ENCODER, 1), seeded(Decoder, NARROW_HIFIC_DECODER, 2)
    save_hific(path, HificNetworks(encoder, tiny_hific_codec(), decoder))  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="module")
def system(weights: Path) -> System:
    """The system of that file."""
    return load_from(weights, "hific", dtype=torch.float32)


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 33), (130, 70)])
def test_small_pictures_come_back(system: System, size: tuple[int, int]) -> None:
    data = system.encode(scene(*size)).to_bytes()
    latent = system.latent(data)
    assert latent.planes["y"].shape == (1, 8, -(-size[0] // 64) * 4, -(-size[1] // 64) * 4)
    assert system.run("reconstruct", data).pixels.shape == (*size, 3)


def test_padded_once_to_sixty_four(system: System) -> None:
    """The hyper-analysis pads nothing more: a picture of 64 n is coded as it is."""
    picture = scene(100, 100)
    padded = np.pad(picture, ((0, 28), (0, 28), (0, 0)), mode="edge")
    a, b = system.encode(picture), system.encode(padded)
    assert a.sections[1].chunks == b.sections[1].chunks
    assert a.sections[0].chunks == b.sections[0].chunks


def test_latent_is_the_encoders_within_half_a_step(system: System) -> None:
    from smalto.types import Image

    picture = Image(scene(128, 128))
    y, y_hat = system.analyse(picture), system.latent(system.encode(picture)).planes["y"]
    assert float((y - y_hat).abs().max()) <= 0.5 + 1e-5


def test_loading_twice_gives_one_space(weights: Path, system: System) -> None:
    other = load_from(weights, "hific", dtype=torch.float32)
    assert other.name == "hific"
    assert other.parts.decoder_digest == system.parts.decoder_digest
    assert other.parts.codec_digest == system.parts.codec_digest
    data = system.encode(scene(64, 64)).to_bytes()
    assert np.array_equal(other.run("reconstruct", data).pixels, system.run("reconstruct", data).pixels)


def test_what_is_saved_is_what_runs(tmp_path: Path, weights: Path, system: System) -> None:
    parts = system.parts
    networks = HificNetworks(parts.encoders["base"], parts.codec, parts.heads["reconstruct"])  # type: ignore[arg-type]
    again = tmp_path / "again.safetensors"
    save_hific(again, networks)
    assert again.read_bytes() == weights.read_bytes()


def test_other_files_and_names_are_refused(tmp_path: Path, weights: Path) -> None:
    assert set(OPEN_SYSTEMS) == {"hific"}
    with pytest.raises(UsageError, match="hific does"):
        load_from(weights, "lite-0")
    with pytest.raises(WeightsError, match="missing"):
        load_from(tmp_path / "none.safetensors", "hific")
    foreign = tmp_path / "foreign.safetensors"
    write_arrays(foreign, {"x": np.zeros(3, np.float32)})
    with pytest.raises(WeightsError, match="not HiFiC weights"):
        load_from(foreign, "hific")


@pytest.mark.slow
def test_the_published_sizes_encode_and_decode_a_small_picture() -> None:
    torch.manual_seed(0)
    encoder, decoder, codec = Encoder(HIFIC_ENCODER), Decoder(HIFIC_DECODER), HificHyperprior()
    with torch.no_grad():
        z = torch.floor(codec.analysis(encoder(torch.rand(1, 3, 128, 128))) + 0.5)
    system = hific_system(HificNetworks(encoder, freeze_hific(codec, z), decoder), _engine())
    data = system.encode(scene(64, 64)).to_bytes()
    assert system.latent(data).planes["y"].shape == (1, 220, 4, 4)
    assert system.run("reconstruct", data).pixels.shape == (64, 64, 3)


def _engine():  # type: ignore[no-untyped-def]
    from smalto.systems.engine import Engine

    return Engine(torch.device("cpu"), torch.float32)
