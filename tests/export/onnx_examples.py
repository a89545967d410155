"""What tests of exported networks share: the packages or a skip, seeded small networks, and their files, made once."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from smalto.encoders.shared_cnn import SharedEncoder
from smalto.export.device_networks import DeviceNetwork, device_networks, system_networks
from smalto.heads.denoise import LightDenoiser
from smalto.heads.segment import Segmenter
from smalto.heads.shared_decoder import SharedDecoder
from smalto.heads.stereo import SIZES, StereoHead
from smalto.train.shared_start import start_passing
from tests.tiny_models import tiny_system


def need_onnx() -> None:
    """Skip where the extra is not installed."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"extra `export` is not installed: no {name}")


@functools.cache
def networks() -> dict[str, DeviceNetwork]:
    """Networks of the shared space by name, with weights that hand pictures through; and tiny lite ones."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder, decoder = SharedEncoder(), SharedDecoder()
        start_passing(encoder, decoder)
        heads: list[nn.Module] = [LightDenoiser((64, 8, 8)), _settled(Segmenter("s", 11)), StereoHead(SIZES["S"])]
        shared = device_networks((encoder, SharedEncoder(1), decoder, *heads))
    lite = {f"lite {network.name}": network for network in system_networks(tiny_system())}
    return {network.name: network for network in shared} | lite


def _settled(segmenter: Segmenter) -> Segmenter:
    """With statistics of norms that are not their start."""
    for module in segmenter.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return segmenter


@functools.cache
def file_of(name: str) -> bytes:
    """A network's ONNX file."""
    from smalto.export.onnx_network import export_network

    return export_network(networks()[name], {"licence": "none"})
