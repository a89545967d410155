"""The benchmark of the shared space: tables, exact cases, where weights are found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from smalto.bench.results import BenchResult
from smalto.bench.shared_space import (
    KINDS,
    SharedSpaceSettings,
    bench_shared_space,
    main,
    measure_moved,
    open_run,
    shared_space_text,
)
from smalto.errors import TrainingError, UsageError
from smalto.systems.engine import Engine
from smalto.systems.shared_space import SharedSpace
from smalto.train.checkpoint import Progress, save_checkpoint
from smalto.train.release_shared_space import publish_shared_space
from smalto.train.shared_space import SharedSpaceObjective
from smalto.types import Affine, Image
from tests.tiny_models import scene


def _objective() -> SharedSpaceObjective:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        objective = SharedSpaceObjective()
        objective.start(iter(()))
    return objective


def _space() -> SharedSpace:
    objective = _objective()
    return SharedSpace(objective.encoder, objective.decoder, Engine(torch.device("cpu"), torch.float32))


def test_every_picture_and_kind_has_its_row(tmp_path: Path) -> None:
    Image(scene(61, 70)).save(tmp_path / "a.png")
    Image(scene(64, 80, seed=1)).save(tmp_path / "b.png")
    seen: list[tuple[int, int, str]] = []
    settings = SharedSpaceSettings(tmp_path, num_affines=2, margin_px=8.0)
    result = bench_shared_space(_space(), settings, lambda *done: seen.append(done))
    quality = result.table("reconstruction")
    assert quality.column("picture") == ("a.png", "b.png", "mean")
    assert quality.column("psnr_db") == (100.0, 100.0, 100.0)  # the start hands pictures through
    moved = result.table("equivariance")
    assert moved.column("affines") == tuple(KINDS)
    for planes, encoded in zip(moved.column("planes_psnr_db"), moved.column("encoded_psnr_db"), strict=True):
        assert isinstance(planes, float)
        assert isinstance(encoded, float)
        assert 10 < planes < encoded
    assert seen == [(1, 2, "a.png"), (2, 2, "b.png")]
    assert BenchResult.from_json(result.to_json()) == result
    assert shared_space_text(result).startswith("# Shared neural space")


def test_shifts_by_whole_cells_have_no_error() -> None:
    space, picture = _space(), Image(scene(128, 128))
    latent = space.encode_planes(picture)
    whole = measure_moved(space, picture, latent, Affine(shift_x_px=8.0, shift_y_px=4.0), 44.0)
    part = measure_moved(space, picture, latent, Affine(shift_x_px=7.0, shift_y_px=5.0), 44.0)
    assert whole.z_b_error < 1e-3
    assert whole.z_t_error < 1e-3
    assert whole.planes_psnr_db > 50
    assert part.z_b_error > 10 * whole.z_b_error
    assert part.planes_psnr_db < whole.planes_psnr_db


def test_pictures_are_spread_over_the_folder_and_affines_left_out(tmp_path: Path) -> None:
    for number in range(5):
        Image(scene(16, 16, seed=number)).save(tmp_path / f"{number}.png")
    result = bench_shared_space(_space(), SharedSpaceSettings(tmp_path, num_affines=0, count=2))
    assert result.table("reconstruction").column("picture") == ("0.png", "2.png", "mean")
    assert [table.name for table in result.tables] == ["reconstruction"]


def test_a_run_is_found_by_its_weights_or_its_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objective = _objective()
    optimiser = torch.optim.AdamW(objective.parameters())
    save_checkpoint(tmp_path / "checkpoint", Progress("neural-space", 1, 1.0, {}), objective, objective, optimiser)
    from_checkpoint = open_run(tmp_path)
    publish_shared_space(objective, iter(()), tmp_path / "weights")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image(scene(16, 16)).save(pictures / "a.png")
    for run in (tmp_path, tmp_path / "weights" / "space.safetensors"):
        opened = open_run(run)
        for name, value in opened.encoder.state_dict().items():
            torch.testing.assert_close(value, from_checkpoint.encoder.state_dict()[name], rtol=0, atol=1e-3)
    numbers = tmp_path / "numbers.json"
    main([str(tmp_path), "--data", str(pictures), "--affines", "0", "--dtype", "float32", "--json", str(numbers)])
    assert "| a.png |" in capsys.readouterr().out
    assert BenchResult.from_json(numbers.read_text()).suite == "shared-space"
    with pytest.raises(UsageError, match="--affines must be"):
        main([str(tmp_path), "--data", str(pictures), "--affines", "-1"])
    with pytest.raises(TrainingError, match="no checkpoint here"):
        open_run(pictures)
