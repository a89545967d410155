"""Zarr arrays that version 0.1.0 wrote: whoever stores features with a codec can read them for ever.

``tests/golden/features-3.zarr`` (format 3, one shard) and ``features-2.zarr`` (format 2, column order)
hold the values that ``golden_values`` makes, coded with a promise of 0.05. They are read, never written anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

numcodecs: Any = pytest.importorskip("numcodecs.registry", reason="numcodecs is not installed; see smalto[export]")
zarr: Any = pytest.importorskip("zarr", reason="zarr is not installed; it comes with smalto[export]")

from smalto.export import chunk_codec  # noqa: E402
from smalto.export.numcodecs_codec import NumcodecsFeatures  # noqa: E402
from smalto.export.zarr_codec import CODEC_NAME, ZarrFeatures  # noqa: E402

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
BOUND = 0.05
DIGEST = "c4622973c248d52b"


def golden_values() -> np.ndarray:
    """(6, 4, 5, 5) float32 in -2..2, from integers alone."""
    numbers = np.arange(6 * 4 * 5 * 5)
    return (((numbers * 37 + numbers // 7 * 11) % 101 - 50) / 25).astype(np.float32).reshape(6, 4, 5, 5)


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SMALTO_PROFILES", str(tmp_path))
    chunk_codec._coder.cache_clear()
    zarr.registry.register_codec(CODEC_NAME, ZarrFeatures)
    numcodecs.register_codec(NumcodecsFeatures)
    yield
    chunk_codec._coder.cache_clear()


def test_format_3() -> None:
    values = golden_values()
    found = zarr.open_array(GOLDEN / "features-3.zarr", mode="r")
    assert (found.dtype, found.shape, found.shards) == (np.float32, values.shape, values.shape)
    assert np.abs(found[:] - values).max() <= BOUND
    assert np.abs(found[3, 1:3] - values[3, 1:3]).max() <= BOUND


def test_format_2() -> None:
    values = golden_values().astype(np.float16)
    found = zarr.open_array(GOLDEN / "features-2.zarr", mode="r", zarr_format=2)
    assert (found.dtype, found.shape, found.order) == (np.float16, values.shape, "F")
    assert np.abs(found[:].astype(np.float32) - values).max() <= BOUND


def test_both_name_the_profile_they_did() -> None:
    three = json.loads((GOLDEN / "features-3.zarr" / "zarr.json").read_text())["codecs"][0]["configuration"]["codecs"][
        0
    ]
    two = json.loads((GOLDEN / "features-2.zarr" / ".zarray").read_text())["compressor"]
    for held in (three["configuration"], two):
        assert held["digest"] == DIGEST
        assert chunk_codec.profile_of_text(held["profile"]).digest.hex() == DIGEST
