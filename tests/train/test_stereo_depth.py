"""The stereo objective: unpacking, what is trained and what is frozen, publishing and answering, whole runs."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from smalto.data.stereo_batches import packed
from smalto.errors import UsageError, WeightsError
from smalto.heads.stereo import SIZES, StereoConfig
from smalto.systems.engine import Engine
from smalto.systems.shared_space import SharedSpace, shared_arrays, shared_decoder_digest
from smalto.train.loop import Budget, train
from smalto.train.recipes.neural_space_stereo import neural_space_stereo
from smalto.train.release_raw_space import space_networks
from smalto.train.release_stereo import open_stereo, publish_stereo
from smalto.train.run import to_unit_range
from smalto.train.stereo_depth import StereoObjective, unpacked
from smalto.types import Image, LatentSpec
from smalto.weights.store import write_arrays
from tests.data.stereo_textures import textures
from tests.shared_space import seeded_networks

TINY = StereoConfig(
    (1, 1, 1),
    2,
    aggregation_widths=(8, 12, 16),
    pyramid_widths=(16, 16, 20, 24),
    pyramid_blocks=(1, 1, 1, 1),
    match_channels=8,
    guide_channels=8,
)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "S", TINY)


@pytest.fixture
def space(tmp_path: Path) -> str:
    """The weights file of a space with random networks."""
    path = tmp_path / "space" / "weights" / "space.safetensors"
    path.parent.mkdir(parents=True)
    write_arrays(path, shared_arrays(*seeded_networks()))
    return str(tmp_path / "space")


def _batch(height: int = 32, width: int = 64) -> tuple[torch.Tensor, np.ndarray]:
    generator = np.random.default_rng(0)
    disparity = np.linspace(0, 30, 2 * height * width).reshape(2, height, width)
    views = generator.integers(0, 256, (2, 2, height, width, 3), dtype=np.uint8)
    pairs = np.stack([packed(views[0, k], views[1, k], disparity[k]) for k in range(2)])
    return to_unit_range(torch.from_numpy(pairs)), disparity


def _digest(objective: StereoObjective) -> str:
    assert objective.frozen is not None
    return shared_decoder_digest(objective.frozen.decoder).hex()


def test_a_packed_batch_comes_apart_exactly() -> None:
    batch, disparity = _batch()
    left, right, truth = unpacked(batch)
    assert left.shape == right.shape == (2, 3, 32, 64)
    assert torch.equal(left, batch[:, :3])
    assert torch.equal(right, batch[:, 3:6])
    np.testing.assert_array_equal(truth[:, 0].numpy(), np.rint(disparity * 256) / 256)


@pytest.mark.parametrize("is_neural", [True, False])
def test_the_network_is_trained_and_the_space_stays(is_neural: bool, space: str) -> None:
    torch.manual_seed(0)
    objective = StereoObjective("S", (lambda: space_networks(space)) if is_neural else None)
    batch, _ = _batch()
    result = objective(batch)
    result.loss.backward()
    assert set(result.measures) == {"end_point_px", "d1_all"}
    assert all(p.grad is not None for p in objective.parameters())
    assert all(name.startswith("head.") for name in objective.state_dict())
    if objective.frozen is not None:
        assert all(p.grad is None and not p.requires_grad for p in objective.frozen.encoder.parameters())
        objective.double()
        assert next(objective.frozen.encoder.parameters()).dtype == torch.float64


def test_a_preview_leaves_the_network_as_it_was() -> None:
    torch.manual_seed(0)
    objective = StereoObjective("S", None)
    batch, _ = _batch()
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    with torch.no_grad():
        picture = objective.preview(batch)
    assert picture.shape == (3, 64, 192)
    assert objective.head.training
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())


@pytest.mark.parametrize("is_neural", [True, False])
def test_what_is_published_answers(is_neural: bool, space: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    objective = StereoObjective("S", (lambda: space_networks(space)) if is_neural else None)
    publish_stereo(objective, repeat(_batch()[0]), tmp_path / "run" / "weights")
    record = json.loads((tmp_path / "run" / "weights" / "stereo.json").read_text())
    assert record["space"] == (_digest(objective) if is_neural else "pixels")
    assert record["size"] == "S"
    depth = open_stereo(tmp_path / "run", space if is_neural else None)
    views = [Image(np.random.default_rng(k).integers(0, 256, (30, 50, 3), dtype=np.uint8)) for k in range(2)]
    answer = depth.disparity(*views)
    assert answer.shape == (30, 50)
    assert answer.dtype == np.float32
    assert 0 <= answer.min() <= answer.max() <= 28
    with pytest.raises(UsageError, match="no rectified pair"):
        depth.disparity(views[0], Image(np.zeros((30, 51, 3), np.uint8)))
    wired = SharedSpace(*seeded_networks(), Engine.on("cpu", torch.float32))
    latents = [wired.encode_planes(view) for view in views]
    if not is_neural:
        with pytest.raises(UsageError, match="reads pixels"):
            depth.of_latents(*latents)
        return
    np.testing.assert_allclose(depth.of_latents(*latents), answer, rtol=1e-2, atol=0.1)  # weights in half precision
    with pytest.raises(UsageError, match="got space lite"):
        depth.of_latents(latents[0], replace(latents[1], spec=LatentSpec("lite-0", ())))


def test_a_head_is_tied_to_its_space(space: str, tmp_path: Path) -> None:
    publish_stereo(StereoObjective("S", lambda: space_networks(space)), repeat(_batch()[0]), tmp_path / "run")
    with pytest.raises(UsageError, match="name the neural-space run"):
        open_stereo(tmp_path / "run", None)
    encoder, decoder = seeded_networks()
    with torch.no_grad():
        next(decoder.parameters()).add_(1.0)
    write_arrays(tmp_path / "other.safetensors", shared_arrays(encoder, decoder))
    with pytest.raises(UsageError, match="was trained on decoder"):
        open_stereo(tmp_path / "run", str(tmp_path / "other.safetensors"))
    (tmp_path / "run" / "stereo.json").write_text("{}")
    with pytest.raises(WeightsError, match="not the record"):
        open_stereo(tmp_path / "run", space)


def test_what_is_no_stereo_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no stereo\.safetensors here"):
        open_stereo(tmp_path, None)
    write_arrays(tmp_path / "stereo.safetensors", {"stem.x": np.zeros(3, np.float16)})
    with pytest.raises(WeightsError, match="not weights of a stereo network"):
        open_stereo(tmp_path, None)


def test_a_run_trains_resumes_and_publishes(tmp_path: Path) -> None:
    data = textures(tmp_path / "photographs").path.parent / "textures"
    run = neural_space_stereo("pixels", height_px=32, width_px=64, max_disparity_px=16.0, batch_size=2, num_threads=1)
    run = replace(run, optimisation=replace(run.optimisation, ema_decay=0.5))
    budget = Budget(data, tmp_path / "run", minutes=5.0, device="cpu", max_steps=3)
    assert train(run, budget, lambda line: None).step == 3
    assert train(run, replace(budget, resume="checkpoint", max_steps=2), lambda line: None).step == 5
    depth = open_stereo(tmp_path / "run", None)
    norms = [m for m in depth.network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(bool((m.running_mean != 0).any()) for m in norms if m.running_mean is not None)
    assert list((tmp_path / "run" / "samples").glob("*.png"))


def test_the_recipe_reads_pairs_too(tmp_path: Path) -> None:
    from tests.data.stereo_trees import scaled_pair

    scaled_pair(tmp_path / "pairs" / "one", height=40, width=80)
    run = neural_space_stereo("pixels", scenes="pairs", height_px=32, width_px=64, batch_size=2)
    assert run.source is not None
    source = run.source(tmp_path / "pairs", tmp_path / "unused.u8", run.crops)
    assert source.batch(0, 2).shape == (2, 8, 32, 64)


def test_sides_must_fit_the_network() -> None:
    with pytest.raises(UsageError, match="multiples of 32"):
        neural_space_stereo("pixels", height_px=100)
