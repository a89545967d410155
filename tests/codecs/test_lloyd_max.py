"""The Lloyd-Max transform: nearest levels, exact inverses, convergence, and every odd input."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from smalto.bits.dtypes import storage_dtype
from smalto.codecs import lloyd_max_fit
from smalto.codecs.float_patterns import FLOAT_DTYPES, float_values, rounded
from smalto.codecs.lloyd_max import LloydMax
from smalto.codecs.lloyd_max_samples import running_sums, sorted_samples
from smalto.errors import ProfileError, UsageError


def as_dtype(values: np.ndarray, name: str) -> np.ndarray:
    """Finite float64 values, any shape, in a dtype."""
    return rounded(values.reshape(-1), name).reshape(values.shape)


def brute_force(levels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The nearest level of each finite value, the lower one of two."""
    return np.abs(values.reshape(-1, 1) - levels).argmin(axis=1).reshape(values.shape)


def mse_of(transform: LloydMax, values: np.ndarray, name: str) -> float:
    wide = float_values(values, name)
    return float(np.mean((wide - transform.levels[transform.forward(values, name)]) ** 2))


def plain_lloyd(values: np.ndarray, levels: np.ndarray, num_rounds: int) -> list[float]:
    """The mean squared errors of textbook rounds."""
    errors = []
    for _ in range(num_rounds):
        owner = brute_force(levels, values)
        errors.append(float(np.mean((values - levels[owner]) ** 2)))
        levels = np.array([values[owner == k].mean() if (owner == k).any() else levels[k] for k in range(len(levels))])
    return errors


SMALL_LEVELS = st.lists(st.floats(-1000, 1000, width=16), min_size=1, max_size=40, unique=True).map(
    lambda levels: np.unique(np.array(levels) + 0.0)
)


@pytest.mark.parametrize("name", FLOAT_DTYPES)
@settings(max_examples=50)
@given(levels=SMALL_LEVELS, values=hnp.arrays(np.float64, hnp.array_shapes(max_dims=3), elements=st.floats(-2e3, 2e3)))
def test_forward_takes_the_nearest_level(name: str, levels: np.ndarray, values: np.ndarray) -> None:
    transform = LloydMax(levels)
    stored = as_dtype(values, name)
    indexes = transform.forward(stored, name)
    assert indexes.dtype == np.uint8
    wide = float_values(stored, name)
    distance = np.abs(wide.reshape(-1, 1) - levels)
    chosen = np.take_along_axis(distance, indexes.reshape(-1, 1).astype(int), axis=1)[:, 0]
    assert indexes.shape == values.shape
    assert (chosen <= distance.min(axis=1) * (1 + 1e-12) + 1e-12 * np.abs(wide.reshape(-1))).all()
    order = np.argsort(wide, axis=None)
    assert (np.diff(indexes.reshape(-1)[order].astype(int)) >= 0).all()  # rises with the value


@pytest.mark.parametrize("name", FLOAT_DTYPES)
@pytest.mark.parametrize("kind", ["peaky", "gaussian", "offset", "one cell", "wide"])
def test_forward_equals_brute_force_on_256_levels(name: str, kind: str) -> None:
    generator = np.random.default_rng(3)
    draw = {
        "peaky": lambda n: generator.standard_t(1.5, n),
        "gaussian": generator.standard_normal,
        "offset": lambda n: 1000 + generator.standard_normal(n),
        "one cell": lambda n: np.where(generator.random(n) < 0.01, -7e3, 1000 + 0.01 * generator.standard_normal(n)),
        "wide": lambda n: generator.standard_normal(n) * 10 ** generator.uniform(-4, 4, n),
    }[kind]
    levels = np.unique(draw(256))
    transform = LloydMax(levels)
    ties = transform.thresholds if name == "float32" else levels  # in float64 a midpoint is rounded itself
    values = as_dtype(np.concatenate((draw(3001), levels, ties, [0.0, -0.0])), name)
    assert np.array_equal(transform.forward(values, name), brute_force(levels, float_values(values, name)))


