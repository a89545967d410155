"""The whole report in miniature: what runs, what is skipped and why, runs in place of installed parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from smalto.bench import neural_space, space_sources
from smalto.bench.neural_space import SUITES, NeuralSpaceSettings, measure
from smalto.bench.results import BenchResult
from smalto.bench.space_sources import Absent, SpaceSources, parse_runs
from smalto.errors import UsageError
from smalto.heads.segment import SIZES as SEGMENT_SIZES
from smalto.heads.segment import SegmenterConfig
from smalto.heads.stereo import SIZES as STEREO_SIZES
from smalto.systems.plane_latent import base_networks
from smalto.train.denoising import DenoiseObjective
from smalto.train.install import main as install
from smalto.train.raw_space import RawSpaceObjective
from smalto.train.release_heads import publish_denoise, publish_segment
from smalto.train.release_raw_space import publish_raw_encoder
from smalto.train.release_shared_space import publish_shared_space
from smalto.train.release_stereo import publish_stereo
from smalto.train.segmentation import SegmentObjective
from smalto.train.shared_space import SharedSpaceObjective
from smalto.train.shared_start import start_passing
from smalto.train.stereo_depth import StereoObjective
from smalto.types import Image
from smalto.weights.store import write_arrays
from tests.bench.space_systems import TINY_STEREO, tiny_image_networks
from tests.data.labelled_trees import camvid_tree
from tests.data.stereo_trees import scaled_pair
from tests.shared_space import smooth_pictures
from tests.tiny_models import scene
from tests.weights.installed import use_folder

NOBODY = "nobody-0"


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SEGMENT_SIZES, "s", SegmenterConfig(8, 2, 3, 6, 8))
        patch.setitem(STEREO_SIZES, "S", TINY_STEREO)
        patch.setattr(space_sources, "image_networks", tiny_image_networks)
        yield


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    (root / "kodak").mkdir(parents=True)
    for number in range(2):
        Image(scene(48, 64, number)).save(root / "kodak" / f"{number}.png")
    (root / "polyu").mkdir()
    for kind in ("mean", "real"):
        Image(scene(32, 32)).save(root / "polyu" / f"a_{kind}.png")
    camvid_tree(root / "camvid")
    scaled_pair(root / "middlebury" / "a", 48, 64)
    return root


@pytest.fixture(scope="module")
def runs(_small: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """A folder for every part, filled with untrained networks."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("runs")
    space = SharedSpaceObjective()
    encoder, decoder = space.encoder.eval(), space.decoder.eval()
    start_passing(encoder, decoder)
    networks = lambda: (encoder, decoder)  # noqa: E731
    folders = {part: root / part for part in space_sources.RUN_PARTS}
    for folder in folders.values():
        (folder / "weights").mkdir(parents=True)
    publish_shared_space(space, _nothing(), folders["space"] / "weights")
    publish_raw_encoder(RawSpaceObjective(networks), _nothing(), folders["raw"] / "weights")
    latent = base_networks(tiny_image_networks(), encoder)
    arrays = {name: array for name, array in latent.arrays.items() if name.startswith("analysis.")}
    write_arrays(folders["latent"] / "weights" / "latent.safetensors", arrays)
    for suffix, given in (("", networks), ("-pixels", None)):
        denoise, segment = DenoiseObjective(given), SegmentObjective(given)
        publish_denoise(denoise.requires_grad_(False), _pictures(), folders[f"denoise{suffix}"] / "weights")
        publish_segment(segment.requires_grad_(False), _labelled(), folders[f"segment{suffix}"] / "weights")
        stereo = StereoObjective("S", given)
        publish_stereo(stereo.requires_grad_(False), _pairs(), folders[f"stereo{suffix}"] / "weights")
    return {part: (str(folder),) for part, folder in folders.items()}


def _nothing() -> Iterator[Tensor]:
    yield from ()


def _pictures() -> Iterator[Tensor]:
    while True:
        yield smooth_pictures(1, 16)


