"""Multiplications a pixel of each part of a system, counted while it runs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from smalto.bench.peers.compressai_hyperprior import CompressaiHyperprior
from smalto.bench.results import Table
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.systems.system import System

SIDE_PX = 256


def multiplications_table(system: System, peer: CompressaiHyperprior | None) -> Table:
    """Thousands of multiplications a pixel: encoder, codec, heads, and the peer's networks where it is there."""
    rows = [("smalto", part, count / 1e3) for part, count in system_multiplications(system).items()]
    if peer is not None:
        rows += [(peer.name, part, count / 1e3) for part, count in _peer_multiplications(peer).items()]
    note = f"Convolutions and matrix products of one {SIDE_PX} x {SIDE_PX} picture. The scale path's are float64."
    return Table("multiplications", ("codec", "part", "thousands_per_pixel"), tuple(rows), note)


@torch.no_grad()
def system_multiplications(system: System) -> dict[str, float]:
    """Part -> multiplications a pixel of the picture."""
    device, stride = system.engine.device, system.plane.stride
    x = torch.rand(1, 3, SIDE_PX, SIDE_PX, device=device)
    cells = SIDE_PX // stride
    y = torch.rand(1, system.plane.channels, cells, cells, device=device)
    codec = system.parts.codec
    encoder = next(iter(system.parts.encoders))
    counted = {f"encoder {encoder}": _counted(system.parts.encoders[encoder], x)}
    if isinstance(codec, FrozenHyperprior):  # a factorised codec has no networks
        z = torch.zeros(1, codec.config.hyper_channels, cells // 4, cells // 4, device=device)
        counted["hyper-analysis"] = _counted(codec.analysis, y)
        counted["mean path"] = _counted(codec.mean_path, z)
        counted["scale path"] = _counted(codec.scale_path, z.double())
    return counted | {f"head {task}": _counted(head, y) for task, head in system.parts.heads.items()}


@torch.no_grad()
def _peer_multiplications(peer: CompressaiHyperprior) -> dict[str, float]:
    network: dict[str, nn.Module] = {name: getattr(peer.network, name) for name in ("g_a", "h_a", "h_s", "g_s")}
    x = torch.rand(1, 3, SIDE_PX, SIDE_PX)
    y = torch.rand(1, peer.network.M, SIDE_PX // 16, SIDE_PX // 16)
    z = torch.rand(1, peer.network.N, SIDE_PX // 64, SIDE_PX // 64)
    return {name: _counted(network[name], given) for name, given in (("g_a", x), ("h_a", y), ("h_s", z), ("g_s", y))}


def _counted(network: Callable[[Tensor], Tensor], x: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        network(x)
    return counter.get_total_flops() / 2 / SIDE_PX**2
