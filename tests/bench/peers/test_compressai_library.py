"""Importing CompressAI: its parts work, and their absence is said in one line."""

from __future__ import annotations

import importlib.util

import pytest

from smalto.bench.peers.compressai_library import import_compressai
from smalto.errors import MissingExtra


@pytest.mark.slow
def test_models_and_coder_are_there() -> None:
    if importlib.util.find_spec("compressai") is None:
        pytest.skip("compressai is not installed")
    assert callable(import_compressai("compressai.ans").RansEncoder)
    assert callable(import_compressai("compressai.zoo").bmshj2018_hyperprior)


def test_absence_is_named() -> None:
    with pytest.raises(MissingExtra, match="pip install --no-deps compressai") as caught:
        import_compressai("no_such_compressai")
    assert "\n" not in str(caught.value)