@pytest.mark.parametrize("name", FLOAT_DTYPES)
@settings(max_examples=50)
@given(levels=SMALL_LEVELS)
def test_forward_undoes_inverse(name: str, levels: np.ndarray) -> None:
    levels = np.unique(float_values(as_dtype(levels, name), name) + 0.0)
    transform = LloydMax(levels)
    indexes = np.arange(len(levels), dtype=np.uint8)[::-1].reshape(1, -1)
    values = transform.inverse(indexes, name)
    assert values.dtype == storage_dtype(name)
    assert np.array_equal(float_values(values, name), levels[indexes])
    assert np.array_equal(transform.forward(values, name), indexes)


@pytest.mark.parametrize("name", FLOAT_DTYPES)
def test_fitted_levels_survive_their_dtype(name: str) -> None:
    values = as_dtype(np.random.default_rng(0).laplace(size=(7, 900)), name)
    transform = LloydMax.fit([values, values[:2]], dtype_name=name)
    assert transform.num_levels == 256
    indexes = np.arange(256, dtype=np.uint8)
    for wider in {name, "float64"}:
        assert np.array_equal(transform.forward(transform.inverse(indexes, wider), wider), indexes)
    assert np.array_equal(np.unique(transform.forward(values, name)), indexes)  # every level is in use


@pytest.mark.parametrize("name", FLOAT_DTYPES)
def test_special_values(name: str) -> None:
    special = np.array([np.nan, np.inf, -np.inf, 0.1])
    patterns = {"float16": np.float16, "float32": np.float32, "float64": np.float64}
    if name == "bfloat16":
        values = (special.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        negative_nan = np.array([0xFFC0], np.uint16)
    else:
        values = special.astype(patterns[name])
        negative_nan = -values[:1]
    transform = LloydMax(np.array([-5.0, -1.0, 0.25, 7.0]))
    assert transform.forward(values, name).tolist() == [2, 3, 0, 2]
    assert transform.forward(negative_nan, name).tolist() == [2]
    long = np.tile(values, 5000)
    assert np.array_equal(transform.forward(long, name), np.tile([2, 3, 0, 2], 5000))
    fitted = LloydMax.fit(np.concatenate((values, values)), dtype_name=name)
    assert fitted.levels.tolist() == float_values(values[3:], name).tolist()
    assert LloydMax.fit(values[:3], dtype_name=name).levels.tolist() == [0.0]
    assert LloydMax.fit(values[:0], dtype_name=name).levels.tolist() == [0.0]


def test_shapes_strides_and_byte_orders_are_kept() -> None:
    transform = LloydMax(np.array([-1.0, 0.0, 1.0]))
    values = np.random.default_rng(0).normal(size=(6, 5, 4))
    for name in ("float16", "float32", "float64"):
        base = values.astype(name)
        views = (base.T, base[::2, ::-1, 1:], base[1:, 1:, 1:], base.astype(base.dtype.newbyteorder(">")))
        for view in (*views, base.reshape(-1)[1:], base[0, 0, 0], np.asfortranarray(base)):
            indexes = transform.forward(np.asarray(view))
            assert indexes.shape == np.shape(view)
            assert np.array_equal(indexes, brute_force(transform.levels, np.asarray(view, np.float64)))
    read_only = values.copy()
    read_only.flags.writeable = False
    assert transform.forward(read_only).shape == (6, 5, 4)
    scalar = transform.forward(np.array(0.9, np.float32))
    assert (scalar.shape, int(scalar)) == ((), 2)
    assert transform.forward(np.empty((0, 3), np.float32)).shape == (0, 3)
    indexes = transform.forward(values)
    for view in (indexes.T, indexes[::-1, 1:, ::2], indexes.reshape(-1)[3:], indexes[1, 1, 1], indexes[:0]):
        back = transform.inverse(np.asarray(view), "float32")
        assert np.array_equal(back, transform.levels[view])
        assert back.shape == np.shape(view)


@pytest.mark.parametrize("name", FLOAT_DTYPES)
@pytest.mark.parametrize("num_levels", [1, 2, 7, 256])
def test_few_distinct_values_are_kept_exactly(name: str, num_levels: int) -> None:
    distinct = float_values(as_dtype(-3 * 1.03 ** np.arange(num_levels)[::-1], name), name)
    values = as_dtype(np.random.default_rng(1).permutation(np.repeat(distinct, 9)), name)
    transform = LloydMax.fit(values, dtype_name=name)
    assert transform.levels.tolist() == distinct.tolist()
    assert transform.convergence is not None
    assert (transform.convergence.mse, transform.convergence.converged) == (0.0, True)
    assert np.array_equal(transform.inverse(transform.forward(values, name), name), values)


def test_zero_is_one_value() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        levels = LloydMax.fit(np.array([-0.0, 0.0, -0.0], dtype)).levels
        assert levels.tolist() == [0.0]
        assert not np.signbit(levels[0])


@settings(max_examples=60)
@given(
    st.sampled_from(FLOAT_DTYPES),
    st.integers(1, 20),
    hnp.arrays(np.float64, st.integers(1, 200), elements=st.floats(-1e4, 1e4, width=32)),
)
def test_a_fit_ends_where_lloyd_ends(name: str, num_levels: int, values: np.ndarray) -> None:
    """The error it reports is the error it makes, and from its levels textbook rounds gain next to nothing."""
    stored = as_dtype(values, name)
    transform = LloydMax.fit(stored, num_levels, name)
    wide = float_values(stored, name)
    assert transform.num_levels == min(num_levels, len(np.unique(wide)))
    assert transform.convergence is not None
    assert transform.convergence.converged
    assert transform.convergence.mse == pytest.approx(mse_of(transform, stored, name), rel=1e-9, abs=1e-300)
    if name == "float64" and transform.convergence.mse > 0:
        first, *_, last = plain_lloyd(wide, transform.levels, 5)
        assert last >= first * (1 - 1e-6)


def test_rounds_never_raise_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    held, _ = sorted_samples(np.random.default_rng(5).standard_t(2, 20_000).astype(np.float32))
    start = np.linspace(-4, 4, 64)
    errors = []
    for num_rounds in (1, 2, 3, 5, 8, 20, 100, 1000):
        monkeypatch.setattr(lloyd_max_fit, "MAX_ROUNDS", num_rounds)
        end = lloyd_max_fit.lloyd_from(running_sums(held), start)
        errors.append(end.error)
        assert end.num_rounds <= num_rounds
        assert end.converged == (end.num_rounds < num_rounds)
    assert all(after <= before * (1 + 1e-12) for before, after in itertools.pairwise(errors))
    assert errors[-1] < 0.98 * errors[0]


def test_running_out_of_rounds_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lloyd_max_fit, "MAX_ROUNDS", 2)
    transform = LloydMax.fit(np.random.default_rng(5).normal(size=100_000))
    assert transform.convergence is not None
    assert not transform.convergence.converged
    assert transform.convergence.num_rounds == 2


