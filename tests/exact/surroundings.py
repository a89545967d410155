"""Ways to run the same integers: thread counts, libraries, layouts, precisions, compilers, runtimes, devices."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from smalto.codecs.scale_path import IntegerScalePath, ScalePath, scale_layers
from tests.tiny_models import seeded

LITE_LAYERS = scale_layers(96, (96, 64), 320)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _without_onednn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # setting oneDNN's flags warns of TF32, which this does not touch
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def _autocast() -> AbstractContextManager[object]:
    return torch.autocast("cpu", dtype=torch.bfloat16)


SETTINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "as it is": nullcontext,
    "1 thread": lambda: _threads(1),
    "2 threads": lambda: _threads(2),
    "4 threads": lambda: _threads(4),
    "oneDNN off": _without_onednn,
    "autocast to bfloat16": _autocast,
}


def wide_path(seed: int = 0) -> IntegerScalePath:
    """A scale path with the shipped layers' sizes and weights so large that sums leave float32's exact integers."""
    trained = seeded(ScalePath, LITE_LAYERS, seed)
    with torch.no_grad():
        for k, weight in enumerate(trained.weights):
            weight.mul_((8.0, 40.0, 500.0)[k])
    return trained.frozen()


def symbols(batch: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Hyper-symbols with some beyond the clamp, (batch, channels, height, width) float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.floor(60 * torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64))


class OnnxPath(nn.Module):
    """A scale path run by ONNX Runtime on the CPU."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        runtime = pytest.importorskip("onnxruntime", reason="extra `export` is not installed: no onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        self.session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def forward(self, z: Tensor) -> Tensor:
        (indexes,) = self.session.run(None, {self.input: z.double().contiguous().numpy()})
        return torch.from_numpy(indexes)


def eager(path: IntegerScalePath, z: Tensor, folder: Path) -> nn.Module:
    """The module itself."""
    return path


def compiled(path: IntegerScalePath, z: Tensor, folder: Path) -> nn.Module:
    """torch.compile; skipped where no C++ compiler is found."""
    from shutil import which

    if not any(map(which, ("c++", "g++", "clang++", "cl"))):
        pytest.skip("torch.compile needs a C++ compiler")
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler's own code
        module = torch.compile(path)
        module(z)
    return module  # type: ignore[return-value]


def exported(path: IntegerScalePath, z: Tensor, folder: Path) -> nn.Module:
    """torch.export, with free batch, height and width."""
    return _program(path, z).module()


def onnx(path: IntegerScalePath, z: Tensor, folder: Path) -> nn.Module:
    """ONNX Runtime, through a file."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"extra `export` is not installed: no {name}")
    file = folder / "scale_path.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own code
        torch.onnx.export(_program(path, z), dynamo=True, verbose=False).save(str(file))  # type: ignore[union-attr]
    return OnnxPath(file)


def _program(path: IntegerScalePath, z: Tensor) -> torch.export.ExportedProgram:
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)
    example = z if len(z) > 1 else z.expand(2, -1, -1, -1).contiguous()  # an axis of one would be fixed
    return torch.export.export(path, (example,), dynamic_shapes=({**free, 1: torch.export.Dim.STATIC},), strict=False)


EXECUTORS: dict[str, Callable[[IntegerScalePath, Tensor, Path], nn.Module]] = {
    "eager": eager,
    "compile": compiled,
    "export": exported,
    "onnxruntime": onnx,
}
