"""What docs/papers and docs/decisions say of code and tests is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "papers").glob("*.md")) + sorted((ROOT / "docs" / "decisions").glob("*.md"))
SYMBOL = re.compile(r"`(src/[\w/]+\.py):([\w.]+)`")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
LINK = re.compile(r"\]\(([\w./-]+\.md)\)")


def _names(path: Path) -> set[str]:
    """Every class, function, method and constant a module defines, methods as ``Class.method``."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_reference_exists(page: Path) -> None:
    text = page.read_text()
    missing = [
        f"{file}:{name}"
        for pattern in (SYMBOL, TEST)
        for file, name in pattern.findall(text)
        if not (ROOT / file).is_file() or name not in _names(ROOT / file)
    ]
    missing += [link for link in LINK.findall(text) if not (page.parent / link).is_file()]
    assert not missing


def test_the_pages_refer_to_something() -> None:
    assert len(SYMBOL.findall((ROOT / "docs" / "papers" / "multitask-codec.md").read_text())) > 20
