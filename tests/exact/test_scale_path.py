"""The scale path gives the oracle's integers wherever it runs."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from smalto.codecs.scale_path import ACTIVATION_LIMIT, INPUT_LIMIT, reference_indexes
from tests.exact.surroundings import EXECUTORS, SETTINGS, symbols, wide_path

pytestmark = pytest.mark.exact

BATCHES = (1, 8, 16, 33)
SHAPE = (96, 1, 3)


@functools.cache
def _truth() -> tuple[torch.Tensor, torch.Tensor]:
    """33 planes of symbols and the oracle's indexes."""
    z = symbols(max(BATCHES), *SHAPE)
    return z, torch.from_numpy(reference_indexes(wide_path(), z.numpy())).double()


def _runs() -> list[object]:
    slow = ("compile", "onnxruntime")
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in EXECUTORS]


def test_indexes_are_worth_testing() -> None:
    """The oracle's indexes spread over tables, and float32 arithmetic would miss some of them."""
    z, truth = _truth()
    assert len(torch.unique(truth)) > 500
    path = wide_path()
    x = z.float().clamp(*INPUT_LIMIT)
    for k, layer in enumerate(path.layers):
        weight = getattr(path, f"weight{k}").float()
        kernel = weight.view(3, 3, layer.channels_in, -1).permute(3, 2, 0, 1)
        sums = F.conv2d(x, kernel, getattr(path, f"bias{k}").float(), padding=1)
        x = torch.floor(sums / 256 + 0.5)
        if k < 2:
            x = F.pixel_shuffle(x.clamp(*ACTIVATION_LIMIT), layer.up)
    assert not torch.equal(x.double(), truth)


@pytest.mark.parametrize("executor", _runs())
def test_every_executor_batch_setting_and_layout(executor: str, tmp_path: Path) -> None:
    z, truth = _truth()
    path = wide_path()
    run = EXECUTORS[executor](path, z[:2], tmp_path)
    for name, setting in SETTINGS.items():
        for batch in BATCHES:
            for layout in (torch.contiguous_format, torch.channels_last):
                with setting(), torch.inference_mode():
                    indexes = run(z[:batch].contiguous(memory_format=layout))
                assert torch.equal(indexes.double(), truth[:batch]), f"{executor}, {name}, batch {batch}, {layout}"


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 2), (3, 4)])
def test_other_sizes(shape: tuple[int, int], tmp_path: Path) -> None:
    path = wide_path(1)
    z = symbols(2, 96, *shape, seed=3)
    truth = reference_indexes(path, z.numpy())
    for name in ("eager", "export"):
        run = EXECUTORS[name](path, symbols(2, 96, 3, 4), tmp_path)
        assert np.array_equal(run(z).numpy(), truth), name


def test_symbols_of_any_integer_type() -> None:
    z, truth = _truth()
    path = wide_path()
    for dtype in (torch.int16, torch.int32, torch.int64, torch.float32):
        assert torch.equal(path(z[:2].to(dtype)), truth[:2])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda() -> None:
    z, truth = _truth()
    path = wide_path().cuda()
    for batch in BATCHES:
        for enabled in (False, True):
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=enabled):
                indexes = path(z[:batch].cuda())
            assert torch.equal(indexes.cpu(), truth[:batch])
