"""The denoising benchmark: exact cases, gains and intervals, where heads are found."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from smalto.bench.denoising import DenoisingSettings, bench_denoising, denoising_text, main, space_method
from smalto.bench.denoising_speed import BASELINE, speed_table
from smalto.bench.results import BenchResult
from smalto.errors import UsageError
from smalto.heads.denoise import LightDenoiser
from smalto.systems.shared_space import shared_arrays
from smalto.train.denoising import DenoiseObjective
from smalto.train.release_heads import publish_denoise
from smalto.train.shared_start import start_passing
from smalto.train.space_head import FrozenSpace
from smalto.types import Image
from smalto.weights.store import write_arrays
from tests.shared_space import seeded_networks, smooth_pictures
from tests.tiny_models import scene


def _pictures(folder: Path, num: int = 3) -> Path:
    folder.mkdir()
    for number in range(num):
        Image(scene(50, 66, number)).save(folder / f"{number}.png")
    return folder


def _pairs(folder: Path) -> Path:
    folder.mkdir()
    for name in ("a", "b"):
        Image(scene(32, 32)).save(folder / f"{name}_mean.png")
        Image(scene(32, 32, 1)).save(folder / f"{name}_real.png")
    return folder


def _halfway(noisy: Tensor) -> Tensor:
    assert noisy.shape[2] % 4 == noisy.shape[3] % 4 == 0
    return (noisy + torch.nn.functional.avg_pool2d(noisy, 3, 1, 1)) / 2


def test_every_noise_and_method_has_its_row(tmp_path: Path) -> None:
    settings = DenoisingSettings(_pictures(tmp_path / "clean"), _pairs(tmp_path / "pairs"), (15.0, 50.0))
    seen: list[tuple[int, int, str]] = []
    methods = {BASELINE: lambda x: x, "ours": _halfway}
    result = bench_denoising(methods, settings, lambda *done: seen.append(done))
    rows = {(row[0], row[1]): row[2:] for row in result.table("denoising").rows}
    assert set(rows) == {(noise, method) for noise in ("15", "50", "camera") for method in ("noisy", BASELINE, "ours")}
    for noise in ("15", "50", "camera"):
        assert rows[noise, "noisy"][:2] == pytest.approx(rows[noise, BASELINE][:2])
        assert rows[noise, BASELINE][2:] == (None, None, None)
    _, _, gain, low, high = rows["50", "ours"]
    assert isinstance(gain, float)
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert 0 < low <= gain <= high
    noisy = rows["15", "noisy"][0]
    assert noisy == pytest.approx(20 * math.log10(255 / 15), abs=0.6)  # clamping takes some noise away
    assert [entry[:2] for entry in seen] == [(k, 5) for k in range(1, 6)]
    assert BenchResult.from_json(result.to_json()) == result
    assert denoising_text(result).startswith("# Denoising")


def test_noise_repeats(tmp_path: Path) -> None:
    settings = DenoisingSettings(_pictures(tmp_path / "clean"), deviations=(25.0,), count=2)
    first, second = (bench_denoising({"ours": _halfway}, settings).table("denoising").rows for _ in range(2))
    assert first == second


def test_what_cannot_be_measured_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one head"):
        bench_denoising({}, DenoisingSettings(tmp_path))
    with pytest.raises(UsageError, match="a head reads a space"):
        main(["--head", str(tmp_path), "--data", str(tmp_path)])


def test_runs_are_found_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder, decoder = seeded_networks()
    torch.manual_seed(0)
    start_passing(encoder, decoder)
    (tmp_path / "space" / "weights").mkdir(parents=True)
    write_arrays(tmp_path / "space" / "weights" / "space.safetensors", shared_arrays(encoder, decoder))

    def batches():  # type: ignore[no-untyped-def]
        while True:
            yield smooth_pictures(2, 16)

    for name, objective in (
        ("light", DenoiseObjective(lambda: (encoder, decoder), "light")),
        ("dncnn", DenoiseObjective(None)),
    ):
        publish_denoise(objective.requires_grad_(False), batches(), tmp_path / name / "weights")
    data = str(_pictures(tmp_path / "clean", 1))
    words = ["--space", str(tmp_path / "space"), "--head", str(tmp_path / "light")]
    words += ["--pixels", str(tmp_path / "dncnn"), "--data", data, "--json", str(tmp_path / "a.json")]
    main(words)
    assert "LightDenoiser light" in capsys.readouterr().out
    table = BenchResult.from_json((tmp_path / "a.json").read_text()).table("denoising")
    assert set(table.column("method")) == {"noisy", "LightDenoiser light", "space alone", BASELINE}


def test_the_whole_path_is_encode_clean_decode() -> None:
    space = FrozenSpace(*seeded_networks())
    head, x = LightDenoiser().requires_grad_(False), smooth_pictures(1, 16)
    expected = space.decoder(head(space.encoder(x)))
    assert torch.equal(space_method(space, head)(x), expected)


def test_speed_has_a_row_for_every_part() -> None:
    table = speed_table(side_px=16, repeats=1)
    assert len(table.rows) == 8
    faster = dict(zip(table.column("part"), table.column("times_faster_than_dncnn"), strict=True))
    assert faster[BASELINE] == 1.0
    assert all(isinstance(cell, float) and cell > 0 for row in table.rows for cell in row[1:])
