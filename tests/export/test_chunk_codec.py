"""What array metadata says of a profile, and chunks to parts and back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto import FeatureCodec
from smalto.errors import LimitExceeded, MissingSpace, ProfileError, SmaltoError, UnsupportedVersion, UsageError
from smalto.export import chunk_codec
from smalto.export.chunk_codec import ChunkCoder, ChunkSettings, profile_of_text, profile_text
from tests.export.feature_examples import BOUND, SAMPLE, bounded, stack, worst


@pytest.fixture(autouse=True)
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of profiles of this test's own."""
    monkeypatch.setenv("SMALTO_PROFILES", str(tmp_path / "profiles"))
    chunk_codec._coder.cache_clear()
    return tmp_path / "profiles"


@settings(max_examples=30)
@given(
    st.sampled_from([(1,), (3,), (2, 2), ()]),
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from(["float16", "float32", "float64"]),
)
def test_chunks_come_back_within_the_bound(lead: tuple[int, ...], height: int, width: int, dtype: str) -> None:
    coder = ChunkCoder(bounded().profile)
    chunk = np.random.default_rng(height * width).normal(size=(*lead, 8, height, width)).astype(dtype)
    back = coder.decode(coder.encode(chunk, dtype), chunk.shape, dtype)
    assert (back.dtype, back.shape) == (chunk.dtype, chunk.shape)
    assert worst(back, chunk) <= BOUND


def test_a_chunk_is_one_part_of_the_tier() -> None:
    chunk = stack(5, 3)
    assert ChunkCoder(bounded().profile).encode(chunk, "float16") == bounded().tier.encode(list(chunk), "float16")


def test_values_that_are_no_numbers_and_other_byte_orders() -> None:
    coder = ChunkCoder(bounded().profile)
    chunk = stack(2, 4, "float32")
    chunk[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    swapped = chunk.astype(">f4")
    assert coder.encode(swapped, "float32") == coder.encode(chunk, "float32")
    back = coder.decode(coder.encode(chunk, "float32"), chunk.shape, "float32")
    assert np.array_equal(back[0, 0, 0, :3], chunk[0, 0, 0, :3], equal_nan=True)
    assert coder.decode(b"", (0, *SAMPLE), "float16").shape == (0, *SAMPLE)
    assert coder.encode(chunk[:0], "float32") == b""


def test_chunks_that_do_not_fit_are_refused() -> None:
    coder = ChunkCoder(bounded().profile)
    with pytest.raises(UsageError, match="no samples had the channels"):
        coder.check((4, 7, 9, 9))
    with pytest.raises(LimitExceeded, match="smaller chunks inside shards"):
        coder.check((1 << 20, *SAMPLE))


def test_settings_go_through_json() -> None:
    for bfloat16 in (False, True):
        made = ChunkSettings.of(bounded(), bfloat16=bfloat16)
        again = ChunkSettings.from_json(json.loads(json.dumps(made.to_json())))
        assert again == made
        assert hash(again) == hash(made)
    assert profile_of_text(made.profile).digest == bounded().profile.digest


def test_a_profile_is_embedded_when_small_or_asked_for(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = bounded().profile.digest.hex()
    assert ChunkSettings.of(bounded()).profile
    assert not profiles.exists()
    outside = ChunkSettings.of(bounded().profile, embed=False)
    assert outside.to_json() == {"version": 1, "digest": digest}
    (copy,) = profiles.iterdir()
    assert ChunkSettings.of(copy).digest == digest
    assert outside.coder().check((3, *SAMPLE)) == 1
    monkeypatch.setattr(chunk_codec, "MAX_EMBEDDED_TEXT", 100)
    assert not ChunkSettings.of(bounded()).profile
    assert ChunkSettings.of(bounded(), embed=True).profile
    copy.unlink()
    chunk_codec._coder.cache_clear()
    with pytest.raises(MissingSpace, match="SMALTO_PROFILES"):
        outside.coder()


def test_dtypes() -> None:
    plain, patterns = ChunkSettings.of(bounded()), ChunkSettings.of(bounded(), bfloat16=True)
    assert [plain.dtype_name(np.dtype(name)) for name in ("float16", ">f4", "float64")] == [
        "float16",
        "float32",
        "float64",
    ]
    assert patterns.dtype_name(np.dtype("uint16")) == "bfloat16"
    with pytest.raises(UsageError, match="not int32"):
        plain.dtype_name(np.dtype("int32"))
    with pytest.raises(UsageError, match="bfloat16=True"):
        plain.dtype_name(np.dtype("uint16"))
    with pytest.raises(UsageError, match="leave bfloat16 out"):
        patterns.dtype_name(np.dtype("float32"))


def test_damaged_settings_are_named() -> None:
    made = ChunkSettings.of(bounded()).to_json()
    other = FeatureCodec.fit(list(stack(3, 9)), max_error=0.2)
    for change, kind, match in (
        ({"version": 2}, UnsupportedVersion, "version 2"),
        ({"level": 3}, UnsupportedVersion, "settings level"),
        ({"digest": "x"}, UsageError, "names no profile"),
        ({"digest": 5}, UsageError, "names no profile"),
        ({"bfloat16": "yes"}, UsageError, "names no profile"),
        ({"profile": "?"}, ProfileError, "damaged"),
        ({"profile": made["profile"][:-8]}, ProfileError, "cut short|damaged"),
        ({"profile": profile_text(other.profile)}, ProfileError, "but names"),
    ):
        with pytest.raises(kind, match=match) as caught:
            ChunkSettings.from_json({**made, **change}).coder()
        assert "\n" not in str(caught.value)


def test_an_inflated_profile_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    text = profile_text(bounded().profile)
    monkeypatch.setattr(chunk_codec, "MAX_PROFILE_BYTES", 1000)
    with pytest.raises(ProfileError, match="over 1000 bytes"):
        profile_of_text(text)


def test_damaged_parts_are_named_or_of_the_right_shape() -> None:
    coder, chunk = ChunkCoder(bounded().profile), stack(4, 5)
    part = coder.encode(chunk, "float16")
    generator = np.random.default_rng(0)
    named = 0
    for _ in range(100):
        broken = bytearray(part)
        broken[int(generator.integers(len(part)))] ^= 1 << int(generator.integers(8))
        try:
            assert coder.decode(bytes(broken), chunk.shape, "float16").shape == chunk.shape
        except SmaltoError:
            named += 1
    assert named > 50


def test_torch_is_not_needed() -> None:
    program = (
        "import sys\n"
        "from smalto.export.chunk_codec import ChunkCoder\n"
        "import numpy as np\n"
        "from smalto import FeatureCodec\n"
        "samples = [np.random.default_rng(k).normal(size=(4, 5, 5)).astype('float32') for k in range(3)]\n"
        "coder = ChunkCoder(FeatureCodec.fit(samples, max_error=0.1).profile)\n"
        "coder.decode(coder.encode(samples[0], 'float32'), (4, 5, 5), 'float32')\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("module", "library"), [("zarr_codec", "zarr"), ("numcodecs_codec", "numcodecs")])
def test_an_absent_library_is_named(module: str, library: str) -> None:
    program = f"import sys; sys.modules[{library!r}] = None; import smalto.export.{module}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("smalto.errors.MissingExtra: " + library)
    assert "pip install 'smalto[export]'" in last