def _labelled() -> Iterator[Tensor]:
    while True:
        yield torch.cat([smooth_pictures(2, 64), torch.zeros(2, 1, 64, 64)], dim=1)


def _pairs() -> Iterator[Tensor]:
    while True:
        yield smooth_pictures(2, 64, channels=8)


def test_every_suite_runs_from_folders_of_runs(data: Path, runs: dict[str, tuple[str, ...]]) -> None:
    sources = SpaceSources(NOBODY, runs, dtype=torch.float32)
    names = tuple(name for name in SUITES if name not in ("costs", "similarity", "segment"))
    settings = NeuralSpaceSettings(sources, data, names, count=2, qualities=(50.0,))
    parts: list[BenchResult] = []
    result = measure(settings, finished=parts.append)
    states = {row[0]: row[1:] for row in result.table("suites").rows}
    assert {state for state, _ in states.values()} == {"measured"}, states
    assert len(parts) == len(names)
    assert BenchResult.from_json(result.to_json()) == result
    quality = result.table("reconstruction: reconstruction")
    assert quality.rows[-1][0] == "mean"
    assert float(quality.rows[-1][1]) > 45  # type: ignore[arg-type]  # networks that hand pictures through
    assert "DnCNN" in result.table("denoise: denoising").column("method")
    assert {"neural-space", "pixels"} <= set(result.table("stereo: means").column("method"))
    assert set(result.table("rates: task loss").column("task")) == {"denoise", "segment", "depth"}
    from_raw = result.table("raw: tasks")
    assert from_raw.column("task") == ("denoise", "segment", "depth")
    assert all(row[4] == pytest.approx(float(row[3]) - float(row[2])) for row in from_raw.rows)  # type: ignore[arg-type]
    assert "RAW encoder + decoder" in result.table("demosaicing: demosaicing").column("method")
    assert "--run space=RUN" in result.command
    assert "--only reconstruction" in result.command


