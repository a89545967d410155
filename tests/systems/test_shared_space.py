"""The shared space wired: any size, windows change nothing, planes of one grid, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto.errors import UsageError, WeightsError
from smalto.layers.shared_planes import SharedPlanes
from smalto.systems.engine import Engine
from smalto.systems.shared_space import (
    SPEC,
    SharedSpace,
    open_shared_space,
    shared_arrays,
    shared_decoder_digest,
)
from smalto.train.shared_start import start_passing
from smalto.types import Affine, Image, Latent, LatentSpec
from smalto.weights.store import write_arrays
from tests.shared_space import seeded_networks
from tests.tiny_models import scene

CPU = torch.device("cpu")


def _space(window_px: int = 2048, passes: bool = False) -> SharedSpace:
    encoder, decoder = seeded_networks()
    if passes:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            start_passing(encoder, decoder)
    return SharedSpace(encoder, decoder, Engine(CPU, torch.float32, window_px))


@settings(max_examples=12)
@given(height=st.integers(1, 33), width=st.integers(1, 33))
def test_pictures_of_any_size_come_back(height: int, width: int) -> None:
    space, pixels = _space(passes=True), scene(height, width)
    latent = space.encode_planes(pixels)
    for plane in SPEC.planes:
        assert latent.planes[plane.name].shape == (1, 64, *plane.grid(height, width))
        assert latent.planes[plane.name].dtype == torch.float32
    assert latent.planes["z_b"].shape[2] == 2 * latent.planes["z_t"].shape[2]
    assert np.array_equal(space.decode_planes(latent).pixels, pixels)


def test_windows_change_nothing() -> None:
    whole, parts, pixels = _space(), _space(window_px=32), scene(150, 203)
    one, other = whole.encode_planes(pixels), parts.encode_planes(pixels)
    for name in ("z_b", "z_t"):
        torch.testing.assert_close(other.planes[name], one.planes[name], rtol=1e-4, atol=1e-5)
    decoded, again = whole.decode_planes(one).pixels, parts.decode_planes(one).pixels
    assert int(np.abs(decoded.astype(int) - again.astype(int)).max()) <= 1


def test_planes_are_those_of_the_networks() -> None:
    space, pixels = _space(), scene(16, 24)
    latent = space.encode_planes(pixels)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        planes = space.encoder(x)
        expected = space.decoder(planes).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    torch.testing.assert_close(latent.planes["z_b"], planes.z_b, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(latent.planes["z_t"], planes.z_t, rtol=1e-4, atol=1e-5)
    assert np.abs(space.decode_planes(latent).pixels / 255 - expected).max() < 0.6 / 255


def test_shifted_planes_decode_to_the_shifted_picture() -> None:
    space, pixels = _space(), scene(96, 96)
    latent = space.encode_planes(pixels)
    decoded = space.decode_planes(latent).pixels
    moved = space.decode_planes(latent.transform(Affine(shift_x_px=8.0, shift_y_px=-4.0))).pixels
    margin = 4 * space.decoder.halo_cells
    expected = decoded[4:, : 96 - 8]
    got = moved[: 96 - 4, 8:]
    inner = (slice(margin, -margin), slice(margin, -margin))
    assert int(np.abs(got[inner].astype(int) - expected[inner].astype(int)).max()) <= 1


def test_weights_come_back_from_their_file(tmp_path: Path) -> None:
    space = _space()
    write_arrays(tmp_path / "space.safetensors", shared_arrays(space.encoder, space.decoder))
    opened = open_shared_space(tmp_path / "space.safetensors", dtype=torch.float32)
    assert shared_decoder_digest(opened.decoder) == shared_decoder_digest(space.decoder)
    write_arrays(tmp_path / "other.safetensors", {"encoder.x": np.zeros(3, np.float16)})
    with pytest.raises(WeightsError, match=r"other\.safetensors: not weights of the shared neural space"):
        open_shared_space(tmp_path / "other.safetensors")


def test_the_digest_follows_the_weights() -> None:
    _, decoder = seeded_networks()
    before = shared_decoder_digest(decoder)
    with torch.no_grad():
        decoder.out.bias[0] += 0.5  # type: ignore[index]
    assert len(before) == 8
    assert shared_decoder_digest(decoder) != before


def test_another_space_is_refused() -> None:
    space, latent = _space(), _space().encode_planes(scene(8, 8))
    with pytest.raises(UsageError, match="is of space other-0"):
        space.decode_planes(Latent(LatentSpec("other-0", SPEC.planes), latent.planes, 8, 8))
    two = {name: plane.expand(2, -1, -1, -1) for name, plane in latent.planes.items()}
    with pytest.raises(UsageError, match="holds 2 pictures"):
        space.decode_planes(Latent(SPEC, two, 8, 8))
    assert isinstance(space.decode_planes(latent), Image)
    assert SharedPlanes._fields == tuple(plane.name for plane in SPEC.planes)
