"""ELIC's symbols are the sender's wherever they are read; its indexes are the oracle's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from smalto.codecs.elic import Elic
from smalto.codecs.elic_context import ELIC_SMALL, ElicConfig, ElicScalePath
from smalto.codecs.elic_freeze import freeze_elic
from smalto.codecs.elic_frozen import FrozenElic
from smalto.codecs.hyper_coder import PlaneCode
from smalto.codecs.scale_path import BIAS_UNIT, IntegerScalePath, reference_indexes
from tests.exact.surroundings import EXECUTORS, SETTINGS
from tests.exact.surroundings import symbols as some_symbols
from tests.tiny_models import latent, seeded

pytestmark = pytest.mark.exact

CONFIG: ElicConfig = replace(ELIC_SMALL, groups=(4, 4, 8, 16, 32))
SIZE = (13, 18)
TILES = (8, 16, 64)
WILD = 150.0


@functools.cache
def _codec(gather_gain: float = 2.0) -> FrozenElic:
    """Weights so large that integers spread over their ranges; at a gain of 150 sums leave float32's exact integers."""
    trained = seeded(Elic, CONFIG, 5)
    assert isinstance(trained, Elic)
    with torch.no_grad():
        for path in (*trained.scale_path.channel[1:], *trained.scale_path.spatial, trained.scale_path.hyper):
            for weight, factor in zip(path.weights, (4.0, 20.0, 1.0), strict=False):
                weight.mul_(factor)
        for gather in trained.scale_path.gather:
            gather.weights[1].mul_(20.0)
            gather.weights[2].mul_(gather_gain)
            gather.biases[-1].add_(7 * 16 / BIAS_UNIT)
    return freeze_elic(trained)


@functools.cache
def _truth(tile: int) -> tuple[PlaneCode, tuple[np.ndarray, ...], torch.Tensor]:
    """A coded plane with the symbols that its sender wrote, and the latent."""
    codec, y = _codec(), latent(*SIZE, seed=7, channels=CONFIG.latent_channels)
    sent: list[np.ndarray] = []
    symbols_of = codec.symbols_of
    codec.symbols_of = lambda *args: _kept(symbols_of(*args), sent)  # type: ignore[method-assign]
    try:
        code = codec.encode(y, 140, tile)
    finally:
        del codec.symbols_of
    return code, tuple(sent), codec.decode(code, *SIZE, tile)


def _kept(symbols: torch.Tensor, into: list[np.ndarray]) -> torch.Tensor:
    into.append(symbols.cpu().numpy().copy())
    return symbols


def _read(codec: FrozenElic, code: PlaneCode, tile: int) -> tuple[tuple[np.ndarray, ...], torch.Tensor]:
    """Symbols and latent that a receiver has."""
    found: list[np.ndarray] = []
    read_symbols = codec.read_symbols
    codec.read_symbols = lambda *args: _kept(read_symbols(*args), found)  # type: ignore[method-assign]
    try:
        y_hat = codec.decode(code, *SIZE, tile)
    finally:
        del codec.read_symbols
    return tuple(found), y_hat


