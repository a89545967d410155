"""Recipes by name. Each is a typed function that returns a frozen description of a run."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from smalto.errors import UsageError

if TYPE_CHECKING:
    from smalto.train.run import Run

RECIPES: dict[str, str] = {
    "image-codec": "smalto.train.recipes.image_codec:image_codec",
    "super-resolution": "smalto.train.recipes.super_resolution:super_resolution",
    "fixed-lambda-mse": "smalto.train.recipes.fixed_lambda:fixed_lambda_mse",
    "fixed-lambda-ms-ssim": "smalto.train.recipes.fixed_lambda:fixed_lambda_ms_ssim",
    "neural-space": "smalto.train.recipes.neural_space:neural_space",
    "neural-space-raw": "smalto.train.recipes.neural_space_raw:neural_space_raw",
    "neural-space-codec": "smalto.train.recipes.neural_space_codec:neural_space_codec",
    "neural-space-denoise": "smalto.train.recipes.neural_space_denoise:neural_space_denoise",
    "neural-space-segment": "smalto.train.recipes.neural_space_segment:neural_space_segment",
    "neural-space-stereo": "smalto.train.recipes.neural_space_stereo:neural_space_stereo",
    "feature-hyperprior": "smalto.train.recipes.feature_codecs:feature_hyperprior",
    "feature-elic": "smalto.train.recipes.feature_codecs:feature_elic",
}


def recipe(name: str) -> Callable[..., Run]:
    """The recipe function called ``name``.

    Raises:
        UsageError: there is none.
    """
    if name not in RECIPES:
        raise UsageError(f"no recipe is called {name!r}; there are {', '.join(RECIPES)}")
    module, function = RECIPES[name].split(":")
    return getattr(importlib.import_module(module), function)


def describe(name: str) -> str:
    """A recipe's docstring: command, expected time, expected score."""
    return inspect.getdoc(recipe(name)) or ""


def build(name: str, settings: Mapping[str, str]) -> Run:
    """A run from a recipe's name and ``--set`` values as text.

    Raises:
        UsageError: no such recipe or argument, or a value that is not of the argument's type.
    """
    function = recipe(name)
    hints = typing.get_type_hints(function)
    known = inspect.signature(function).parameters
    values = {}
    for key, text in settings.items():
        if key not in known:
            raise UsageError(f"recipe {name} has no setting {key!r}; it has {', '.join(known)}")
        values[key] = _parse(key, text, hints[key])
    return function(**values)


def _parse(key: str, text: str, wanted: object) -> object:
    if typing.get_origin(wanted) is typing.Literal:
        if text not in typing.get_args(wanted):
            raise UsageError(f"{key}={text}: expected {' or '.join(map(str, typing.get_args(wanted)))}")
        return text
    kinds = [kind for kind in typing.get_args(wanted) if kind is not type(None)] or [wanted]
    if text.lower() == "none" and type(None) in typing.get_args(wanted):
        return None
    try:
        if kinds[0] is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
        return kinds[0](text)  # type: ignore[operator]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{key}={text}: expected {getattr(kinds[0], '__name__', kinds[0])}") from error
