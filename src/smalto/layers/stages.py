"""A frozen network as a row of named stages: read it after any of them, or go on from there.

::

    input ──► stage 1 ──► ... ──► stage k ──► ... ──► answer
                                     │    ┌─────────────┘
                     features(x, [k])◄┘   └── head_from(k)(features)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from smalto.errors import UsageError, WeightsError


class StagedNetwork(nn.Module):
    """Base of networks that can be split between any two stages; subclasses give ``stages``."""

    def stages(self) -> tuple[tuple[str, Callable[[Tensor], Tensor]], ...]:
        """(name, function) in the order in which they run."""
        raise NotImplementedError

    def stage_names(self) -> tuple[str, ...]:
        """Names that ``features`` and ``head_from`` take, in order."""
        return tuple(name for name, _ in self.stages())

    def forward(self, x: Tensor) -> Tensor:
        """Through all stages."""
        for _, stage in self.stages():
            x = stage(x)
        return x

    @torch.inference_mode()
    def features(self, x: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Outputs of stages, by name; nothing behind the last one asked for is computed.

        Args:
            x: the network's input, batch first.
            names: some of ``stage_names()``.

        Raises:
            UsageError: an unknown stage.
        """
        wanted = set(names)
        for name in wanted:
            self._place(name)
        found: dict[str, Tensor] = {}
        for name, stage in self.stages():
            if len(found) == len(wanted):
                break
            x = stage(x)
            if name in wanted:
                found[name] = x
        return found

    def head_from(self, name: str) -> StageHead:
        """What follows stage ``name``: a module from its (decoded) output to the network's answer.

        Raises:
            UsageError: an unknown stage.
        """
        return StageHead(self, self._place(name) + 1)

    def _place(self, name: str) -> int:
        names = self.stage_names()
        if name not in names:
            raise UsageError(f"{type(self).__name__}: no stage {name!r}; it has {', '.join(names)}")
        return names.index(name)


class StageHead(nn.Module):
    """The stages of a network from one on, sharing its weights."""

    def __init__(self, network: StagedNetwork, first: int) -> None:
        super().__init__()
        self.network = network
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        """A stage's output, batch first -> the network's answer."""
        for _, stage in self.network.stages()[self.first :]:
            x = stage(x)
        return x


def load_exactly(network: nn.Module, arrays: dict[str, Tensor], source: str) -> None:
    """Load weights by name, set to evaluation, switch gradients off.

    Args:
        network: whose state is replaced.
        arrays: every parameter and buffer, by the network's own names; counters of batches may be absent.
        source: name of the file, for messages.

    Raises:
        WeightsError: a name is missing, unknown or of another shape.
    """
    state = network.state_dict()
    counters = {name for name in state if name.endswith("num_batches_tracked")}
    missing = sorted(set(state) - set(arrays) - counters)
    unknown = sorted(set(arrays) - set(state))
    if missing or unknown:
        what = f"{len(missing)} arrays missing, {len(unknown)} unknown (first: {(missing + unknown)[0]})"
        raise WeightsError(f"{source}: not weights of {type(network).__name__}: {what}; name another file")
    for name, array in arrays.items():
        if array.shape != state[name].shape:
            shapes = f"{name} is {tuple(array.shape)}, not {tuple(state[name].shape)}"
            raise WeightsError(f"{source}: not weights of {type(network).__name__}: {shapes}; name another file")
    network.load_state_dict(arrays, strict=False)
    network.eval().requires_grad_(False)
