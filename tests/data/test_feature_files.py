"""Feature files come back bit for bit, in slices, and damaged ones give one clear line."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto.data.feature_files import (
    EXTENSIONS,
    FeatureArray,
    FeatureFileError,
    open_features,
    storage_dtype,
    write_features,
)
from smalto.errors import SmaltoError, UsageError

DTYPES = ("float16", "bfloat16", "float32", "float64")
shapes = st.lists(st.integers(0, 5), min_size=0, max_size=4).map(tuple)


def patterns(dtype_name: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Any bit patterns of a dtype: NaN with payloads, infinities, denormals too."""
    held = storage_dtype(dtype_name)
    data = np.random.default_rng(seed).bytes(int(np.prod(shape)) * held.itemsize)
    return np.frombuffer(data, held).reshape(shape)


def same_bits(first: np.ndarray, second: np.ndarray) -> bool:
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


@settings(max_examples=60)
@given(
    extension=st.sampled_from(EXTENSIONS), dtypes=st.lists(st.sampled_from(DTYPES), min_size=1, max_size=3), s=shapes
)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, extension: str, dtypes: list[str], s: Any) -> None:
    path = tmp_path_factory.mktemp("set") / f"a{extension}"
    dtypes = dtypes[:1] if extension == ".npy" else dtypes
    values = [patterns(dtype, s, k) for k, dtype in enumerate(dtypes)]
    write_features(
        path, [FeatureArray.of(f"x/{k}.y", v, d) for k, (v, d) in enumerate(zip(values, dtypes, strict=True))]
    )
    found = open_features(path)
    assert [array.dtype_name for array in found] == dtypes
    for array, expected in zip(found, values, strict=True):
        assert array.shape == s
        assert same_bits(array.whole(), expected)
        pieces = list(array.groups(max_bytes=7))
        joined = np.concatenate(pieces) if pieces else expected
        assert joined.tobytes() == expected.tobytes()
        for row in reversed(range(array.num_rows)):  # against the order that a stream likes
            assert same_bits(array.rows(row, row + 1).reshape(s[1:]), expected[row] if s else expected)
    if extension != ".npy":
        assert [array.name for array in found] == [f"x/{k}.y" for k in range(len(dtypes))]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_what_the_libraries_read_is_what_was_written(extension: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    ml_dtypes = pytest.importorskip("ml_dtypes")
    path = tmp_path / f"a{extension}"
    values = torch.randn(5, 3).to(torch.bfloat16)
    write_features(path, [FeatureArray.of("x", values)])
    if extension == ".npy":
        back = torch.from_numpy(np.load(path).view(ml_dtypes.bfloat16).astype(np.float32))
    elif extension == ".npz":
        with np.load(path) as archive:
            back = torch.from_numpy(archive["x"].view(ml_dtypes.bfloat16).astype(np.float32))
    else:
        back = (load_file(path) if extension == ".safetensors" else torch.load(path, weights_only=True))["x"]
        assert back.dtype == torch.bfloat16
    assert torch.equal(back.float(), values.float())


def test_files_of_the_libraries_are_read(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    np.save(tmp_path / "a.npy", values.astype(">f4"))
    assert same_bits(open_features(tmp_path / "a.npy")[0].whole(), values)
    np.save(tmp_path / "f.npy", np.asfortranarray(values))
    assert same_bits(open_features(tmp_path / "f.npy")[0].rows(1, 3), values[1:3])
    np.save(tmp_path / "b.npy", values.astype(ml_dtypes.bfloat16))
    (array,) = open_features(tmp_path / "b.npy")
    assert array.dtype_name == "bfloat16"
    assert same_bits(array.whole(), values.astype(ml_dtypes.bfloat16).view(np.uint16))
    np.savez_compressed(tmp_path / "a.npz", first=values, second=np.asfortranarray(values))
    first, second = open_features(tmp_path / "a.npz")
    assert (first.name, second.name) == ("first", "second")
    assert same_bits(first.rows(2, 4), values[2:4])
    assert same_bits(first.rows(0, 1), values[:1])
    assert same_bits(second.rows(1, 3), values[1:3])
    save_file({"b": values, "a": values[:0]}, tmp_path / "a.safetensors", {"made": "here"})
    assert {array.name: array.shape for array in open_features(tmp_path / "a.safetensors")} == {
        "b": (4, 3, 2),
        "a": (0, 3, 2),
    }
    tensor = torch.from_numpy(values)
    torch.save({"layers": [tensor, tensor.transpose(0, 1)], "y": torch.nn.Parameter(tensor.half())}, tmp_path / "a.pt")
    found = open_features(tmp_path / "a.pt")
    assert [array.name for array in found] == ["layers.0", "layers.1", "y"]
    assert same_bits(found[1].rows(1, 3), np.ascontiguousarray(values.transpose(1, 0, 2)[1:3]))
    torch.save(tensor, tmp_path / "b.pt")
    assert open_features(tmp_path / "b.pt")[0].name == "features"


@pytest.mark.parametrize("extension", [".npy", ".npz", ".safetensors", ".pt"])
def test_memory_is_bounded_by_a_group(extension: str, tmp_path: Path) -> None:
    path, out = tmp_path / f"a{extension}", tmp_path / "b.safetensors"
    rows, width = 4096, 2048  # 32 MiB
    row = np.arange(width, dtype=np.float32)
    array = FeatureArray("x", "float32", (rows, width), lambda a, b: np.tile(row, (b - a, 1)) + a)
    write_features(path, [array])
    tracemalloc.start()
    try:
        (found,) = open_features(path)
        group_bytes = 1 << 20
        total = sum(float(group[:, 1].sum()) for group in found.groups(group_bytes))
        assert total > 0
        peak = tracemalloc.get_traced_memory()[1]
        assert peak < 6 * group_bytes
        tracemalloc.reset_peak()
        write_features(out, [found])
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()
    assert same_bits(open_features(out)[0].rows(17, 18), found.rows(17, 18))


@pytest.mark.parametrize("dtype", ["int64", "uint8", "uint16", "bool", "complex64", "U3", "object"])
def test_what_is_no_feature_is_refused_by_name(dtype: str, tmp_path: Path) -> None:
    values = np.zeros((2, 2), dtype)
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    np.savez(tmp_path / "a.npz", ids=values, x=np.zeros(3, np.float16), allow_pickle=True)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(FeatureFileError, match=r"is refused: features are float16") as caught:
            open_features(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)
    (array,) = open_features(tmp_path / "a.npz", ["x"])
    assert array.shape == (3,)


def test_tensors_that_are_no_features_are_refused_by_name(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    save_file({"ids": torch.zeros(2, dtype=torch.int64), "x": torch.zeros(2)}, path)
    with pytest.raises(FeatureFileError, match="ids: dtype I64 is refused"):
        open_features(path)
    assert open_features(path, ["x"])[0].dtype_name == "float32"
    with pytest.raises(UsageError, match="no array called y"):
        open_features(path, ["y"])
    bad: dict[str, object] = {
        "integers": {"ids": torch.zeros(2, dtype=torch.int64)},
        "sparse": {"x": torch.eye(3).to_sparse()},
        "text": {"x": torch.zeros(2), "note": "text"},
        "number": 3,
        "class": Path("x"),
        "repeated": torch.zeros(1).expand(1 << 20),
        "key": {(1, 2): torch.zeros(2)},
        "twice": {"a.b": torch.zeros(1), "a": {"b": torch.zeros(1)}},
    }
    for name, content in bad.items():
        torch.save(content, tmp_path / f"{name}.pt")
        with pytest.raises(FeatureFileError, match=rf"{name}\.pt") as caught:
            open_features(tmp_path / f"{name}.pt")
        assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"features are read and written as \.npy"):
        open_features(tmp_path / "a.csv")
    for extension in EXTENSIONS:
        with pytest.raises(FeatureFileError, match="cannot be read"):
            open_features(tmp_path / f"a{extension}")
        (tmp_path / f"folder{extension}").mkdir()
        with pytest.raises(FeatureFileError, match="cannot be read"):
            open_features(tmp_path / f"folder{extension}")
    torch.save(torch.zeros(3), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(FeatureFileError, match=r"torch 1\.6 or later"):
        open_features(tmp_path / "old.pt")
    x = FeatureArray.of("x", np.zeros(2, np.float32))
    with pytest.raises(UsageError, match="one array, these are 2"):
        write_features(tmp_path / "a.npy", [x, x])
    with pytest.raises(UsageError, match="two arrays have one name"):
        write_features(tmp_path / "a.npz", [x, x])
    with pytest.raises(UsageError, match="no name"):
        write_features(tmp_path / "a.npz", [FeatureArray.of("", np.zeros(2, np.float32))])
    with pytest.raises(UsageError, match="__metadata__"):
        write_features(tmp_path / "a.safetensors", [FeatureArray.of("__metadata__", np.zeros(2, np.float32))])
    assert not list(tmp_path.glob("a.*"))
    for wrong in (np.zeros(2, np.int32), [1.0], torch.zeros(2, dtype=torch.int8), torch.eye(2).to_sparse()):
        with pytest.raises(UsageError):
            FeatureArray.of("x", wrong)
    with pytest.raises(UsageError, match="has 2 rows"):
        x.rows(1, 3)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_features(path, [FeatureArray.of("x", np.ones(3, np.float32))])

    def broken(start: int, stop: int) -> np.ndarray:
        raise FeatureFileError("source: ends too early")

    with pytest.raises(FeatureFileError, match="source"):
        write_features(path, [FeatureArray("x", "float32", (4,), broken)])
    assert np.array_equal(open_features(path)[0].whole(), np.ones(3))
    assert list(tmp_path.iterdir()) == [path]


def _example(extension: str) -> bytes:
    buffer = io.BytesIO()
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    if extension == ".npy":
        np.save(buffer, x)
    elif extension == ".npz":
        np.savez_compressed(buffer, x=x, y=x.astype(np.float16))
    elif extension == ".pt":
        torch.save({"x": torch.from_numpy(x)}, buffer)
    else:
        from safetensors.numpy import save

        return save({"x": x, "y": x.astype(np.float16)})
    return buffer.getvalue()


EXAMPLES = {extension: _example(extension) for extension in EXTENSIONS}


@settings(max_examples=300)
@given(
    extension=st.sampled_from(EXTENSIONS),
    cut=st.integers(0, 1200),
    edits=st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 255)), max_size=4),
    tail=st.binary(max_size=3),
)
def test_damaged_files_never_crash(
    tmp_path_factory: pytest.TempPathFactory, extension: str, cut: int, edits: list[tuple[int, int]], tail: bytes
) -> None:
    data = bytearray(EXAMPLES[extension])
    for place, value in edits:
        data[place % len(data)] = value
    path = tmp_path_factory.mktemp("bad") / f"a{extension}"
    path.write_bytes((data[:cut] if cut < len(data) and cut % 2 else data) + tail)
    message = f"{path}: "
    try:
        for array in open_features(path):
            for group in array.groups(64):
                assert group.size * group.itemsize <= 1 << 20
    except SmaltoError as error:
        message = str(error)
    assert "\n" not in message
    assert path.name in message


