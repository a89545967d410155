"""A weights folder of a test's own in place of the package's."""

from __future__ import annotations

from pathlib import Path

import pytest

from smalto.weights import index, store


def use_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let installed weights be looked up in ``folder``; call again after its index changed."""
    for module in (index, store):
        monkeypatch.setattr(module, "weights_folder", lambda: folder)
    monkeypatch.setattr(index, "_index", index._index.__wrapped__)
