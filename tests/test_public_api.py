"""A name that users hold cannot vanish or change its call by accident."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import smalto

SNAPSHOT = Path(__file__).with_name("public_api.txt")


def _describe(name: str) -> list[str]:
    value = getattr(smalto, name)
    if inspect.ismodule(value):
        lines = [f"smalto.{name}"]
        for inner in sorted(vars(value)):
            if inspect.isclass(getattr(value, inner)):
                bases = ", ".join(base.__name__ for base in getattr(value, inner).__bases__)
                lines.append(f"smalto.{name}.{inner}({bases})")
        return lines
    if not callable(value):
        return [f"smalto.{name}: {type(value).__name__}"]
    lines = [f"smalto.{name}{inspect.signature(value)}"]
    if inspect.isclass(value):
        for inner, member in sorted(vars(value).items()):
            if inner.startswith("_"):
                continue
            function = getattr(member, "__func__", member)
            call = inspect.signature(function) if inspect.isfunction(function) else ""
            lines.append(f"smalto.{name}.{inner}{call}")
    return lines


def test_public_names_are_those_of_the_snapshot() -> None:
    found = [line for name in sorted(smalto.__all__) for line in _describe(name)]
    expected = SNAPSHOT.read_text().splitlines()
    assert found == expected, (
        "the public interface changed; if on purpose, update tests/public_api.txt and CHANGELOG.md"
    )


def test_every_public_name_is_reachable_and_listed() -> None:
    assert dir(smalto) == sorted(smalto.__all__)
    for name in smalto.__all__:
        assert getattr(smalto, name) is not None


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'loda'"):
        _ = smalto.loda  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("module", ["numpy", "numba", "torch", "PIL", "typer", "rich"])
def test_import_is_light(module: str) -> None:
    code = f"import sys, smalto; from smalto import errors, Image, LatentSpec; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
