"""The optional libraries of the tests: imported offline and quietly, or the test is skipped with the reason."""

from __future__ import annotations

import functools
import importlib
import os
import sys
import warnings
from typing import Any

import pytest

TRANSFORMERS_PARTS = (
    "AutoModel",
    "AutoModelForCausalLM",
    "BertModel",
    "Dinov2Model",
    "DINOv3ViTModel",
    "LlamaForCausalLM",
)
DIFFUSERS_PARTS = (
    "AutoencoderKL",
    "FlowMatchEulerDiscreteScheduler",
    "SD3Transformer2DModel",
    "StableDiffusion3Pipeline",
)


def transformers_library() -> Any:
    """The transformers library, or a skipped test."""
    return _found(_library("transformers", TRANSFORMERS_PARTS))


def diffusers_library() -> Any:
    """The diffusers library, or a skipped test."""
    transformers_library()
    return _found(_library("diffusers", DIFFUSERS_PARTS))


def _found(library: Any) -> Any:
    if isinstance(library, str):
        pytest.skip(library)
    return library


@functools.cache
def _library(name: str, parts: tuple[str, ...]) -> Any:
    """The module with its parts imported, or why that fails. A torchvision built for another torch is hidden."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module("torchvision")
        except (ImportError, RuntimeError):
            patch.setitem(sys.modules, "torchvision", None)
        try:
            module = importlib.import_module(name)
            for part in parts:
                getattr(module, part)
        except (ImportError, AttributeError, RuntimeError) as error:
            return f"{name} does not import here ({' '.join(str(error).split())[:100]})"
    return module
