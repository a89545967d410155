"""int8: which layers stay in float, what it costs, and when it is not worth it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImages

from smalto.errors import UsageError
from smalto.export.calibration import Calibration, calibrations, picture_pieces
from tests.export.onnx_examples import file_of, need_onnx, networks
from tests.shared_space import smooth_pictures


def lite_calibration(name: str) -> Calibration:
    pieces = [smooth_pictures(1, 64, seed) for seed in range(6)]
    held = networks()
    found = calibrations([held[f"lite {name}"]], held["lite encoder"], pieces)
    return found[name]


def int8_convolutions(data: bytes) -> int:
    import onnx

    graph = onnx.load_from_string(data).graph
    made = {node.output[0]: node.op_type for node in graph.node}
    return sum(node.op_type == "Conv" and made.get(node.input[1]) == "DequantizeLinear" for node in graph.node)


def test_layers_go_back_to_float_until_the_noise_is_what_was_asked_for() -> None:
    need_onnx()
    import onnx

    from smalto.export.onnx_network import OnnxSession
    from smalto.export.onnx_quantisation import quantised

    data, calibration = file_of("lite decoder"), lite_calibration("decoder")
    loose = quantised(data, calibration, 5.0)
    assert loose.kept == ()
    assert loose.int8_share == 1.0
    assert loose.snr_db == loose.all_int8_snr_db
    strict = quantised(data, calibration, loose.snr_db + 3.0)
    assert strict.kept
    assert strict.snr_db >= loose.snr_db + 3.0
    assert strict.all_int8_snr_db == loose.snr_db
    num = sum(node.op_type == "Conv" for node in onnx.load_from_string(data).graph.node)
    assert loose.data is not None
    assert int8_convolutions(loose.data) == num
    if strict.data is not None:
        assert int8_convolutions(strict.data) == num - len(strict.kept)
    (latent,) = calibration.held_out[0]
    (ours,), (theirs,) = OnnxSession(loose.data)(latent), OnnxSession(data)(latent)
    noise = 10 * np.log10(np.var(theirs) / np.mean((ours - theirs) ** 2))
    assert noise == pytest.approx(loose.snr_db, abs=3.0)
    assert len(loose.data) < len(data)


def test_what_cannot_be_had_is_not_written() -> None:
    need_onnx()
    from smalto.export.onnx_quantisation import quantised

    result = quantised(file_of("lite decoder"), lite_calibration("decoder"), 90.0)
    assert result.data is None
    assert result.int8_share < 0.5
    assert result.all_int8_snr_db < 60


def test_inputs_come_from_the_encoder_and_two_thirds_calibrate() -> None:
    held = networks()
    names = ("encoder", "raw-encoder", "decoder", "denoise", "stereo")
    pieces = [smooth_pictures(1, 32, seed) for seed in range(6)]
    found = calibrations([held[name] for name in names], held["encoder"], pieces)
    assert set(found) == {"encoder", "raw-encoder", "decoder", "denoise"}  # stereo needs pairs
    assert {(len(one.seen), len(one.held_out)) for one in found.values()} == {(4, 2)}
    planes = held["encoder"](pieces[0])
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(found["decoder"].held_out[0], planes, strict=True))
    assert not np.array_equal(found["denoise"].held_out[0][0], planes[0].numpy())  # of a noisy picture
    assert found["raw-encoder"].held_out[0][0].shape == (1, 1, 32, 32)
    assert set(calibrations([held["decoder"]], None, pieces)) == set()


def test_pieces_are_whole_multiples_and_the_same_every_time(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name, size in (("a.png", (70, 100)), ("b.png", (40, 33))):
        PilImages.fromarray(generator.integers(0, 256, (*size, 3), np.uint8)).save(tmp_path / name)
    files = sorted(tmp_path.glob("*.png"))
    pieces = picture_pieces(files, 5, 64)
    assert [tuple(piece.shape[2:]) for piece in pieces] == [(64, 64), (32, 32), (64, 64), (32, 32), (64, 64)]
    assert all(torch.equal(a, b) for a, b in zip(pieces, picture_pieces(files, 5, 64), strict=True))
    with pytest.raises(UsageError, match="name a folder of them with --calibration DIR"):
        picture_pieces([])
    PilImages.fromarray(np.zeros((20, 64, 3), np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(UsageError, match=r"c\.png: smaller than 32 x 32"):
        picture_pieces([tmp_path / "c.png"])