def test_shifts_are_measured_beside_pixel_twins(
    data: Path, runs: dict[str, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from smalto.bench import similarity

    monkeypatch.setattr(similarity, "CORRUPTIONS", {"brightness": similarity.CORRUPTIONS["brightness"]})
    settings = NeuralSpaceSettings(SpaceSources(NOBODY, runs), data, ("similarity", "segment"), count=1)
    result = measure(settings)
    names = set(result.table("similarity: similarity").column("embedding"))
    assert {"pixels", "shared space", "DnCNN on pixels, first layer"} < names
    assert len([name for name in names if isinstance(name, str) and "on pixels" in name]) == 3
    assert set(result.table("segment: scores").column("method")) == {"neural space", "pixels"}


def test_what_is_missing_is_skipped_with_its_reason(data: Path, runs: dict[str, tuple[str, ...]]) -> None:
    few = SpaceSources(NOBODY, {"space": runs["space"]})
    settings = NeuralSpaceSettings(few, data, ("reconstruction", "raw", "segment", "rates"), count=1)
    states = {row[0]: row[1:] for row in measure(settings).table("suites").rows}
    assert states["reconstruction"][0] == "measured"
    assert "--run raw=FOLDER" in states["raw"][1]
    assert "--run segment=FOLDER" in states["segment"][1]
    assert "no codec of planes" in states["rates"][1]
    with pytest.raises(UsageError, match=r"nothing to measure: reconstruction: no data folder is named"):
        measure(NeuralSpaceSettings(few, None, ("reconstruction",)))
    with pytest.raises(UsageError, match="no system nobody-0 is installed"):
        measure(NeuralSpaceSettings(SpaceSources(NOBODY), data, ("reconstruction",)))


def test_costs_and_speed_need_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    from smalto.bench import space_costs
    from smalto.encoders.shared_cnn import SharedEncoder

    parts = (space_costs.CostPart("encoder", SharedEncoder, False),)
    monkeypatch.setattr(space_costs, "cost_parts", lambda: parts)
    settings = NeuralSpaceSettings(
        SpaceSources(NOBODY, dtype=torch.float32), None, ("costs",), True, None,
        rounds=1, quick=True, cost_sizes=((32, 48),), speed_side_px=16,
    )  # fmt: skip
    result = measure(settings)
    assert [table.name for table in result.tables] == [
        "suites", "costs: costs", "costs: shared encoding", "costs: orders", "costs: copies", "costs: break even",
        "speed: speed",
    ]  # fmt: skip
    assert "--only costs --speed --quick" in result.command


def test_stored_files_are_timed_where_there_is_a_codec(data: Path, runs: dict[str, tuple[str, ...]]) -> None:
    wanted = {part: runs[part] for part in ("space", "latent")}
    settings = NeuralSpaceSettings(SpaceSources(NOBODY, wanted, dtype=torch.float32), data, ("costs",))
    stored = neural_space._stored(settings, (32, 48))
    assert stored is not None
    assert stored[1].pixels.shape == (32, 48, 3)
    assert neural_space._stored(NeuralSpaceSettings(SpaceSources(NOBODY), data, ("costs",)), (32, 48)) is None


def test_installed_parts_are_opened(
    tmp_path: Path, runs: dict[str, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = {"licence": "CC0", "data": "none", "recipe": "none", "hardware": "none", "scores": {}, "limits": "all"}
    (tmp_path / "card.json").write_text(json.dumps(card))
    (tmp_path / "target").mkdir()
    folders = [runs[part][0] for part in ("space", "raw", "denoise", "segment", "stereo")]
    assert install([*folders, "--card", str(tmp_path / "card.json"), "--target", str(tmp_path / "target")]) == 0
    use_folder(monkeypatch, tmp_path / "target")
    sources = SpaceSources()
    assert sources.raw_encoder().channels_in == 1
    assert list(sources.denoisers()) == ["Denoiser installed"]
    assert len(sources.segmenters()) == 1
    assert [method.name for method in sources.stereo_methods()] == ["neural-space"]
    assert sources.pixel_denoiser() is None
    with pytest.raises(Absent, match="no codec of planes"):
        sources.codec_system()
    with pytest.raises(Absent, match="no run of part raw"):  # an installed part is of the installed space
        SpaceSources(runs={"space": runs["space"]}).raw_encoder()


def test_wrong_parts_are_refused(tmp_path: Path, runs: dict[str, tuple[str, ...]]) -> None:
    assert parse_runs([f"space={tmp_path}", f"stereo={tmp_path}", f"stereo={tmp_path}"]) == {
        "space": (str(tmp_path),),
        "stereo": (str(tmp_path), str(tmp_path)),
    }
    for text, message in (("space", "PART=FOLDER"), (f"space={tmp_path}/none", "no such folder")):
        with pytest.raises(UsageError, match=message):
            parse_runs([text])
    with pytest.raises(UsageError, match="no such part"):
        SpaceSources(NOBODY, {"smell": ("x",)})
    with pytest.raises(UsageError, match="there is one of it"):
        SpaceSources(NOBODY, {"space": ("a", "b")})
    swapped = SpaceSources(NOBODY, {**runs, "segment": runs["segment-pixels"], "denoise": runs["denoise-pixels"]})
    with pytest.raises(UsageError, match="other kind"):
        swapped.segmenters()
    with pytest.raises(UsageError, match="other kind"):
        swapped.denoisers()
    record = Path(runs["segment"][0]) / "weights" / "segment.json"
    of_another = json.loads(record.read_text()) | {"space": "0" * 16}
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "segment.json").write_text(json.dumps(of_another))
    with pytest.raises(UsageError, match="was trained on decoder 0000000000000000"):
        SpaceSources(NOBODY, {**runs, "segment": (str(tmp_path),)}).segmenters()
    with pytest.raises(Absent, match="no run of part stereo"):
        SpaceSources(NOBODY, {"space": runs["space"]}).stereo_methods()
    with pytest.raises(UsageError, match="no such suite"):
        NeuralSpaceSettings(suites=("smell",))
