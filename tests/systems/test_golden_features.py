"""Old sets of features are read for ever: every golden file, its symbols and its values.

``tests.systems.golden_features`` says what each file is and how it was made.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from smalto.bits.array_set_reader import ArraySetReader
from smalto.errors import MissingSpace
from smalto.systems.feature_codec import FeatureCodec, decode_features
from smalto.systems.feature_profile import SUFFIX
from tests.systems.golden_features import (
    BOUND,
    FOLDER,
    LEARNED,
    MAKERS,
    SYMBOLS,
    bounded_arrays,
    decoded,
    expected,
    network_of,
    profile_of,
)

SUMS = ("rotated-float16", "bfloat16", *LEARNED)
"""Sets whose values are sums of floats, which may differ in their last bits between machines; symbols never do."""


@pytest.fixture(autouse=True)
def _no_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMALTO_PROFILES", str(tmp_path))


@pytest.mark.parametrize("name", MAKERS)
def test_a_golden_set_gives_what_it_always_did(name: str) -> None:
    arrays, symbols = decoded(name)
    assert symbols == json.loads(SYMBOLS.read_text())[name]
    held = expected(name)
    assert [(array.dtype, array.shape) for _, array in arrays] == [(array.dtype, array.shape) for array in held]
    for (_, array), before in zip(arrays, held, strict=True):
        if name in SUMS:
            _assert_near(array, before)
        else:
            assert array.tobytes() == before.tobytes()


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in LEARNED])
def test_a_golden_set_opens_by_itself(name: str, tmp_path: Path) -> None:
    """With the profile inside or beside it, in the form in which it was given; alone, it says what it lacks."""
    path = FOLDER / f"{name}.smalto"
    found = decode_features(path)
    arrays = list(found.values()) if isinstance(found, dict) else found if isinstance(found, list) else [found]
    bits = [array.view(torch.int16).numpy() if isinstance(array, torch.Tensor) else array for array in arrays]
    assert [one.tobytes() for one in bits] == [one.tobytes() for _, one in decoded(name)[0]]
    (tmp_path / "alone.smalto").write_bytes(path.read_bytes())
    if (FOLDER / f"{name}{SUFFIX}").exists():
        with pytest.raises(MissingSpace, match=profile_of(name).digest.hex()):
            decode_features(tmp_path / "alone.smalto")
    else:
        decode_features(tmp_path / "alone.smalto")


@pytest.mark.parametrize("name", LEARNED)
def test_a_golden_network_is_the_one_that_the_profile_names(name: str) -> None:
    assert network_of(name).digest.hex() == profile_of(name).facts["network"]


def test_the_bound_still_holds() -> None:
    for (name, array), original in zip(decoded("bounded-float32")[0], bounded_arrays().values(), strict=True):
        finite = np.isfinite(original)
        assert np.abs(array[finite].astype(np.float64) - original[finite]).max() <= BOUND, name
        assert array[~finite].tobytes() == original[~finite].tobytes()


def test_the_appended_set_has_its_batches() -> None:
    with ArraySetReader.open(FOLDER / "appended.smalto") as reader:
        assert [(entry.name, entry.shape) for entry in reader.entries] == [
            ("first", (3, 12, 9, 9)),
            ("second", (12, 9, 9)),
            ("third", (2, 12, 9, 9)),
        ]
        assert [reader.num_parts(group) for group in range(3)] == [3, 1, 2]
        assert reader.verify().healthy
        third = FeatureCodec.of_set(reader).coder(reader).feature(reader, reader.entries[2])
        assert third.rows(1, 2).tobytes() == expected("appended")[2][1:].tobytes()


def _assert_near(array: np.ndarray, before: np.ndarray) -> None:
    """Equal up to what the order of a float32 sum can change: 1e-5 of the range, or the neighbour in 16 bits."""
    if array.dtype == np.uint16:  # bfloat16
        assert np.abs(array.astype(np.int64) - before.astype(np.int64)).max() <= 1
        return
    assert np.array_equal(np.isfinite(array), np.isfinite(before))
    finite = np.isfinite(before)
    assert array[~finite].tobytes() == before[~finite].tobytes()
    found, wanted = array[finite].astype(np.float64), before[finite].astype(np.float64)
    spacing = np.spacing(np.abs(before[finite])).astype(np.float64) if array.dtype == np.float16 else 0.0
    assert (np.abs(found - wanted) <= 1e-5 * np.ptp(wanted) + spacing).all() if wanted.size else True
