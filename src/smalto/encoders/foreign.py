"""Features of any torch module, by layer name.

::

    with tapped(module, ["layer3", "head.0"]) as taps:      features_of(module, ["layer3"], inputs)
        module(x)                                             = the same in one call
    taps.features() ─► {"layer3": Tensor, "head.0": Tensor}    on the CPU, detached, copies

A layer's feature is its output; of an output that is not a tensor, the first tensor in it: of a tuple or list in
order, of a mapping in the order of its keys, of a data class in the order of its fields, searched depth first.
A layer that ran more than once gives one feature a run, ``name#1``, ``name#2`` and so on.

Models by name: ``smalto.encoders.foreign_transformers`` and ``foreign_diffusers``; the reference networks:
``smalto.encoders.foreign_networks``.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from smalto.errors import UsageError


class Taps:
    """What tapped layers gave, in the order in which they ran."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._outputs: dict[str, list[Tensor]] = {name: [] for name in self._names}

    def take(self, name: str, output: Any) -> None:
        """Keep a layer's output.

        Raises:
            UsageError: there is no tensor in it.
        """
        tensor = first_tensor(output)
        if tensor is None:
            raise UsageError(f"layer {name}: its output {type(output).__name__} holds no tensor; name another layer")
        self._outputs[name].append(tensor.detach().to("cpu", copy=True))

    def features(self) -> dict[str, Tensor]:
        """Features by name, as the names were given.

        Raises:
            UsageError: a layer did not run.
        """
        found: dict[str, Tensor] = {}
        for name in self._names:
            outputs = self._outputs[name]
            if not outputs:
                raise UsageError(f"layer {name}: it did not run; name a layer that the model's forward calls")
            if len(outputs) == 1:
                found[name] = outputs[0]
            else:
                found |= {f"{name}#{number}": output for number, output in enumerate(outputs, start=1)}
        return found


@contextlib.contextmanager
def tapped(module: nn.Module, layers: Sequence[str]) -> Iterator[Taps]:
    """Keep what layers give while the block runs; the hooks go when it ends, by an error too.

    Args:
        module: any torch module.
        layers: names as ``module.named_modules()`` gives them; "" is the module itself.

    Raises:
        UsageError: an unknown layer, or one named twice.
    """
    known = dict(module.named_modules(remove_duplicate=False))
    if len(set(layers)) != len(layers):
        raise UsageError("layers: one is named twice; name each once")
    for name in layers:
        if name not in known:
            near = [other for other in known if name and other.endswith(name.rpartition(".")[2])]
            hint = ", ".join((near or [other for other in known if other])[:5])
            raise UsageError(f"{type(module).__name__}: no layer {name!r}; it has {hint}, ...")
    taps = Taps(layers)
    with contextlib.ExitStack() as stack:
        for name in layers:
            hook = known[name].register_forward_hook(_taking(taps, name))
            stack.callback(hook.remove)
        yield taps


def features_of(
    module: nn.Module, layers: Sequence[str], inputs: Tensor | Sequence[Any] | Mapping[str, Any]
) -> dict[str, Tensor]:
    """Features of layers for one call of a module.

    The module runs in evaluation mode without gradients; its mode is put back afterwards.

    Args:
        module: any torch module.
        layers: names as ``module.named_modules()`` gives them; "" is the module itself.
        inputs: its argument; a tuple or list of arguments; or a mapping of named arguments.

    Returns:
        name -> feature on the CPU, of the dtype that the layer gave; ``name#1``, ... for a layer that ran often.

    Raises:
        UsageError: an unknown layer, one that did not run, or one whose output holds no tensor.
    """
    modes = {inner: inner.training for inner in module.modules()}
    with tapped(module, layers) as taps, torch.inference_mode():
        try:
            module.eval()
            if isinstance(inputs, Mapping):
                module(**inputs)
            elif isinstance(inputs, Tensor):
                module(inputs)
            else:
                module(*inputs)
        finally:
            for inner, was_training in modes.items():
                inner.training = was_training
    return taps.features()


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor in a value, depth first; None when there is none."""
    if isinstance(value, Tensor):
        return value
    inner: Any = ()
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, (tuple, list)):
        inner = value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = (getattr(value, field.name) for field in dataclasses.fields(value))
    for item in inner:
        found = first_tensor(item)
        if found is not None:
            return found
    return None


def _taking(taps: Taps, name: str) -> Any:
    def hook(module: nn.Module, arguments: Any, output: Any) -> None:
        taps.take(name, output)

    return hook