def panter_dite(cube_root_integral: float) -> float:
    """The least mean squared error of 256 levels for a smooth density: (integral of p^(1/3))^3 / (12 L^2)."""
    return cube_root_integral**3 / 12 / 256**2


@pytest.mark.parametrize(
    ("name", "tolerance"), [("float32", 0.02), ("float64", 0.02), ("float16", 0.03), ("bfloat16", 0.4)]
)
def test_smooth_densities_reach_the_theory(name: str, tolerance: float) -> None:
    """Laplace 1.37e-4 and Gaussian 4.15e-5 by Panter and Dite; bfloat16 has few numbers between two levels."""
    share = (np.arange(400_000) + 0.5) / 400_000
    laplace = np.where(share < 0.5, np.log(2 * share), -np.log(2 - 2 * share))
    stored = as_dtype(laplace, name)
    assert mse_of(LloydMax.fit(stored, dtype_name=name), stored, name) < panter_dite(6 * 2 ** (-1 / 3)) * (
        1 + tolerance
    )
    gaussian = as_dtype(np.random.default_rng(0).normal(size=400_000), name)
    limit = panter_dite((2 * np.pi) ** (1 / 3) * np.sqrt(3))
    assert mse_of(LloydMax.fit(gaussian, dtype_name=name), gaussian, name) < limit * (1 + tolerance)


