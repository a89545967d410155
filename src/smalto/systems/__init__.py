"""Systems: encoders, codecs and heads wired together. ``SYSTEMS`` maps a name to a builder that imports inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from smalto.data.photographs import MAX_PIXELS

if TYPE_CHECKING:
    import torch

    from smalto.systems.system import System

__all__ = ["SYSTEMS", "System", "load"]


def _lite(device: str, dtype: torch.dtype | None, max_pixels: int) -> System:
    from smalto.systems.multitask_codec import load_lite

    return load_lite(device, dtype, max_pixels)


SYSTEMS: dict[str, Callable[[str, torch.dtype | None, int], System]] = {"lite-0": _lite}


def load(
    name: str = "default", device: str = "cpu", dtype: torch.dtype | None = None, max_pixels: int = MAX_PIXELS
) -> System:
    """Load an installed system.

    Args:
        name: a name of ``smalto systems``, or ``default``.
        device: torch device of the networks; symbols are the same on every device.
        dtype: of the encoder and of the picture heads; None takes bfloat16 where the processor has instructions
            for it and float32 elsewhere.
        max_pixels: largest picture, height x width, that is read from a file.

    Raises:
        UsageError: no system of that name is installed.
        WeightsError: its weights are missing or damaged.

    Example:
        >>> import smalto
        >>> smalto.load("default").name
        'lite-0'
    """
    from smalto.errors import UsageError
    from smalto.weights import system_record

    record = system_record(name)
    if record.name not in SYSTEMS:
        raise UsageError(f"system {record.name!r} has weights but no builder; upgrade smalto")
    return SYSTEMS[record.name](device, dtype, max_pixels)


def __getattr__(name: str) -> object:
    if name == "System":
        from smalto.systems.system import System

        return System
    raise AttributeError(f"module 'smalto.systems' has no attribute {name!r}")
