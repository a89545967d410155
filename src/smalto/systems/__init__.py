"""Systems: encoders, codecs and heads wired together. ``SYSTEMS`` maps a name to a builder that imports inside.

``OPEN_SYSTEMS`` does the same for systems whose weights do not ship: their builders take the path of a weights file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from smalto.data.photographs import MAX_PIXELS

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from smalto.systems.system import System

__all__ = ["OPEN_SYSTEMS", "SYSTEMS", "System", "load", "load_from"]


def _lite(device: str, dtype: torch.dtype | None, max_pixels: int) -> System:
    from smalto.systems.multitask_codec import load_lite

    return load_lite(device, dtype, max_pixels)


def _neural_space(device: str, dtype: torch.dtype | None, max_pixels: int) -> System:
    from smalto.systems.installed_space import load_neural_space

    return load_neural_space(device, dtype, max_pixels)


def _hific(path: str | Path, device: str, dtype: torch.dtype | None, max_pixels: int) -> System:
    from smalto.systems.hific import load_hific

    return load_hific(path, device, dtype, max_pixels)


SYSTEMS: dict[str, Callable[[str, torch.dtype | None, int], System]] = {"lite-0": _lite, "neural-space": _neural_space}
OPEN_SYSTEMS: dict[str, Callable[[str | Path, str, torch.dtype | None, int], System]] = {"hific": _hific}


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


def load_from(
    path: str | Path,
    name: str,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    max_pixels: int = MAX_PIXELS,
) -> System:
    """Load a system whose weights the user brings.

    Args:
        path: its weights file.
        name: a name of ``OPEN_SYSTEMS``.
        device: torch device of the networks; symbols are the same on every device.
        dtype: as for ``load``.
        max_pixels: as for ``load``.

    Raises:
        UsageError: no system of that name takes a weights file.
        WeightsError: the file is missing, damaged, or another system's.
    """
    from smalto.errors import UsageError

    if name not in OPEN_SYSTEMS:
        raise UsageError(f"no system called {name!r} takes a weights file; {', '.join(OPEN_SYSTEMS)} does")
    return OPEN_SYSTEMS[name](path, device, dtype, max_pixels)


def __getattr__(name: str) -> object:
    if name == "System":
        from smalto.systems.system import System

        return System
    raise AttributeError(f"module 'smalto.systems' has no attribute {name!r}")
