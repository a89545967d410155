"""ONNX files: the same answers as torch at any size, free axes, and nothing of the machine in them."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest

from smalto.errors import MissingExtra, SmaltoError
from smalto.export import onnx_network
from smalto.export.onnx_network import COMPARED, OPSET, TOLERANCE, OnnxSession, compare, export_network
from tests.export.onnx_examples import file_of, need_onnx, networks

FAST = ("encoder", "decoder", "denoise", "lite encoder", "lite decoder")
SLOW = ("raw-encoder", "segment", "stereo", "lite upscale")
ALL = (*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW))


@pytest.fixture(autouse=True)
def _packages() -> None:
    need_onnx()


@pytest.mark.parametrize("name", ALL)
def test_parity_with_torch_at_traced_and_other_sizes(name: str) -> None:
    assert len({size[1:] for size in COMPARED}) == 4
    assert any(rows != columns for _, rows, columns in COMPARED)
    parity = compare(networks()[name], file_of(name))
    assert parity.max_share <= TOLERANCE


@pytest.mark.parametrize("name", ALL)
def test_axes_are_free_and_resizes_are_plain(name: str) -> None:
    import onnx

    model, network = onnx.load_from_string(file_of(name)), networks()[name]
    assert model.opset_import[0].version == OPSET
    for values, ports in ((model.graph.input, network.inputs), (model.graph.output, network.outputs)):
        for value, port in zip(values, ports, strict=True):
            axes = value.type.tensor_type.shape.dim
            assert (value.name, tuple(axis.dim_param or axis.dim_value for axis in axes)) == (port.name, port.axes)
    for node in model.graph.node:
        if node.op_type == "Resize":
            held = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
            assert held.get("mode") in (b"linear", b"nearest")
            assert not held.get("antialias")


@pytest.mark.parametrize("name", ["encoder", "lite decoder"])
def test_files_say_nothing_of_the_machine(name: str) -> None:
    data = file_of(name)
    folder = os.path.dirname(onnx_network.__file__)
    for text in (folder, os.path.dirname(np.__file__), ".py"):
        assert text.encode() not in data
    assert b"licence" in data


def test_equal_weights_give_equal_bytes() -> None:
    assert export_network(networks()["lite decoder"], {"licence": "none"}) == file_of("lite decoder")


def test_a_file_of_other_weights_is_refused() -> None:
    import onnx

    model = onnx.load_from_string(file_of("lite decoder"))
    weight = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
    with pytest.raises(
        SmaltoError, match=r"decoder: ONNX Runtime differs from torch by .* of the range, above 0\.0001"
    ):
        compare(networks()["lite decoder"], model.SerializeToString())


def test_sessions_take_arrays_in_the_order_of_the_call() -> None:
    network = networks()["decoder"]
    planes = network.example(1, 8, 12)
    session = OnnxSession(file_of("decoder"))
    assert session.names == ("z_b", "z_t")
    (picture,) = session(*[plane.numpy() for plane in planes])
    assert picture.shape == (1, 3, 8, 12)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name))
    with pytest.raises(MissingExtra, match=r"needs onnxscript, which is not installed; pip install 'smalto\[export\]'"):
        export_network(networks()["lite decoder"])