def test_headers_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for text in (
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387903, 9)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (3,)}",
        "{'descr': '<f4', 'shape': (3,)}",
        "[" * 5000,
    ):
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(12))
        with pytest.raises(FeatureFileError, match=r"a\.npy"):
            open_features(path)
    path.write_bytes(EXAMPLES[".npy"] + b"\0")
    with pytest.raises(FeatureFileError, match="49 bytes of values, its header says 48"):
        open_features(path)
    path = tmp_path / "a.safetensors"
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for table, size in (
        ({"x": entry, "y": entry}, 8),  # overlap
        ({"x": entry | {"data_offsets": [4, 12]}}, 12),  # gap
        ({"x": entry}, 16),  # trailing bytes
        ({"x": entry | {"shape": [3]}}, 8),
        ({"x": entry | {"shape": [-2]}}, 8),
        ({"x": entry | {"shape": 2}}, 8),
        ({"x": 3}, 8),
        ([], 0),
    ):
        text = json.dumps(table).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))
        with pytest.raises(FeatureFileError, match=r"a\.safetensors"):
            open_features(path)


def test_a_flipped_value_in_npz_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_features(path, [FeatureArray.of("x", np.linspace(0, 1, 1000, dtype=np.float32))])
    data = bytearray(path.read_bytes())
    data[1500] ^= 16
    path.write_bytes(data)
    (array,) = open_features(path)
    with pytest.raises(FeatureFileError, match="CRC"):
        list(array.groups(256))


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    for extension in (".npy", ".safetensors"):
        path = tmp_path / f"a{extension}"
        write_features(path, [FeatureArray.of("x", np.zeros(100, np.float32))])
        (array,) = open_features(path)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(FeatureFileError, match="ends too early"):
            array.rows(0, 100)


def test_npz_with_another_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("note.txt", "hello")
    with pytest.raises(FeatureFileError, match=r"note\.txt: not a \.npy file"):
        open_features(path)
