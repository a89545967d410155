"""What objectives of heads share: the frozen space under them, or pixels instead; norms that are right when shipped."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from smalto.encoders.shared_cnn import SharedEncoder
from smalto.heads.shared_decoder import SharedDecoder
from smalto.layers.shared_planes import SharedPlanes
from smalto.train.run import Objective

PIXELS = "pixels"
SpaceNetworks = Callable[[], tuple[SharedEncoder, SharedDecoder]]


class FrozenSpace(nn.Module):
    """Encoder and decoder of a shared space, neither of them trained.

    Args:
        encoder: of pictures.
        decoder: of planes.
    """

    def __init__(self, encoder: SharedEncoder, decoder: SharedDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def planes(self, pictures: Tensor) -> SharedPlanes:
        """E of pictures (B, 3, S, S), in full precision whatever the step's."""
        with torch.autocast(pictures.device.type, enabled=False):
            return self.encoder(pictures.float())


class SpaceHeadObjective(Objective, abc.ABC):
    """A head on a frozen space, or its twin on pixels; the space is neither trained nor saved with it.

    Args:
        networks: gives encoder and decoder, filled; None for the twin on pixels.
    """

    def __init__(self, networks: SpaceNetworks | None) -> None:
        super().__init__()
        self._space = () if networks is None else (FrozenSpace(*networks()),)  # in a tuple: no part of the module

    @property
    def frozen(self) -> FrozenSpace | None:
        """The space; None on pixels."""
        return self._space[0] if self._space else None

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Move the space along with the head."""
        if self.frozen is not None:
            self.frozen._apply(fn, recurse)
        return super()._apply(fn, recurse)


@torch.no_grad()
def settle_norms(network: nn.Module, see: Callable[[Tensor], object], batches: Iterator[Tensor], num: int) -> None:
    """Replace the running statistics of every BatchNorm by means over batches seen with the weights as they are.

    Averaged weights have never run in training, so the statistics that training gathered are of other weights.

    Args:
        network: left in evaluation.
        see: runs the network on a batch.
        batches: to take from.
        num: how many.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
    network.train()
    for _ in range(num if norms else 0):
        see(next(batches))
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
