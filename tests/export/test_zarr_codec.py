"""Zarr arrays of features on disk: format 3, with and without shards, opened by readers that import nothing of ours."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

zarr: Any = pytest.importorskip("zarr", reason="zarr is not installed; it comes with smalto[export]")

from smalto.errors import MissingSpace, SmaltoError, UnsupportedVersion, UsageError  # noqa: E402
from smalto.export import chunk_codec  # noqa: E402
from smalto.export.zarr_codec import CODEC_NAME, ZarrFeatures  # noqa: E402
from tests.export.feature_examples import BOUND, SAMPLE, bounded, stack, worst  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SMALTO_PROFILES", str(tmp_path / "profiles"))
    chunk_codec._coder.cache_clear()
    zarr.registry.register_codec(CODEC_NAME, ZarrFeatures)  # what the entry point does for an installed package
    yield
    chunk_codec._coder.cache_clear()


def create(path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str = "float16", **options: Any) -> Any:
    """A new array with the codec."""
    serializer = options.pop("serializer", None) or ZarrFeatures.of(bounded())
    options.setdefault("compressors", None)
    return zarr.create_array(
        path, shape=shape, chunks=chunks, dtype=dtype, zarr_format=3, serializer=serializer, **options
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shards", [None, (16, *SAMPLE)])
def test_written_and_read_in_random_slices(tmp_path: Path, dtype: str, shards: tuple[int, ...] | None) -> None:
    features = stack(45, 1, dtype)
    create(tmp_path / "a", features.shape, (4, *SAMPLE), dtype, shards=shards)[:] = features
    array = zarr.open_array(tmp_path / "a", mode="r")
    assert (array.dtype, array.shape) == (features.dtype, features.shape)
    assert worst(array[:], features) <= BOUND
    generator = np.random.default_rng(2)
    for _ in range(12):
        start, stop = sorted(generator.integers(0, 46, 2).tolist())
        step, channel, row = (int(generator.integers(1, 4)) for _ in range(3))
        choice = (slice(start, stop, step), channel, slice(None), slice(row, 9))
        assert array[choice].shape == features[choice].shape
        assert worst(array[choice], features[choice]) <= BOUND
    rows = generator.permutation(45)[:9]
    assert worst(array.oindex[rows], features[rows]) <= BOUND
    size = sum(path.stat().st_size for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert size < 0.6 * features.astype(np.float16).nbytes


def test_chunks_may_cut_samples_but_not_their_channels(tmp_path: Path) -> None:
    features = stack(6, 3)
    create(tmp_path / "a", features.shape, (4, 8, 5, 4))[:] = features
    assert worst(zarr.open_array(tmp_path / "a")[1:5, :, 3:8], features[1:5, :, 3:8]) <= BOUND
    with pytest.raises(UsageError, match="no samples had the channels"):
        create(tmp_path / "b", features.shape, (6, 4, 9, 9))
    sharded = create(tmp_path / "c", features.shape, (1, 4, 9, 9), shards=(6, 8, 9, 9))
    with pytest.raises(UsageError, match="no samples had the channels"):
        sharded[:] = features


def test_one_chunk_of_a_shard_reads_only_its_bytes(tmp_path: Path) -> None:
    features = stack(64, 4)
    create(tmp_path / "a", features.shape, (2, *SAMPLE), shards=(64, *SAMPLE))[:] = features
    (shard,) = (path for path in (tmp_path / "a" / "c").rglob("*") if path.is_file())
    array = zarr.open_array(tmp_path / "a", mode="r")
    whole = array[20:22]
    healthy = bytearray(shard.read_bytes())
    index_bytes = 16 * 32 + 4
    places = np.frombuffer(bytes(healthy[-index_bytes:-4]), "<u8").reshape(32, 2)
    start, length = places[10].tolist()
    blank = bytearray(len(healthy))
    blank[start : start + length] = healthy[start : start + length]
    blank[-index_bytes:] = healthy[-index_bytes:]
    shard.write_bytes(blank)  # every other chunk is gone
    assert np.array_equal(array[20:22], whole)
    with pytest.raises(SmaltoError):
        array[22:24]


@pytest.mark.parametrize("fill", [0.0, -3.25, float("nan")])
def test_chunks_never_written_and_the_fill_value(tmp_path: Path, fill: float) -> None:
    features = stack(5, 5, "float32")
    array = create(tmp_path / "a", (12, *SAMPLE), (4, *SAMPLE), "float32", fill_value=fill)
    array[3:8] = features
    again = zarr.open_array(tmp_path / "a", mode="r")
    assert worst(again[3:8], features) <= BOUND
    assert np.array_equal(again[8:], np.full((4, *SAMPLE), fill, "float32"), equal_nan=True)
    beside = again[:3]
    assert np.isnan(beside).all() if np.isnan(fill) else worst(beside, np.full_like(beside, fill)) <= BOUND
    assert len([path for path in (tmp_path / "a" / "c").rglob("*") if path.is_file()]) == 2
    array[4:8] = np.full((4, *SAMPLE), fill, "float32")  # a chunk of nothing but the fill value is dropped
    assert len([path for path in (tmp_path / "a" / "c").rglob("*") if path.is_file()]) == 1


def test_bfloat16_as_patterns(tmp_path: Path) -> None:
    features = stack(4, 6, "float32")
    patterns = (features.view(np.uint32) >> 16).astype(np.uint16)
    serializer = ZarrFeatures.of(bounded(), bfloat16=True)
    create(tmp_path / "a", features.shape, (2, *SAMPLE), "uint16", serializer=serializer)[:] = patterns
    back = zarr.open_array(tmp_path / "a")[:]
    assert back.dtype == np.uint16
    wide = [(held.astype(np.uint32) << 16).view(np.float32) for held in (back, patterns)]
    assert worst(wide[0], wide[1]) <= BOUND


def test_behind_other_codecs(tmp_path: Path) -> None:
    features = stack(6, 7)
    turned = np.moveaxis(features, 1, -1)  # channels last, turned back by a transpose in front
    create(
        tmp_path / "a",
        turned.shape,
        (3, 9, 9, 8),
        filters=[zarr.codecs.TransposeCodec(order=(0, 3, 1, 2))],
        compressors=[zarr.codecs.Crc32cCodec()],
    )[:] = turned
    assert worst(zarr.open_array(tmp_path / "a")[1:5], turned[1:5]) <= BOUND
    chunk = next(path for path in (tmp_path / "a" / "c").rglob("*") if path.is_file())
    broken = bytearray(chunk.read_bytes())
    broken[len(broken) // 2] ^= 4
    chunk.write_bytes(broken)
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_array(tmp_path / "a")[:]


def test_big_endian_and_column_order(tmp_path: Path) -> None:
    features = stack(5, 8, "float32")
    array = create(tmp_path / "a", features.shape, (2, *SAMPLE), ">f4", config={"order": "F"})
    array[:] = features.astype(">f4")
    assert worst(zarr.open_array(tmp_path / "a")[1:4], features[1:4]) <= BOUND


def test_metadata_names_the_profile(tmp_path: Path) -> None:
    array = create(tmp_path / "a", (4, *SAMPLE), (2, *SAMPLE))
    (codec,) = json.loads((tmp_path / "a" / "zarr.json").read_text())["codecs"]
    assert codec["name"] == "smalto_features"
    assert codec["configuration"]["digest"] == bounded().profile.digest.hex()
    assert len(codec["configuration"]["profile"]) < 4096
    assert codec["configuration"]["profile"] not in str(array.info)  # people read this
    again = pickle.loads(pickle.dumps(array))
    assert again.metadata == array.metadata


def test_an_array_whose_profile_is_lost_opens_but_does_not_read(tmp_path: Path) -> None:
    features = stack(4, 9)
    array = create(tmp_path / "a", features.shape, (2, *SAMPLE), serializer=ZarrFeatures.of(bounded(), embed=False))
    array[:] = features
    (copy,) = (tmp_path / "profiles").iterdir()
    assert worst(zarr.open_array(tmp_path / "a")[:], features) <= BOUND
    kept = copy.rename(tmp_path / "elsewhere.safetensors")
    chunk_codec._coder.cache_clear()
    again = zarr.open_array(tmp_path / "a")
    assert again.shape == features.shape
    with pytest.raises(MissingSpace, match="SMALTO_PROFILES"):
        again[:]
    kept.rename(copy)
    assert worst(again[:], features) <= BOUND


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not int32"):
        create(tmp_path / "a", (4, *SAMPLE), (2, *SAMPLE), "int32")
    with pytest.raises(UsageError, match="not int32"):
        create(tmp_path / "b", (4, *SAMPLE), (2, *SAMPLE), "int32", shards=(4, *SAMPLE))
    create(tmp_path / "c", (4, *SAMPLE), (2, *SAMPLE))
    held = json.loads((tmp_path / "c" / "zarr.json").read_text())
    held["codecs"][0]["configuration"]["version"] = 2
    (tmp_path / "c" / "zarr.json").write_text(json.dumps(held))
    with pytest.raises(UnsupportedVersion, match="upgrade smalto"):
        zarr.open_array(tmp_path / "c")
    held["codecs"][0] = "smalto_features"
    with pytest.raises(UsageError, match="no configuration"):
        ZarrFeatures.from_dict({"name": "smalto_features"})
    with pytest.raises(NotImplementedError, match="is known when it is coded"):
        ZarrFeatures.of(bounded()).compute_encoded_size(4, None)  # pyright: ignore[reportArgumentType]


def test_entry_points_open_arrays_without_our_import(tmp_path: Path) -> None:
    """A reader that imports Zarr alone; installed packages are what lies on its path, so one is laid there."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    information = tmp_path / "site" / "smalto-0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: smalto\nVersion: 0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points[group].items()) for group in points
    ]
    (information / "entry_points.txt").write_text("\n".join(lines))
    features = stack(6, 10)
    create(tmp_path / "a", features.shape, (2, *SAMPLE), shards=(4, *SAMPLE))[:] = features
    np.save(tmp_path / "expected.npy", zarr.open_array(tmp_path / "a")[:])
    program = (
        "import sys, numpy, zarr\n"
        "found = zarr.open_array('a', mode='r')[1:5]\n"
        "assert numpy.array_equal(found, numpy.load('expected.npy')[1:5])\n"
        "assert 'smalto.export.zarr_codec' in sys.modules\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    paths = [str(tmp_path / "site"), str(ROOT / "src")]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{program}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
