"""What every check of the conformance suite is made of: the error, fixed inputs, and the measure of reach."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from smalto.errors import SmaltoError

SEED = 20
TOLERANCE = 1e-4
Network = Callable[[Tensor], Tensor]


class ConformanceError(SmaltoError, AssertionError):
    """A part breaks a rule that a System relies on. The message is one line: which rule, and what was seen."""


def require(holds: bool, rule: str) -> None:
    """Raise ConformanceError with the rule unless it holds."""
    if not holds:
        raise ConformanceError(rule)


def number(part: nn.Module, name: str, least: int, kind: str) -> int:
    """A part's attribute, which must be a whole number."""
    value = getattr(part, name, None)
    if not isinstance(value, int) or value < least:
        raise ConformanceError(f"{kind}: {name} must be a whole number from {least} on, found {value!r}")
    return value


def uniform(*shape: int) -> Tensor:
    """Values in [0, 1), the same every time."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(SEED))


def normal(*shape: int) -> Tensor:
    """Values of deviation 2, the same every time."""
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(SEED))


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors differ by no more than the order of sums can explain."""
    span = max(float(b.abs().max()), 1e-6)
    return a.shape == b.shape and float((a - b).abs().max()) <= TOLERANCE * span


def refuses(call: Callable[[], object], error: type[Exception], rule: str) -> None:
    """Raise ConformanceError unless the call raises the error."""
    try:
        call()
    except error:
        return
    except Exception as other:
        raise ConformanceError(f"{rule}; raised {type(other).__name__} instead: {other}") from other
    raise ConformanceError(f"{rule}; raised nothing")


def check_repeats(part: Network, x: Tensor, name: str) -> Tensor:
    """Raise ConformanceError unless a network keeps its input, repeats itself and treats its batch one by one.

    Args:
        part: the network.
        x: two inputs.
        name: kind of part, for messages.

    Returns:
        Its answer to both.
    """
    kept = x.clone()
    y = part(x)
    require(torch.equal(x, kept), f"{name}: it writes into its input")
    require(bool(torch.isfinite(y).all()), f"{name}: its answer to random numbers is not finite")
    require(torch.equal(part(x), y), f"{name}: the same input gives another answer the second time")
    require(close(part(x[1:]), y[1:]), f"{name}: an answer depends on the others in its batch")
    return y


def check_reach(network: Network, x: Tensor, halo: int, ratio: tuple[int, int], name: str) -> None:
    """Change one end of a long strip: outputs further than ``halo`` input cells away must not change.

    Args:
        network: (B, C, h, w) -> (B, C', h up / down, w up / down).
        x: the strip, its sides multiples of ``down``; long enough when wider than ``halo + down`` cells.
        halo: input cells.
        ratio: (up, down): output cells per input cell.
        name: of what states the halo, for the message.

    Raises:
        ConformanceError: the network sees further, or nothing at all.
    """
    up, down = ratio
    changed = x.clone()
    changed[..., :down] = 1 - changed[..., :down]
    difference = (network(changed) - network(x)).abs().amax(dim=(0, 1, 2))
    beyond = difference[(down + halo) * up // down :]
    require(
        beyond.numel() == 0 or float(beyond.max()) <= 1e-5 * max(float(difference.max()), 1e-6),
        f"{name} is {halo}, yet a change further away than that moves the output by {float(beyond.max()):.2g}",
    )
    require(float(difference.max()) > 0, f"{name}: changing the input changes nothing")
