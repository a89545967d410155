"""How much of a one-channel codec's latent a feature plane uses, after the transform and after linear scaling.

Source: DT-UFC, Figure 3, which shows latents and gives no number. Here a channel is active when any of its symbols,
round((y - mu) gain), is not zero; the share of symbols that are not zero stands beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from smalto.bench.feature_learned import runs
from smalto.bench.results import Cell, Table
from smalto.codecs.hyper_coder import to_symbols
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.codecs.index_planes import FrozenPlaneCodec
from smalto.codecs.lloyd_max import LloydMax
from smalto.codecs.pack import guess_layout, pack_plane
from smalto.codecs.tiles import Tile
from smalto.codecs.truncation import Truncation
from smalto.errors import UsageError

Levels = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Activity:
    """What is not zero in a latent.

    Args:
        channels: share of channels with a symbol other than zero.
        symbols: share of symbols other than zero.
    """

    channels: float
    symbols: float


@dataclass(frozen=True, eq=False)
class ActivityProbe:
    """Networks to look into.

    Args:
        transformed: codes transformed features.
        linear: codes linearly scaled ones; the same network where no other was trained.
        quality: level 0..255 at which latents are quantised.
    """

    transformed: FrozenPlaneCodec
    linear: FrozenPlaneCodec
    quality: int

    def row(
        self, name: str, features: Sequence[np.ndarray], transform: LloydMax, cut: Truncation
    ) -> tuple[Cell, ...]:  # fmt: skip
        """A row of ``activity_table`` for the features of a layer."""
        num_values = sum(feature.size for feature in features)
        halves = [np.asarray(feature, np.float16) for feature in features]
        after = activity(self.transformed, planes(halves, transform.forward), self.quality)
        before = activity(self.linear, planes(halves, cut.forward), self.quality)
        shares = (before.channels, after.channels, before.symbols, after.symbols)
        return (name, num_values, *(100 * share for share in shares))


def planes(features: Sequence[np.ndarray], levels: Levels) -> Iterator[np.ndarray]:
    """Planes (H, W) float32 of levels 0..255, runs of one shape together."""
    for run in runs(features):
        yield pack_plane(levels(np.stack(run)).astype(np.float32), guess_layout(run[0].shape))


@torch.no_grad()
def activity(network: FrozenPlaneCodec, planes: Iterable[np.ndarray], quality: int) -> Activity:
    """What is not zero in the latents of planes, all of them together.

    Raises:
        UsageError: no planes, or a network whose symbols need their neighbours to be known.
    """
    coder = network.codec
    if not isinstance(coder, FrozenHyperprior):
        raise UsageError("active latents: only a hyperprior's can be counted; name such a network")
    used, nonzero, total = torch.zeros(coder.config.latent_channels, dtype=torch.bool), 0, 0
    for plane in planes:
        y = network.latent(plane)
        _, z_hat = coder.encode_hyper(coder.hyper_latent(y), quality)
        _, mean = coder.parameters_of(z_hat, quality, Tile(0, y.shape[2], 0, y.shape[3]))
        symbols = to_symbols((y - mean) * coder.gain[quality][:, None, None])[0].cpu()
        used |= (symbols != 0).flatten(1).any(1)
        nonzero, total = nonzero + int((symbols != 0).sum()), total + symbols.numel()
    if not total:
        raise UsageError("active latents: no planes; pass features")
    return Activity(float(used.float().mean()), nonzero / total)


def activity_table(rows: Sequence[tuple[Cell, ...]], quality: int) -> Table:
    """Active latents before and after the transform, in percent."""
    columns = (
        "layer", "values", "channels_before_percent", "channels_after_percent", "symbols_before_percent",
        "symbols_after_percent",
    )  # fmt: skip
    note = (
        f"Channels of the one-channel codec's latent with a symbol other than zero, and symbols other than zero, at "
        f"level {quality}; before: features scaled linearly from least..largest of the fitted ones to 0..255."
    )
    return Table("active_latents", columns, tuple(rows), note)
