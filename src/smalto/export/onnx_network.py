"""One network as an ONNX file: free batch, height and width, no trace of the machine that wrote it; beside torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from smalto.errors import MissingExtra, SmaltoError
from smalto.export.device_networks import DeviceNetwork, Port

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
TOLERANCE = 1e-4  # of the range of an output's values and zero
TRACED = (2, 68, 100)  # batch, rows, columns in pixels; paths that pad what does not divide are part of the graph
COMPARED = (TRACED, (1, 64, 96), (1, 36, 132), (3, 160, 64))
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_ERRORS_ONLY = 3
_REGISTRATION = "torch.onnx._internal.exporter._registration"


@dataclass(frozen=True)
class Parity:
    """How far ONNX Runtime's answers lie from torch's.

    Args:
        max_difference: largest absolute difference over all outputs and sizes.
        max_share: the same, by the range of the output it is found in; zero counts as one of its values.
        sizes: (batch, rows, columns) in pixels that were compared.
    """

    max_difference: float
    max_share: float
    sizes: tuple[tuple[int, int, int], ...]


def require_packages() -> None:
    """Make sure that ONNX and its runtime are installed.

    Raises:
        MissingExtra: naming the first that is not.
    """
    from importlib.util import find_spec

    for package in _PACKAGES:
        if find_spec(package) is None:
            raise MissingExtra(f"export needs {package}, which is not installed; pip install 'smalto[export]'")


def export_network(network: DeviceNetwork, facts: Mapping[str, str] | None = None) -> bytes:
    """A network as the bytes of an ONNX file.

    Batch, height and width are free. Names of files, lines and modules of the exporting machine are left out, so that
    equal weights give equal bytes.

    Args:
        network: in evaluation, on the CPU, in float32.
        facts: stored in the file as its metadata.

    Raises:
        MissingExtra: ONNX is not installed.
        SmaltoError: the network cannot be exported.
    """
    require_packages()
    import onnx

    auto = torch.export.Dim.AUTO
    example = network.example(*TRACED)
    shapes = tuple({0: auto, 2: auto, 3: auto} for _ in example)
    try:
        with warnings.catch_warnings(), _quiet_exporter(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter's own code
            program = torch.export.export(network.module, example, dynamic_shapes=shapes, strict=False)
            exported = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[port.name for port in network.inputs],
                output_names=[port.name for port in network.outputs],
            )
    except Exception as error:  # the exporter raises nearly anything
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SmaltoError(f"{network.name}: cannot be exported to ONNX ({line}); report it with --debug") from error
    model: ModelProto = exported.model_proto  # type: ignore[union-attr]
    _clean(model, network, {**(facts or {}), **network.facts})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter from saying which packages, none of them needed, it did not find."""
    logger = logging.getLogger(_REGISTRATION)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _clean(model: ModelProto, network: DeviceNetwork, facts: Mapping[str, str]) -> None:
    """Take the exporter's traces out; name the free axes; store the facts."""
    from onnx import helper

    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        holder.doc_string = ""
        del holder.metadata_props[:]  # traces name folders of this machine
    del graph.value_info[:]  # runtimes infer the shapes between
    graph.name = network.name
    for values, ports in ((graph.input, network.inputs), (graph.output, network.outputs)):
        for value, port in zip(values, ports, strict=True):
            _name_axes(value.type.tensor_type.shape.dim, port)
    helper.set_model_props(model, dict(facts))


def _name_axes(axes: Any, port: Port) -> None:
    for axis, held in zip(axes, port.axes, strict=True):
        if isinstance(held, str):
            axis.dim_param = held
        else:
            axis.dim_value = held


class OnnxSession:
    """An ONNX file in ONNX Runtime on the CPU, with as many threads as torch has.

    Args:
        data: the file's bytes.
    """

    def __init__(self, data: bytes) -> None:
        require_packages()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.names = tuple(value.name for value in self.session.get_inputs())

    def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """The answers to float32 arrays, one per input."""
        return tuple(self.session.run(None, dict(zip(self.names, inputs, strict=True))))  # type: ignore[arg-type]


def compare(network: DeviceNetwork, data: bytes, sizes: Sequence[tuple[int, int, int]] = COMPARED) -> Parity:
    """Run a file beside the network that it was made from.

    Args:
        network: as exported.
        data: the file's bytes.
        sizes: (batch, rows, columns) in pixels, rounded up to the network's multiple.

    Raises:
        SmaltoError: an answer has another shape, or differs by more than ``TOLERANCE`` of its range.
    """
    session = OnnxSession(data)
    worst, share = 0.0, 0.0
    for size in sizes:
        inputs = network.example(*size, seed=1)
        for port, ours, theirs in zip(
            network.outputs, network(*inputs), session(*[x.numpy() for x in inputs]), strict=True
        ):
            expected = ours.numpy()
            if expected.shape != theirs.shape:
                raise SmaltoError(
                    f"{network.name}: {port.name} has shape {theirs.shape} in ONNX Runtime, {expected.shape} in torch; "
                    "try another version of torch or onnxruntime"
                )
            difference = float(np.abs(expected - theirs).max())
            span = max(float(expected.max()), 0.0) - min(float(expected.min()), 0.0)
            worst, share = max(worst, difference), max(share, difference / max(span, 1e-12))
    if not share <= TOLERANCE:
        raise SmaltoError(
            f"{network.name}: ONNX Runtime differs from torch by {share:.1e} of the range, above {TOLERANCE:g}; "
            "try another version of torch or onnxruntime"
        )
    return Parity(worst, share, tuple(sizes))
