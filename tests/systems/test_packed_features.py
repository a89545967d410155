"""Packed features: every sample is the one that decoding the whole set gives, whatever the order they are asked in."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto.errors import PacketError, SmaltoError, UsageError
from smalto.systems.feature_codec import decode_features
from smalto.systems.feature_sets import SetCoder
from smalto.systems.packed_features import PackedFeatures
from tests.systems.packed_examples import BOUND, SAMPLE, decoded, fitted, maps, packed


@pytest.fixture(scope="module")
def rows() -> bytes:
    """One array of 40 maps in slices of 7."""
    return packed({"": maps(40, 1)})


@pytest.fixture(scope="module")
def named() -> bytes:
    """A large array, a small one, and one of another dtype."""
    return packed(
        {
            "layer.3": maps(20, 2),
            "layer.9": maps(3, 3, "float32"),
            "deep": maps(12, 4, "float64").reshape(4, 3, *SAMPLE),
        }
    )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is decoded, a line for each block."""
    made: list[object] = []

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: SetCoder, reader: Any, entry: Any, *more: Any) -> Any:
            made.append((entry.number, *more))
            return method(self, reader, entry, *more)

        return call

    monkeypatch.setattr(SetCoder, "positions", counted(SetCoder.positions))
    return made


def test_rows_of_one_array(rows: bytes) -> None:
    whole = decoded(rows)["0"]
    features = PackedFeatures(rows)
    assert len(features) == 40
    assert features.names == ("0",)
    assert np.array_equal(np.stack(list(features)), whole)
    assert np.array_equal(features[-1], whole[-1])
    assert np.array_equal(features.rows(5, 23), whole[5:23])
    assert features.rows(4, 4).shape == (0, *SAMPLE)
    assert np.array_equal(np.stack(features[30:3:-4]), whole[30:3:-4])
    assert np.array_equal(features["0"], whole)
    assert np.abs(features[np.int64(17)].astype(float) - maps(40, 1)[17]).max() <= BOUND
    assert features.blocks == (*(range(k, k + 7) for k in range(0, 35, 7)), range(35, 40))


@settings(max_examples=30)
@given(st.lists(st.integers(-40, 39), min_size=1, max_size=20), st.integers(1, 4))
def test_any_order_gives_the_same_samples(wanted: list[int], num_cached: int) -> None:
    blob = packed({"": maps(40, 1)})
    whole = decoded(blob)["0"]
    features = PackedFeatures(blob, num_cached=num_cached)
    found = features.samples(wanted)
    assert np.array_equal(np.stack(found), whole[wanted])
    for array in found:
        array.fill(99)  # what is given out belongs to the caller
    assert np.array_equal(np.stack(features.samples(wanted)), whole[wanted])


def test_named_arrays(named: bytes) -> None:
    whole = decoded(named)
    features = PackedFeatures(named)
    assert len(features) == 3
    assert features.names == ("layer.3", "layer.9", "deep")
    for number, name in enumerate(features.names):
        assert np.array_equal(features[number], whole[name])
        assert np.array_equal(features[name], whole[name])
        assert features[name].dtype == whole[name].dtype
        chosen = PackedFeatures(named, array=name)
        assert np.array_equal(np.stack(list(chosen)), whole[name])
        assert np.array_equal(chosen.rows(1, 3), whole[name][1:3])
        assert [number for block in chosen.blocks for number in block] == list(range(len(chosen)))
    assert np.array_equal(PackedFeatures(named, array=2)[3], whole["deep"][3])
    assert PackedFeatures(named, array="deep").blocks == (range(3), range(3, 4))  # rows of 3 maps in slices of 7 maps
    with pytest.raises(UsageError, match="of no one shape"):
        features.rows(0, 2)


def test_blocks_are_kept(rows: bytes, calls: list[object]) -> None:
    features = PackedFeatures(rows, num_cached=2)
    for number in (0, 6, 3, 8, 2, 13):
        features[number]
    assert calls == [(0, 0, 7), (0, 7, 14)]
    features[20]  # a third block takes the place of the one that was used longest ago
    features[7]
    assert len(calls) == 3
    features[0]
    assert len(calls) == 4
    features.samples([39, 0, 38, 1])
    assert len(calls) == 5


def test_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    blob = fitted().encode(torch.from_numpy(maps(3, 7)).to(torch.bfloat16), embed=True)
    whole = decode_features(blob)
    for kind in ("bfloat16", "uint16"):
        if kind == "bfloat16":
            pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
        else:
            monkeypatch.setitem(sys.modules, "ml_dtypes", None)
        found = PackedFeatures(blob)[1]
        assert found.dtype.name == kind
        assert np.array_equal(found.view(np.int16), whole[1].view(torch.int16).numpy())  # pyright: ignore


def test_wrong_calls_are_named(rows: bytes, named: bytes) -> None:
    features = PackedFeatures(rows)
    for number in (40, -41):
        with pytest.raises(IndexError, match="there are 40"):
            features[number]
    for call in (
        lambda: features["missing"],
        lambda: PackedFeatures(named, array="missing"),
        lambda: PackedFeatures(named, array=3),
        lambda: features.rows(3, 41),
        lambda: PackedFeatures(rows, num_cached=0),
        lambda: PackedFeatures(packed({"": maps(2)[0]}), array="x"),
    ):
        with pytest.raises(UsageError):
            call()
    with pytest.raises(SmaltoError, match="check the path"):
        PackedFeatures("no-such-file.smalto")


def test_only_a_damaged_block_is_lost(rows: bytes) -> None:
    broken = bytearray(rows)
    broken[-len(rows) // 3] ^= 16
    features, healthy = PackedFeatures(bytes(broken)), PackedFeatures(rows)
    lost = 0
    for block in features.blocks:
        try:
            assert np.array_equal(features[block[0]], healthy[block[0]])
        except PacketError:
            lost += 1
    assert lost == 1


def test_paths_are_opened_anew_in_every_process(rows: bytes, tmp_path: Path) -> None:
    path = tmp_path / "set.smalto"
    path.write_bytes(rows)
    whole = decoded(rows)["0"]
    with PackedFeatures(path) as features:
        assert np.array_equal(features[3], whole[3])
        again = pickle.loads(pickle.dumps(features))
        assert np.array_equal(again[20], whole[20])
        again.close()
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        workers = [context.Process(target=_send, args=(features, part, queue)) for part in (range(20), range(20, 40))]
        for worker in workers:
            worker.start()
        found = dict(queue.get() for _ in range(40))
        for worker in workers:
            worker.join()
        assert all(np.array_equal(found[number], whole[number]) for number in range(40))
        assert np.array_equal(features[30], whole[30])
    assert np.array_equal(features[31], whole[31])  # and after it was closed
    features.close()
    with path.open("rb") as stream, PackedFeatures(stream) as held:
        assert np.array_equal(held[5], whole[5])
        with pytest.raises(UsageError, match="open the set by its path"):
            pickle.dumps(held)


def _send(features: PackedFeatures, numbers: range, queue: Any) -> None:
    for number in numbers:
        queue.put((number, features[number]))


def test_torch_is_not_needed(rows: bytes, tmp_path: Path) -> None:
    (tmp_path / "set.smalto").write_bytes(rows)
    program = (
        "import sys\n"
        "from smalto.systems.packed_features import PackedFeatures\n"
        "with PackedFeatures('set.smalto') as features:\n"
        "    features[3]\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    source = str(Path(__file__).resolve().parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r})\n{program}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
