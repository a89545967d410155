"""Importing CompressAI where torchvision's compiled operators do not fit the installed torch."""

from __future__ import annotations

import contextlib
import functools
import importlib
import warnings
from types import ModuleType
from typing import Any

from smalto.errors import MissingExtra

INSTALL = (
    "pip install --no-deps compressai==1.2.8 torchvision pytorch-msssim torch-geometric && "
    "pip install einops matplotlib pandas scipy tqdm requests xxhash psutil pyparsing aiohttp tomli"
)
_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[Any] = []  # a torch.library.Library takes its declarations back when it is collected


def import_compressai(module: str = "compressai") -> ModuleType:
    """``compressai`` or one of its modules.

    CompressAI imports torchvision, which registers Python kernels for two operators that its compiled half declares.
    A torchvision built for another torch cannot load that half; the operators are then declared here, never called.

    Args:
        module: dotted name, such as ``compressai.ans``.

    Raises:
        MissingExtra: CompressAI, or something that it needs, is not installed.
    """
    _declare_operators()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingExtra(f"{module} cannot be imported ({error}); {INSTALL}") from error


@functools.cache
def _declare_operators() -> None:
    """Declare the operators that torchvision's compiled half, when it loads, has declared already."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("torchvision")
    except (ImportError, OSError, RuntimeError):
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in _OPERATORS:
            with contextlib.suppress(RuntimeError):  # declared before the import failed
                library.define(schema)
        _kept.append(library)
