"""An ONNX file in int8: convolutions by QDQ with a scale a channel, all but those whose noise costs too much.

Every convolution is first quantised alone, which tells the noise it adds to the answers. Noises of single layers nearly
add up, so the layers with the most noise per multiplication go back to float until the sum, and then the measured
ratio of signal to noise, is what was asked for. Transposed convolutions stay in float: runtimes have no int8 kernel.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smalto.export.calibration import Calibration, Inputs
from smalto.export.onnx_network import OnnxSession, require_packages

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

LEAST_INT8_SHARE = 0.5  # of the convolutions' multiplications; with less than this in int8, float is the better file
_KIND = "Conv"
_MORE_PER_ROUND = 0.1  # of the layers left, when the sum of single noises was too low a guess


@dataclass(frozen=True)
class Quantised:
    """A network in int8, or the finding that it is not worth it.

    Args:
        data: the file's bytes; None when less than half of the multiplications could be int8.
        snr_db: signal over noise of the answers on held-out pieces, of ``data`` or of the last attempt.
        all_int8_snr_db: the same with every convolution in int8.
        kept: names of the convolutions in float.
        int8_share: part of the multiplications of all convolutions, transposed ones too, that is int8.
    """

    data: bytes | None
    snr_db: float
    all_int8_snr_db: float
    kept: tuple[str, ...]
    int8_share: float


def quantised(data: bytes, calibration: Calibration, least_snr_db: float) -> Quantised:
    """A float32 file in int8.

    Args:
        data: bytes of the file, as ``export_network`` gives them.
        calibration: inputs to take ranges from, and others to judge by.
        least_snr_db: of the answers, the worst of the outputs.

    Raises:
        MissingExtra: ONNX Runtime is not installed.
    """
    require_packages()
    work = _Work(data, calibration)
    layers = [node.name for node in work.model.graph.node if node.op_type == _KIND]
    costs = work.multiplications()
    total = sum(costs.values())
    every = work.noise(work.quantise(layers))
    allowed = 10 ** (-least_snr_db / 10)
    kept: list[str] = []
    best, noise = work.quantise(layers), every
    if every > allowed:
        alone = {name: work.noise(work.quantise([name])) for name in layers}
        ranked = sorted(layers, key=lambda name: alone[name] / costs[name], reverse=True)
        num = _num_kept(ranked, alone, allowed)
        while noise > allowed and num <= len(layers):
            kept = ranked[:num]
            best = work.quantise(ranked[num:])
            noise = work.noise(best)
            num += max(1, round(_MORE_PER_ROUND * (len(layers) - num)))
    share = sum(costs[name] for name in layers if name not in kept) / max(total, 1)
    shipped = best if noise <= allowed and share >= LEAST_INT8_SHARE else None
    return Quantised(shipped, _db(noise), _db(every), tuple(sorted(kept, key=layers.index)), share)


def _num_kept(ranked: Sequence[str], alone: Mapping[str, float], allowed: float) -> int:
    """How many of the first layers must go for the noise of the others to add up to less than is allowed; 1 or more."""
    left = sum(alone.values())
    for number, name in enumerate(ranked):
        if left <= allowed:
            return max(number, 1)
        left -= alone[name]
    return len(ranked)


def _db(noise: float) -> float:
    return -10 * math.log10(max(noise, 1e-12))


class _Work:
    """A model, its ranges and its float answers, to quantise it in several ways.

    Args:
        data: the float file.
        calibration: see ``quantised``.
    """

    def __init__(self, data: bytes, calibration: Calibration) -> None:
        import onnx
        from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

        self.calibration = calibration
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "float.onnx"
            path.write_bytes(data)
            self.model: ModelProto = load_model_with_shape_infer(path)
            self.ranges = _ranges(path, Path(folder), calibration.seen, onnx.load_from_string(data))
        session = OnnxSession(data)
        self.answers = [session(*inputs) for inputs in calibration.held_out]

    def quantise(self, names: Sequence[str]) -> bytes:
        """The model with these convolutions in int8."""
        import onnx
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        if names:
            quantizer = QDQQuantizer(
                model,
                per_channel=True,
                reduce_range=False,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QUInt8,
                tensors_range=self.ranges,
                nodes_to_quantize=list(names),
                nodes_to_exclude=[],
                op_types_to_quantize=[_KIND],
                extra_options={},
            )
            quantizer.quantize_model()
            model = quantizer.model.model
        del model.graph.value_info[:]
        return model.SerializeToString(deterministic=True)

    def noise(self, data: bytes) -> float:
        """Noise of the answers by their variance, on held-out inputs; of the worst output."""
        session = OnnxSession(data)
        noise = np.zeros(len(self.answers[0]))
        power = np.zeros_like(noise)
        for inputs, expected in zip(self.calibration.held_out, self.answers, strict=True):
            for k, (ours, theirs) in enumerate(zip(session(*inputs), expected, strict=True)):
                noise[k] += float(np.mean(np.square(ours - theirs, dtype=np.float64)))
                power[k] += float(np.var(theirs, dtype=np.float64))
        return float(np.max(noise / np.maximum(power, 1e-20)))

    def multiplications(self) -> dict[str, int]:
        """Multiplications of every convolution, transposed ones too, on the first held-out input."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        weights = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
        nodes = [node for node in model.graph.node if node.op_type in (_KIND, "ConvTranspose")]
        del model.graph.output[:]
        watched = [node.input[0] if node.op_type == "ConvTranspose" else node.output[0] for node in nodes]
        known = {value.name for value in model.graph.input}
        for name in dict.fromkeys(watched):
            if name not in known:
                model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        session = OnnxSession(model.SerializeToString())
        first = self.calibration.held_out[0]
        shapes = {name: array.shape for name, array in zip(session.names, first, strict=True)}
        outputs = [value.name for value in session.session.get_outputs()]
        shapes |= {name: array.shape for name, array in zip(outputs, session(*first), strict=True)}
        return {
            node.name: _num_weights(node, weights) * math.prod(shapes[name][2:])
            for node, name in zip(nodes, watched, strict=True)
        }


def _num_weights(node: NodeProto, weights: Mapping[str, int]) -> int:
    return weights.get(node.input[1], 1)


def _ranges(path: Path, folder: Path, seen: Sequence[Inputs], model: ModelProto) -> Any:
    """Smallest and largest value of every tensor around a convolution."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    names = [value.name for value in model.graph.input]

    class _Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows: Iterator[Inputs] = iter(seen)

        def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
            row = next(self.rows, None)
            return None if row is None else dict(zip(names, row, strict=True))

    calibrator = create_calibrator(
        path,
        [_KIND],
        augmented_model_path=str(folder / "watched.onnx"),
        calibrate_method=CalibrationMethod.MinMax,
    )
    with contextlib.redirect_stdout(None):  # the runtime's own notes
        calibrator.collect_data(_Reader())
        return calibrator.compute_data()
