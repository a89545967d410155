"""Equal accuracy: the fewest bits that keep the score, and what ours saves of tuned and of fixed peers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smalto.bench.feature_layers import PSNR, RatePoint
from smalto.bench.feature_tables import equal_table, point_table, summary_table
from smalto.bench.results import Table


def point(codec: str, bits: float, change: float, agreement: float = 1.0, setting: float = 0.0) -> RatePoint:
    return RatePoint(
        "squeezenet", "x", codec, setting, bits, 0.0, 0.6 + change, change, change - 0.1, change + 0.1, agreement, 0.9,
        1.0,
    )  # fmt: skip


def rows_of(table: Table) -> list[dict[str, object]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_equal_accuracy_takes_the_fewest_bits_that_keep_the_score() -> None:
    points = [
        point("smalto fast", 0.5, 0.0),
        point("smalto fast, means", 0.6, 0.0),
        point("smalto fast", 0.2, -0.1),
        point("zstd", 1.0, -0.004),
        point("zstd", 2.0, 0.0),
        point("bad", 0.1, -0.3),
    ]
    rows = rows_of(equal_table(points))
    found = [(row["codec"], row["bits_per_value"]) for row in rows]
    assert found == [("smalto fast", 0.5), ("smalto fast, means", 0.6), ("zstd", 1.0)]
    assert rows[2]["smalto_fast_saves_percent"] == pytest.approx(50)
    assert (rows[2]["score_change_low"], rows[2]["score_change_high"]) == pytest.approx((-0.104, 0.096))
    decibels = [replace(each, metric=PSNR) for each in points]
    assert [row["bits_per_value"] for row in rows_of(equal_table(decibels))] == [
        0.2,
        0.6,
        1.0,
    ]  # a loss of 0.1 dB is allowed
    assert len(point_table(points).rows) == 6


def test_summary_names_the_best_tuned_and_the_best_fixed_peer() -> None:
    points = [
        point("smalto fast", 0.5, 0.0, 0.98),
        point("smalto fast", 0.3, 0.0, 0.9),
        point("smalto hyperprior", 0.4, -0.2, 0.9),
        point("uniform+pcodec", 0.6, 0.0, 0.9, 1.8),
        point("uniform+pcodec", 1.0, 0.0, 0.97, 1.0),
        point("int8 per channel+zstd-19", 0.8, 0.0, 0.9, 4),
        point("int8 per channel+zstd-19", 3.0, 0.0, 1.0, 8),
        point("float8+pcodec", 4.0, 0.0, 1.0, 8),
        point("truncated full range, 8 bit, its network", 0.1, 0.0, 1.0, 51),
    ]
    rows = rows_of(summary_table(points))
    assert [(row["equal"], row["ours"]) for row in rows] == [
        ("score", "smalto fast"),
        ("score", "smalto hyperprior"),
        ("agreement", "smalto fast"),
        ("agreement", "smalto hyperprior"),
    ]
    by_score, lost, by_answers, _ = rows
    assert (by_score["our_bits"], by_score["tuned_bits"], by_score["fixed_bits"]) == (0.3, 0.6, 3.0)
    assert (by_score["saves_percent"], by_score["saves_of_fixed_percent"]) == pytest.approx((50, 90))
    assert (lost["our_bits"], lost["saves_percent"], lost["tuned_peer"]) == (None, None, "uniform+pcodec")
    assert (by_answers["our_bits"], by_answers["tuned_bits"], by_answers["tuned_setting"]) == (0.5, 1.0, 1.0)
    assert rows_of(summary_table([replace(each, metric=PSNR) for each in points]))[-1]["equal"] == "score"


def test_no_codec_keeps_the_score() -> None:
    points = [point("smalto fast", 0.5, -0.5, 0.1), point("uniform+pcodec", 0.6, -0.5, 0.1)]
    assert equal_table(points).rows == summary_table(points).rows == ()
