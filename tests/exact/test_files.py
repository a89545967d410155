"""One file decodes to identical symbols everywhere, and to latents within 1e-5 of their range."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from smalto.codecs import hyper_coder, hyperprior_frozen
from smalto.codecs.freeze import freeze
from smalto.codecs.hyperprior import LITE, MeanScaleHyperprior
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.encoders.hific import Encoder
from smalto.errors import SmaltoError
from smalto.heads.image import Decoder
from smalto.systems import load
from smalto.systems.engine import Engine
from smalto.systems.multitask_codec import lite_parts
from smalto.systems.system import System
from tests.exact.surroundings import EXECUTORS, SETTINGS
from tests.tiny_models import scene, seeded, tiny_system

pytestmark = pytest.mark.exact


@dataclass(frozen=True)
class Decoded:
    """What was read from one file: hyper-symbols, main symbols of each tile in order, and the latent."""

    hyper: np.ndarray
    main: tuple[np.ndarray, ...]
    latent: Tensor


@contextmanager
def _recorded(into: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep every symbol that the entropy decoder gives while the block runs."""
    one = hyperprior_frozen.decode

    def decode(*args):  # type: ignore[no-untyped-def]
        into.append(one(*args))
        return into[-1]

    with monkeypatch.context() as patch:
        for module in (hyper_coder, hyperprior_frozen):
            patch.setattr(module, "decode", decode)
        yield


def _read(system: System, data: bytes, monkeypatch: pytest.MonkeyPatch) -> Decoded:
    symbols: list[np.ndarray] = []
    with _recorded(symbols, monkeypatch):
        latent = system.latent(data).planes["y"]
    return Decoded(symbols[0], tuple(symbols[1:]), latent.cpu())


def _same(found: Decoded, truth: Decoded, where: str) -> None:
    assert np.array_equal(found.hyper, truth.hyper), where
    assert len(found.main) == len(truth.main), where
    assert all(np.array_equal(a, b) for a, b in zip(found.main, truth.main, strict=True)), where
    span = float(truth.latent.max() - truth.latent.min())
    assert float((found.latent - truth.latent).abs().max()) <= 1e-5 * span, where


@functools.cache
def _lite() -> System:
    """The shipped sizes with random weights."""
    encoder, decoder = Encoder(), Decoder()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(7)
        assert encoder.linear is not None
        encoder.linear.weight.copy_(0.3 * torch.randn_like(encoder.linear.weight))
        codec = freeze(seeded(MeanScaleHyperprior, LITE, 8))  # type: ignore[arg-type]
    return System("lite-0", lite_parts(encoder, codec, decoder, None), Engine(torch.device("cpu"), torch.float32))


def _with_path(system: System, executor: str, folder: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> System:
    """The system with its scale path run in another way."""
    codec: FrozenHyperprior = deepcopy(system.parts.codec)
    seen: list[Tensor] = []
    handle = codec.scale_path.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    other = System(system.name, replace(system.parts, codec=codec), system.engine)
    other.latent(data)
    handle.remove()
    codec.scale_path = EXECUTORS[executor](codec.scale_path, seen[0], folder)  # type: ignore[assignment]
    return other


def _cases() -> list[object]:
    return ["tiny", pytest.param("lite", marks=pytest.mark.slow), pytest.param("installed", marks=pytest.mark.slow)]


def _system(size: str) -> System:
    """Narrow networks, the shipped sizes with random weights, or the weights that ship."""
    if size != "installed":
        return tiny_system() if size == "tiny" else _lite()
    try:
        return load(dtype=torch.float32)
    except SmaltoError as error:
        pytest.skip(f"no system is installed: {error}")


@pytest.mark.parametrize("size", _cases())
def test_threads_libraries_and_precision(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system = _system(size)
    for quality, tile in ((0, 1024), (50, 64), (100, 128)):
        data = system.encode(scene(150, 230), quality=quality, tile=tile).to_bytes()
        truth = _read(system, data, monkeypatch)
        assert len(np.unique(np.concatenate(truth.main))) >= 5
        for name, setting in SETTINGS.items():
            with setting():
                _same(_read(system, data, monkeypatch), truth, name)


@pytest.mark.parametrize("size", _cases())
@pytest.mark.parametrize("executor", ["export", "onnxruntime", pytest.param("compile", marks=pytest.mark.slow)])
def test_executors(size: str, executor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = _system(size)
    data = system.encode(scene(120, 200), quality=60).to_bytes()
    truth = _read(system, data, monkeypatch)
    other = _with_path(system, executor, tmp_path, monkeypatch, data)
    for name, setting in SETTINGS.items():
        with setting():
            _same(_read(other, data, monkeypatch), truth, f"{executor}, {name}")


def test_channels_last_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    system = tiny_system()
    data = system.encode(scene(150, 230), quality=60).to_bytes()
    truth = _read(system, data, monkeypatch)
    codec = deepcopy(system.parts.codec).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    other = System(system.name, replace(system.parts, codec=codec), system.engine)
    _same(_read(other, data, monkeypatch), truth, "channels_last")


def test_files_written_with_another_precision_of_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trunk's precision chooses which file is written, never what a file holds."""
    exact = tiny_system()
    rough = System(exact.name, exact.parts, replace(exact.engine, dtype=torch.bfloat16))
    data = rough.encode(scene(150, 230), quality=60).to_bytes()
    _same(_read(rough, data, monkeypatch), _read(exact, data, monkeypatch), "bfloat16")


def test_threads_decoding_side_by_side() -> None:
    """Four threads reading four files at once get what one thread gets."""
    from concurrent.futures import ThreadPoolExecutor

    system = tiny_system()
    files = [system.encode(scene(90, 110, seed), quality=25 * seed).to_bytes() for seed in range(4)]
    alone = [system.latent(data).planes["y"] for data in files]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda data: system.latent(data).planes["y"], files * 4))
    for k, latent in enumerate(together):
        torch.testing.assert_close(latent, alone[k % 4], atol=1e-6, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("size", ["tiny", "lite", "installed"])
def test_cuda(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system = _system(size)
    data = system.encode(scene(150, 230), quality=60).to_bytes()
    truth = _read(system, data, monkeypatch)
    parts = replace(
        system.parts, **{name: deepcopy(getattr(system.parts, name)) for name in ("codec", "encoders", "heads")}
    )
    for dtype in (torch.float32, torch.bfloat16):
        other = System(system.name, parts, Engine.on("cuda", dtype))
        _same(_read(other, data, monkeypatch), truth, f"cuda, {dtype}")
        written = other.encode(scene(150, 230), quality=60).to_bytes()
        _same(_read(system, written, monkeypatch), _read(other, written, monkeypatch), f"written on cuda, {dtype}")
