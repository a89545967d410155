"""The price of a scale path that reads symbols: measured on the same symbols, found where there is one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from smalto.bench import elic_scale_cost
from smalto.bench.elic_scale_cost import READS, FloatScale, ScaleCost, cost_table, fit_float_scales, main, scale_cost
from smalto.train.index_planes import IndexPlaneObjective, IndexPlaneObjectiveConfig
from smalto.train.loop import Budget, train
from smalto.train.recipes import build
from smalto.train.run import Run
from tests.codecs.test_index_planes import TINY
from tests.tiny_elic import TINY_ELIC, TINY_ELIC_PLANES, tiny_elic_trained
from tests.tiny_models import latent
from tests.train.small import pictures


def test_what_is_coded_is_the_models_own_estimate() -> None:
    codec, y = tiny_elic_trained(), latent(8, 12)
    cost = scale_cost(codec, {}, [y, y], 90)
    with torch.no_grad():
        estimate = codec.estimate(y, torch.tensor([90]))
    assert cost.coded == pytest.approx(float(estimate.y_bits) / y.numel(), rel=1e-5)
    assert cost.hyper == pytest.approx(float(estimate.z_bits) / y.numel(), rel=1e-5)


def test_excess_counts_the_hyper_symbols_on_both_sides() -> None:
    assert ScaleCost(90, 1.1, {"values": 0.9}, 0.1).excess("values") == pytest.approx(0.2)


def test_float_scales_learn_what_the_random_scale_path_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latents whose scale is that of their first channel: an untrained model does not see it, fitted networks do."""
    codec = tiny_elic_trained()
    generator = torch.Generator().manual_seed(1)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        size = torch.where(torch.rand(4, 1, 8, 8, generator=generator) < 0.5, 0.2, 6.0)
        return size * torch.randn(4, 8, 8, 8, generator=generator), torch.full((4,), 200)

    y, _ = batch()
    monkeypatch.setattr(elic_scale_cost, "_SAY_STEPS", 60)
    said: list[str] = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        starts = {f"start {reads}": FloatScale(TINY_ELIC, reads).eval() for reads in READS}
        fitted = fit_float_scales(codec, batch, num_steps=60, learning_rate=1e-2, say=said.append)
    assert set(fitted) == {"values", "symbols"}
    cost = scale_cost(codec, {**starts, **fitted}, [y], 200)
    for reads in READS:
        assert cost.floats[reads] < 0.9 * cost.floats[f"start {reads}"]
        assert cost.floats[reads] < cost.coded
        assert cost.excess(reads) > 0
    assert len(said) == 1
    assert said[0].startswith("step 60: bits a symbol coded")


@pytest.fixture
def planes(tmp_path: Path) -> Path:
    return pictures(tmp_path / "planes", count=20, side=96)


def _tiny_run(name: str, rate_lambda: float | None) -> Run:
    """What the recipe gives, narrow."""
    run = build(name, {"crop_px": "64", "batch_size": "2", "rate_lambda": str(rate_lambda)})
    config = run.objective().config  # type: ignore[attr-defined]
    return replace(run, objective=lambda: IndexPlaneObjective(replace(config, codec=TINY_ELIC_PLANES)), publish=None)


@pytest.mark.parametrize(("rate_lambda", "levels"), [(None, [0, 64, 128, 192, 255]), (0.007, [128])])
def test_the_cost_of_a_run(
    planes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate_lambda: float | None, levels: list[int]
) -> None:
    run = _tiny_run("feature-elic", rate_lambda)
    train(run, Budget(planes, tmp_path / "run", 5.0, device="cpu", max_steps=3), lambda line: None)
    monkeypatch.setattr(elic_scale_cost, "build", lambda name, settings: run)
    arguments = [str(tmp_path / "run"), "--data", str(planes), "--batches", "1", "--json", str(tmp_path / "cost.json")]
    assert main([*arguments, "--device", "cpu"]) == 0
    costs = json.loads((tmp_path / "cost.json").read_text())
    assert [cost["level"] for cost in costs] == levels
    for cost in costs:
        assert set(cost["floats"]) == set(READS)
        assert min(cost["coded"], cost["hyper"], *cost["floats"].values()) > 0


def test_the_table_says_what_each_network_needs() -> None:
    text = cost_table([ScaleCost(90, 1.1, {"values": 0.9, "symbols": 1.0}, 0.1)])
    assert "| 90 | 1.1000 | 1.0000 | 0.9000 | 0.1000 | +9.09 % | +20.00 % |" in text


def test_runs_without_elic_are_named(planes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--data", str(planes)]) != 0
    assert "no checkpoint here" in capsys.readouterr().err
    tiny = build("feature-hyperprior", {"crop_px": "64", "batch_size": "2"})
    hyper = replace(tiny, objective=lambda: IndexPlaneObjective(IndexPlaneObjectiveConfig(codec=TINY)), publish=None)
    train(hyper, Budget(planes, tmp_path / "run", 5.0, device="cpu", max_steps=1), lambda line: None)
    assert main([str(tmp_path / "run"), "--data", str(planes)]) != 0
    assert "has no ELIC codec" in capsys.readouterr().err