@pytest.mark.parametrize("name", FLOAT_DTYPES)
@pytest.mark.parametrize(("low", "high", "freedom", "scale"), [(-7268, 1021, 2.0, 8.0), (-850, 850, 1.5, 1.4)])
def test_peaky_ranges_converge(name: str, low: float, high: float, freedom: float, scale: float) -> None:
    """The ranges of DINOv3 tokens and of prompt embeddings: far fewer errors than with as many even steps."""
    values = np.random.default_rng(2).standard_t(freedom, 60_000) * scale
    values = np.concatenate((np.clip(values, low, high), [low, high]))
    stored = as_dtype(values, name)
    transform = LloydMax.fit(stored, dtype_name=name)
    wide = float_values(stored, name)
    step = (high - low) / 255
    even = np.mean((wide - (low + step * np.rint((wide - low) / step))) ** 2)
    assert transform.convergence is not None
    assert transform.convergence.converged
    assert mse_of(transform, stored, name) < even / 10
    assert transform.levels[0] == pytest.approx(low, rel=0.01)


def test_far_values_do_not_drown_near_ones() -> None:
    """One value of 1e30 leaves the levels among the others as good as without it."""
    values = np.random.default_rng(4).normal(size=20_000)
    for far in (1e30, -1e30):
        transform = LloydMax.fit(np.append(values, far))
        near = mse_of(transform, values, "float64")
        assert far in transform.levels
        assert near < 1.05 * mse_of(LloydMax.fit(values), values, "float64")


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e150, 1e307])
def test_extreme_float64_scales(scale: float) -> None:
    values = np.random.default_rng(4).uniform(-1, 1, 20_000) * scale
    transform = LloydMax.fit(values)
    assert transform.num_levels == 256
    back = transform.inverse(transform.forward(values), "float64")
    assert np.abs(back / scale - values / scale).max() < 0.01
    both = LloydMax.fit(np.append(np.arange(300.0), [1e308, -1e308]))
    assert both.levels[[0, -1]].tolist() == [-1e308, 1e308]


def test_neighbouring_floats() -> None:
    """Levels with no number between them: every one is its own region."""
    for dtype in (np.float16, np.float32, np.float64):
        values = np.array([1.0], dtype)
        while len(values) < 200:
            values = np.append(values, np.nextafter(values[-1], dtype(2)))
        transform = LloydMax(values.astype(np.float64))
        assert transform.forward(values).tolist() == list(range(200))
        fitted = LloydMax.fit(np.repeat(values, 3), 100)
        assert fitted.num_levels == 100
        assert fitted.convergence is not None
        assert fitted.convergence.converged


def test_storage() -> None:
    transform = LloydMax.fit(np.random.default_rng(0).normal(size=2000).astype(np.float32), 32)
    arrays = transform.to_arrays()
    assert arrays["levels"].dtype == np.dtype("<f8")
    assert np.array_equal(LloydMax.from_arrays(arrays).levels, transform.levels)
    for broken in (
        {},
        {"levels": arrays["levels"].astype(np.float32)},
        {"levels": arrays["levels"][::-1]},
        {"levels": np.append(arrays["levels"], np.inf)},
        {"levels": np.zeros(2)},
        {"levels": np.arange(257.0)},
        {"levels": np.zeros((1, 1))},
        {"levels": np.empty(0)},
    ):
        with pytest.raises(ProfileError):
            LloydMax.from_arrays(broken)


def test_wrong_calls() -> None:
    transform = LloydMax(np.array([0.0, 1.0]))
    values = np.zeros(3, np.float32)
    for num_levels in (0, 257):
        with pytest.raises(UsageError, match="levels"):
            LloydMax.fit(values, num_levels)
    with pytest.raises(UsageError, match="float16 and float32"):
        LloydMax.fit([values, values.astype(np.float16)])
    with pytest.raises(UsageError, match="int64"):
        transform.forward(np.zeros(3, np.int64))
    with pytest.raises(UsageError, match="index 2"):
        transform.inverse(np.array([2], np.uint8), "float32")
    with pytest.raises(UsageError, match="uint8"):
        transform.inverse(np.array([1]), "float32")
    with pytest.raises(UsageError, match="float8"):
        transform.inverse(np.array([1], np.uint8), "float8")


def test_no_torch() -> None:
    code = "import sys, smalto.codecs.lloyd_max; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
