"""Similarity under shifts: normalised as stated, the same for scaled embeddings, every view read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from smalto.bench.results import BenchResult
from smalto.bench.similarity import (
    PUBLISHED,
    SimilaritySettings,
    bench_similarity,
    main,
    pixels,
    similarity_text,
    view_files,
)
from smalto.data.corruptions import CORRUPTIONS, corrupt
from smalto.errors import UsageError
from smalto.systems.shared_space import shared_arrays
from smalto.types import Image
from smalto.weights.store import write_arrays
from tests.shared_space import seeded_networks
from tests.tiny_models import scene

SIZES = ((32, 40), (44, 36))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    root.mkdir()
    for seed, (height, width) in enumerate(SIZES):
        Image(scene(height, width, seed=seed)).save(root / f"{seed}.png")
    return root


def _rows(result: BenchResult) -> dict[str, tuple[float, ...]]:
    return {str(row[0]): tuple(float(cell or 0) for cell in row[1:]) for row in result.table("similarity").rows}


def test_pixels_are_measured_as_stated(folder: Path) -> None:
    found = _rows(bench_similarity({"pixels": pixels}, SimilaritySettings(folder, (2, 4), seed=7)))["pixels"]
    originals = [scene(height, width, seed=k) for k, (height, width) in enumerate(SIZES)]
    extent = (max(int(o.max()) for o in originals) - min(int(o.min()) for o in originals)) / 255
    distances, between_means = [], []
    for kind in CORRUPTIONS:
        for severity in (2, 4):
            shifted = [corrupt(o, kind, severity, 7 * 100_003 + k) for k, o in enumerate(originals)]
            distances += [np.abs(s / 255 - o / 255).mean() for s, o in zip(shifted, originals, strict=True)]
            means = [np.mean([p.mean(axis=(0, 1)) / 255 for p in group], axis=0) for group in (originals, shifted)]
            between_means.append(np.abs(means[0] - means[1]).mean())
    assert found[0] == pytest.approx(np.mean(distances) / extent, rel=1e-4)
    assert found[1] == pytest.approx(np.mean(between_means) / extent, rel=1e-4)
    squares = sum(((o / 255 - (o / 255).mean(axis=(0, 1))) ** 2).sum() for o in originals)
    deviation = np.sqrt(squares / sum(o.size for o in originals))
    assert found[2] == pytest.approx(np.mean(distances) / deviation, rel=1e-4)


def test_scale_and_offset_do_not_matter(folder: Path) -> None:
    def scaled(picture: Tensor) -> list[Tensor]:
        return [7.0 * picture - 3.0]

    rows = _rows(bench_similarity({"pixels": pixels, "scaled": scaled}, SimilaritySettings(folder)))
    assert rows["scaled"] == pytest.approx(rows["pixels"], rel=1e-4)


def test_a_constant_embedding_never_moves(folder: Path) -> None:
    def constant(picture: Tensor) -> list[Tensor]:
        return [torch.ones(1, 2, 3, 3)]

    assert _rows(bench_similarity({"constant": constant}, SimilaritySettings(folder)))["constant"] == (0.0, 0.0, 0.0)


def test_a_small_network_and_the_paper_beside_it(folder: Path) -> None:
    encoder = seeded_networks()[0]
    seen: list[tuple[int, int, str]] = []
    result = bench_similarity(
        {"pixels": pixels, "space": encoder}, SimilaritySettings(folder), lambda *done: seen.append(done)
    )
    rows = _rows(result)
    assert rows["space"][0] > 0
    assert rows["Shared Neural Space, paper"][:2] == PUBLISHED[1][1:]
    each = result.table("corruptions")
    assert each.column("corruption") == tuple(CORRUPTIONS)
    values = [float(cell or 0) for cell in each.column("space")]
    assert np.mean(values) == pytest.approx(rows["space"][0], rel=1e-6)
    assert seen == [(1, 2, "0.png"), (2, 2, "1.png")]
    assert BenchResult.from_json(result.to_json()) == result
    assert "severities 3" in similarity_text(result)


def test_stronger_shifts_move_further(folder: Path) -> None:
    mild, hard = (
        _rows(bench_similarity({"pixels": pixels}, SimilaritySettings(folder, (severity,))))["pixels"][0]
        for severity in (1, 5)
    )
    assert hard > 1.5 * mild


def test_both_views_of_every_pair(data_folder: Path) -> None:
    files = view_files(data_folder / "middlebury")
    assert len(files) == 16
    assert {path.name for path in files} == {"left.png", "right.png"}


def test_the_third_evaluation_has_thirty_views(tmp_path: Path) -> None:
    for number in range(15):
        scene_folder = tmp_path / "trainingQ" / f"Scene{number:02d}"
        scene_folder.mkdir(parents=True)
        for name in ("im0.png", "im1.png"):
            Image(scene(8, 8)).save(scene_folder / name)
        (scene_folder / "disp0GT.pfm").write_bytes(b"Pf\n8 8\n-1.0\n" + np.ones((8, 8), "<f4").tobytes())
    assert len(view_files(tmp_path)) == 30


def test_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_arrays(tmp_path / "space.safetensors", shared_arrays(*seeded_networks()))
    target = tmp_path / "out.json"
    main(
        ["--data", str(folder), "--space", str(tmp_path), "--severities", "1,5", "--count", "1", "--json", str(target)]
    )
    assert "| shared space |" in capsys.readouterr().out
    assert BenchResult.from_json(target.read_text()).suite == "similarity"
    with pytest.raises(UsageError, match="commas between"):
        main(["--data", str(folder), "--severities", "all"])


def test_wrong_settings_are_named(tmp_path: Path, folder: Path) -> None:
    for severities in ((), (0,), (3, 6)):
        with pytest.raises(UsageError, match=r"1\.\.5"):
            SimilaritySettings(tmp_path, severities)
    with pytest.raises(UsageError, match="count"):
        SimilaritySettings(tmp_path, count=0)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="no pictures here"):
        bench_similarity({"pixels": pixels}, SimilaritySettings(empty))
    with pytest.raises(UsageError, match="at least one"):
        bench_similarity({}, SimilaritySettings(folder))
