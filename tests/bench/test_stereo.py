"""The stereo benchmark's tables from answers whose errors are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smalto.bench.stereo import NEURAL, PIXELS, StereoMethod, bench_stereo, main, stereo_text
from smalto.errors import UsageError
from smalto.types import Image
from tests.data.stereo_trees import scaled_pair


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    for number in range(3):
        scaled_pair(tmp_path / "pairs" / str(number), 12, 20, disparity_px=5 + number)
    return tmp_path / "pairs"


def _constant(value: float, wrong_columns: int) -> StereoMethod:
    """Right up to half a pixel but for some columns, which are ten pixels off."""

    def answer(left: Image, right: Image) -> np.ndarray:
        disparity = np.full((left.height, left.width), 6.0, np.float32)
        disparity[:, :wrong_columns] += 10.0
        return disparity

    return StereoMethod(NEURAL if value else PIXELS, answer)


def test_scores_are_means_over_runs_and_pairs(pairs: Path) -> None:
    methods = [_constant(1, 2), _constant(1, 4), _constant(0, 5)]
    seen: list[str] = []
    result = bench_stereo(methods, pairs, lambda done, total, name: seen.append(f"{done}/{total} {name}"))
    assert seen == ["1/3 0", "2/3 1", "3/3 2"]
    means = result.table("means")
    assert means.column("method") == (NEURAL, PIXELS)
    assert means.column("runs") == (2, 1)
    assert means.column("d1_all") == pytest.approx((15.0, 25.0))
    assert means.column("thres_3") == pytest.approx((15.0, 25.0))
    assert len(result.table("pairs").rows) == 6
    changes = result.table("changes")
    assert changes.column("change") == pytest.approx((-10.0, -10.0))
    assert changes.column("high") == pytest.approx((-10.0, -10.0))
    assert "neural-space" in stereo_text(result)


def test_without_both_kinds_there_is_nothing_to_compare(pairs: Path) -> None:
    result = bench_stereo([_constant(0, 5)], pairs)
    assert [table.name for table in result.tables] == ["means", "pairs"]
    with pytest.raises(UsageError, match="nothing to measure"):
        bench_stereo([], pairs)


def test_the_command_measures_semi_global_matching(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2", reason="opencv-python-headless is not installed")
    main(["--data", str(pairs), "--json", str(tmp_path / "stereo.json")])
    assert "sgbm 5x5" in capsys.readouterr().out
    assert (tmp_path / "stereo.json").is_file()


@pytest.mark.slow
def test_semi_global_matching_on_middlebury(data_folder: Path) -> None:
    pytest.importorskip("cv2", reason="opencv-python-headless is not installed")
    from smalto.bench.stereo import sgbm_methods

    if not (data_folder / "middlebury").is_dir():
        pytest.skip("no middlebury in the data folder")
    means = bench_stereo(sgbm_methods(), data_folder / "middlebury").table("means")
    assert means.column("d1_all") == pytest.approx((12.16, 12.06, 10.36), abs=0.15)
    assert means.column("thres_3") == pytest.approx((12.25, 12.16, 10.45), abs=0.15)