def _same(ours: tuple[np.ndarray, ...], theirs: tuple[np.ndarray, ...]) -> bool:
    return len(ours) == len(theirs) and all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_reads_the_senders_symbols(setting: str, tile: int) -> None:
    code, sent, y_hat = _truth(tile)
    with SETTINGS[setting]():
        found, back = _read(_codec(), code, tile)
    assert _same(found, sent)
    torch.testing.assert_close(back, y_hat, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_any_setting_writes_is_read_here(setting: str) -> None:
    y = latent(*SIZE, seed=8, channels=CONFIG.latent_channels).contiguous(memory_format=torch.channels_last)
    with SETTINGS[setting]():
        code = _codec().encode(y, 140, 16)
        ours, there = _read(_codec(), code, 16)
    found, back = _read(_codec(), code, 16)
    assert _same(found, ours)
    torch.testing.assert_close(back, there, atol=1e-4, rtol=1e-5)


def test_symbols_and_tables_are_worth_testing() -> None:
    """Symbols vary, so do the indexes, and float32 sums would miss some of them."""
    _, sent, _ = _truth(64)
    assert len(np.unique(np.concatenate([s.ravel() for s in sent]))) > 30
    path = _codec(WILD).scale_path
    exact = _indexes(path, *_inputs(2))
    assert len(torch.unique(exact)) > 500
    assert len(torch.unique(_indexes(_codec().scale_path, *_inputs(2)).clamp(0, 1008))) > 200
    assert not torch.equal(_indexes(_run_by(_in_float32, path), *_inputs(2)), exact)


def _inputs(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Hyper-symbols (batch, Cz, 1, 2) and symbols (batch, M, 24), some beyond the clamp."""
    generator = torch.Generator().manual_seed(batch)
    z = torch.randint(-150, 150, (batch, CONFIG.hyper_channels, 1, 2), generator=generator).double()
    symbols = torch.floor(40 * torch.randn(batch, CONFIG.latent_channels, 24, generator=generator)).int()
    return z, symbols


def _indexes(path: ElicScalePath, z: torch.Tensor, symbols: torch.Tensor) -> torch.Tensor:
    """Indexes of tiles of 4 x 6 cells."""
    offset = _codec().index_offset[60][None, :, None].double()
    features = path.features(z)[:, :, :4, :6]
    return path(features, offset, lambda step, _: symbols[:, step.channels, step.cells])


def _run_by(executor: Callable[[IntegerScalePath, torch.Tensor], torch.Tensor], path: ElicScalePath) -> ElicScalePath:
    """The composition with every part run by another executor."""
    other = deepcopy(path)
    for part in other.parts().values():
        part.forward = functools.partial(executor, part)  # type: ignore[method-assign, arg-type]
    return other


def _in_float32(path: IntegerScalePath, z: torch.Tensor) -> torch.Tensor:
    """The same layers with float32 products: what a careless executor would give."""
    x = z.clamp(-128, 127).float()
    for k, layer in enumerate(path.layers):
        kernel = getattr(path, f"weight{k}").float().view(layer.kernel, layer.kernel, layer.channels_in, -1)
        sums = torch.conv2d(x, kernel.permute(3, 2, 0, 1), getattr(path, f"bias{k}").float(), padding=layer.kernel // 2)
        x = torch.floor(sums / 256 + 0.5)
        if k < len(path.layers) - 1:
            x = x.clamp(0, 255)
        if layer.up > 1:
            x = torch.nn.functional.pixel_shuffle(x, layer.up)
    return x.double()


@functools.cache
def _oracle(batch: int) -> torch.Tensor:
    return _indexes(_run_by(_by_definition, _codec(WILD).scale_path), *_inputs(batch))


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("batch", [1, 8, 16, 33])
def test_indexes_are_the_oracles(setting: str, batch: int) -> None:
    """The whole composition against every part run by the NumPy int64 definition, at every batch and layout."""
    z, symbols = _inputs(batch)
    for layout in (torch.contiguous_format, torch.channels_last):
        with SETTINGS[setting](), torch.inference_mode():
            found = _indexes(_codec(WILD).scale_path, z.contiguous(memory_format=layout), symbols)
        assert torch.equal(found, _oracle(batch))


def _by_definition(path: IntegerScalePath, z: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(reference_indexes(path, z.numpy())).double()


def _runs() -> list[object]:
    slow = ("compile", "onnxruntime")
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in EXECUTORS]


@pytest.mark.parametrize("executor", _runs())
@pytest.mark.parametrize("name", ["hyper", "channel4", "spatial4", "gather4"])
def test_every_executor_runs_the_parts(executor: str, name: str, tmp_path: Path) -> None:
    """Layers without doubling, and layers of side 1 on a line of cells, beside those that codec 2 has too."""
    path = _codec(WILD).scale_path.parts()[name]
    assert isinstance(path, IntegerScalePath)
    shape = (1, 12) if name == "gather4" else (3, 4)
    z = some_symbols(9, path.layers[0].channels_in, *shape)
    truth = _by_definition(path, z)
    run = EXECUTORS[executor](path, z[:2], tmp_path)
    for batch in (1, 9):
        with torch.inference_mode():
            assert torch.equal(run(z[:batch]).double(), truth[:batch])


def test_symbols_need_no_mean() -> None:
    """A receiver whose mean path gives nothing but wrong numbers reads the same symbols."""
    code, sent, _ = _truth(16)
    broken = deepcopy(_codec())
    with torch.no_grad():
        for parameter in broken.mean_path.parameters():
            parameter.fill_(float("nan"))
    found, _ = _read(broken, code, 16)
    assert _same(found, sent)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda() -> None:
    for tile in TILES:
        code, sent, y_hat = _truth(tile)
        found, back = _read(deepcopy(_codec()).cuda(), code, tile)
        assert _same(found, sent)
        torch.testing.assert_close(back.cpu(), y_hat, atol=1e-3, rtol=1e-4)
