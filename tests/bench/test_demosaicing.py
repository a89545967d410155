"""The demosaicing benchmark: its figures on known pictures, layouts alike, what is missing named."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from smalto.bench import demosaicing
from smalto.bench.demosaicing import (
    CEILING,
    OURS,
    DemosaicSettings,
    bench_demosaicing,
    cpsnr_db,
    demosaicing_text,
    main,
    network_demosaicer,
)
from smalto.bench.results import BenchResult
from smalto.errors import MissingExtra, UsageError
from smalto.layers.bayer import PATTERNS, channel_map, mosaic_of
from smalto.systems.shared_space import shared_arrays
from smalto.train.raw_space import RawSpaceObjective
from smalto.train.release_raw_space import publish_raw_encoder
from smalto.types import Image
from smalto.weights.store import write_arrays
from tests.shared_space import seeded_networks
from tests.tiny_models import scene

needs_library = pytest.mark.skipif(
    importlib.util.find_spec("colour_demosaicing") is None, reason="colour-demosaicing is not installed"
)


class _Cells(nn.Module):
    """An RGGB mosaic to a picture of its 2 x 2 cells; fails where the layout is another one."""

    def forward(self, mosaic: Tensor) -> Tensor:
        """(1, 1, H, W) -> (1, 3, H, W)."""
        red, blue = mosaic[..., 0::2, 0::2], mosaic[..., 1::2, 1::2]
        green = (mosaic[..., 0::2, 1::2] + mosaic[..., 1::2, 0::2]) / 2
        cells = torch.cat([red, green, blue], dim=1)
        return cells.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for seed, (height, width) in enumerate(((45, 62), (40, 40), (64, 33))):
        Image(scene(height, width, seed=seed)).save(pictures / f"{seed}.png")
    return pictures


def test_the_network_sees_rggb_whatever_the_layout() -> None:
    picture = torch.tensor([0.2, 0.5, 0.8])[:, None, None].expand(3, 7, 9)[None]
    method = network_demosaicer(_Cells(), nn.Identity())
    for pattern in PATTERNS:
        answer = method(mosaic_of(picture, pattern)[0, 0].numpy(), pattern)
        np.testing.assert_allclose(answer, picture[0].permute(1, 2, 0).numpy(), atol=1e-6)


def test_rows_and_pictures(folder: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    settings = DemosaicSettings(folder, ("RGGB", "BGGR"), border_px=3)
    networks = (_Cells(), nn.Identity(), nn.Identity())
    result = bench_demosaicing(settings, networks, lambda *done: seen.append(done))
    means, each = result.table("demosaicing"), result.table("pictures")
    assert [row[:2] for row in means.rows if row[0] in (OURS, CEILING)] == [
        (OURS, "RGGB"), (OURS, "BGGR"), (CEILING, "-"),
    ]  # fmt: skip
    assert means.rows[-1][2] == 100.0 or ("malvar-2004", "RGGB", None, None, None) in means.rows
    assert each.column("picture") == ("0.png", "1.png", "2.png")
    of_each = [float(score or 0) for score in each.column(OURS)]
    assert next(row[2] for row in means.rows if row[:2] == (OURS, "RGGB")) == pytest.approx(np.mean(of_each))
    assert seen[-1] == (3, 3, "2.png")
    assert BenchResult.from_json(result.to_json()) == result
    assert demosaicing_text(result).startswith("# Demosaicing")


@needs_library
def test_classical_methods_rank_as_published(data_folder: Path) -> None:
    table = bench_demosaicing(DemosaicSettings(data_folder / "kodak", count=1)).table("demosaicing")
    assert table.column("method") == ("bilinear", "malvar-2004", "menon-2007")
    scores = [float(score or 0) for score in table.column("cpsnr_db")]
    assert 20 < scores[0] < scores[1] - 3 < scores[2] - 6


@pytest.mark.slow
@needs_library
def test_kodak_means(data_folder: Path) -> None:
    table = bench_demosaicing(DemosaicSettings(data_folder / "kodak")).table("demosaicing")
    assert [round(float(score), 2) for score in table.column("cpsnr_db")] == [30.29, 35.82, 39.33]  # type: ignore[arg-type]


def test_a_missing_library_leaves_its_cells_empty(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise MissingExtra(f"{name} is not here")

    monkeypatch.setattr(demosaicing, "peer_demosaicer", absent)
    table = bench_demosaicing(DemosaicSettings(folder), (_Cells(), nn.Identity(), nn.Identity())).table("demosaicing")
    assert ("menon-2007", "RGGB", None, None, None) in table.rows
    assert "Not installed: bilinear, malvar-2004, menon-2007" in table.note
    assert {row[0] for row in table.rows if row[2] is not None} == {OURS, CEILING}


def test_cpsnr() -> None:
    truth = np.full((10, 12, 3), 0.5)
    answer = truth + 0.1
    answer[:2] = 9.0  # in the border, and clipped to 1
    assert cpsnr_db(answer, truth, 2) == pytest.approx(20.0)
    assert cpsnr_db(answer, truth, 0) == pytest.approx(-10 * np.log10(0.8 * 0.01 + 0.2 * 0.25))
    assert cpsnr_db(truth, truth, 2) == 100.0
    with pytest.raises(UsageError, match="nothing inside 5 px"):
        cpsnr_db(answer, truth, 5)


def test_the_command_line_takes_runs(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    networks = seeded_networks()
    write_arrays(tmp_path / "space.safetensors", shared_arrays(*networks))
    objective = RawSpaceObjective(lambda: networks)
    publish_raw_encoder(objective, iter(()), tmp_path)
    main(["--data", str(folder), "--space", str(tmp_path), "--raw", str(tmp_path), "--layouts", "all", "--count", "1"])
    out = capsys.readouterr().out
    assert out.count(OURS) == 4
    with pytest.raises(UsageError, match="go together"):
        main(["--data", str(folder), "--raw", str(tmp_path)])


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="RGGB, GRBG, GBRG, BGGR"):
        DemosaicSettings(tmp_path, ("XTRANS",))
    with pytest.raises(UsageError, match="border_px"):
        DemosaicSettings(tmp_path, border_px=-1)
    with pytest.raises(UsageError, match="no pictures here"):
        bench_demosaicing(DemosaicSettings(tmp_path))


def test_the_fixture_would_notice_a_wrong_layout() -> None:
    """The stand-in network is not blind: on another layout it answers other colours."""
    picture = torch.tensor([0.2, 0.5, 0.8])[:, None, None].expand(3, 8, 8)[None]
    wrong = network_demosaicer(_Cells(), nn.Identity())(mosaic_of(picture, "BGGR")[0, 0].numpy(), "RGGB")
    assert not np.allclose(wrong[0, 0], [0.2, 0.5, 0.8])
    assert channel_map("BGGR", 1, 1).item() == 2
