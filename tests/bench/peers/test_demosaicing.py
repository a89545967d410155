"""Classical demosaicing from the library: right on what it must be right on, named when it is missing."""

from __future__ import annotations

import importlib
import importlib.util

import numpy as np
import pytest
import torch

from smalto.bench.peers.demosaicing import METHODS, peer_demosaicer
from smalto.errors import MissingExtra
from smalto.layers.bayer import PATTERNS, mosaic_of

needs_library = pytest.mark.skipif(
    importlib.util.find_spec("colour_demosaicing") is None, reason="colour-demosaicing is not installed"
)


@needs_library
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", METHODS)
def test_ramps_come_back(name: str, pattern: str) -> None:
    y, x = torch.meshgrid(torch.linspace(0, 0.4, 24), torch.linspace(0, 0.4, 32), indexing="ij")
    picture = torch.stack([0.1 + x, 0.3 + y, 0.5 + 0.5 * x])[None].double()
    answer = peer_demosaicer(name)(mosaic_of(picture, pattern)[0, 0].numpy(), pattern)
    assert answer.shape == (24, 32, 3)
    inner = (slice(6, -6), slice(6, -6))
    np.testing.assert_allclose(answer[inner], picture[0].permute(1, 2, 0).numpy()[inner], atol=0.01)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, package: str | None = None) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtra, match=r"pip install 'smalto\[bench\]'"):
        peer_demosaicer("bilinear")
