"""What a shared neural space keeps of pictures, and how its planes move with them.

``python -m smalto.bench.shared_space RUN --data DIR``: RUN is the folder that ``smalto train neural-space`` wrote, or a
weights file. Reconstruction is that of the decoded planes in 8 bits. Equivariance compares, for random affines f, the
transformed planes with the planes of the transformed picture, and what the transformed planes decode to with the
transformed picture, wherever both show the same content.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from smalto.bench.results import BenchResult, Table, bench_result
from smalto.data.photographs import image_tensor, picture_files, read_image
from smalto.errors import UsageError
from smalto.layers.shared_planes import SharedPlanes
from smalto.measure.psnr import psnr_db
from smalto.measure.reconstruction import masked_psnr_db
from smalto.measure.ssim import ssim
from smalto.systems.engine import Engine
from smalto.systems.shared_space import SharedSpace, open_shared_space
from smalto.train.checkpoint import load_run
from smalto.train.equivariance import AffineRange, comparable, warp
from smalto.train.release_shared_space import PART
from smalto.train.shared_space import SharedSpaceObjective, plane_errors
from smalto.types import Affine, Image, Latent

KINDS = {
    "rotation": AffineRange(180.0, (1.0, 1.0), 0.0),
    "scale": AffineRange(0.0, (0.75, 4 / 3), 0.0),
    "translation": AffineRange(0.0, (1.0, 1.0), 0.125),
    "all": AffineRange(180.0, (0.75, 4 / 3), 0.125),
}
_QUALITY = ("picture", "psnr_db", "ssim")
_MOVED = ("affines", "z_b_error", "z_t_error", "planes_psnr_db", "encoded_psnr_db")


@dataclass(frozen=True)
class SharedSpaceSettings:
    """What to measure.

    Args:
        folder: pictures.
        num_affines: of each kind, for each picture; 0 leaves equivariance out.
        count: pictures, evenly spread over the folder; None takes all.
        margin_px: what is nearer to the frame, before or after an affine, is not compared.
        seed: of the affines.
    """

    folder: Path
    num_affines: int = 1
    count: int | None = None
    margin_px: float = 16.0
    seed: int = 0


class Moved(NamedTuple):
    """How one picture's planes moved by one affine.

    Args:
        z_b_error: root mean squared difference by the plane's deviation; 0 is equal.
        z_t_error: likewise.
        planes_psnr_db: the decoded transformed planes against the transformed picture.
        encoded_psnr_db: the transformed picture, encoded and decoded, against itself: what the space allows.
    """

    z_b_error: float
    z_t_error: float
    planes_psnr_db: float
    encoded_psnr_db: float


def bench_shared_space(
    space: SharedSpace, settings: SharedSpaceSettings, progress: Callable[[int, int, str], None] | None = None
) -> BenchResult:
    """Measure a folder of pictures.

    Args:
        space: encoder and decoder.
        settings: pictures and affines.
        progress: called with (pictures done, pictures in all, the last one's name).

    Raises:
        UsageError: the folder has no pictures.
    """
    files = picture_files(settings.folder)
    files = files[:: max(len(files) // (settings.count or len(files)), 1)][: settings.count]
    quality: list[tuple[str, float, float]] = []
    moved: dict[str, list[Moved]] = {kind: [] for kind in KINDS} if settings.num_affines else {}
    for number, path in enumerate(files):
        picture = read_image(path)
        latent = space.encode_planes(picture)
        quality.append((path.name, *_quality(space.decode_planes(latent), picture)))
        generator = torch.Generator().manual_seed(settings.seed + number)
        for kind, rows in moved.items():
            for affine in KINDS[kind].draw(settings.num_affines, (picture.height, picture.width), generator):
                rows.append(measure_moved(space, picture, latent, affine, settings.margin_px))
        if progress is not None:
            progress(number + 1, len(files), path.name)
    command = f"python -m smalto.bench.shared_space RUN --data {settings.folder.name} --affines {settings.num_affines}"
    tables = [_quality_table(quality)] + ([_moved_table(moved, settings)] if moved else [])
    return bench_result("shared-space", command, tables, ("smalto", "torch", "numpy", "pillow"))


@torch.no_grad()
def measure_moved(space: SharedSpace, picture: Image, latent: Latent, affine: Affine, margin_px: float) -> Moved:
    """Compare transformed planes with the planes of the transformed picture, and their pictures.

    Args:
        space: encoder and decoder.
        picture: any size.
        latent: its planes.
        affine: the transform.
        margin_px: what is nearer to the frame is not compared.
    """
    size_px = (picture.height, picture.width)
    target = warp(image_tensor(picture), [affine], 1, size_px).clamp(0, 1)  # (1, 3, H, W)
    mask = comparable([affine], size_px, 1, size_px, margin_px)
    encoded = space.encode_planes(_float_image(target))
    turned = latent.transform(affine)
    z_b, z_t = plane_errors(_planes(turned), _planes(encoded), [affine], size_px, margin_px)
    of_planes, of_encoded = (
        float(masked_psnr_db(image_tensor(space.decode_planes(one)), target, mask)) for one in (turned, encoded)
    )
    return Moved(float(z_b.root), float(z_t.root), of_planes, of_encoded)


def shared_space_text(result: BenchResult) -> str:
    """The result as Markdown."""
    tables = "\n".join(f"{table.to_markdown()}\n{table.note}\n" for table in result.tables)
    return f"# Shared neural space\n\n{result.heading()}\n{tables}"


def open_run(run: Path, device: str = "cpu", dtype: torch.dtype | None = None) -> SharedSpace:
    """The space that a run left: a weights file, a run's published weights, or those of its checkpoint.

    Raises:
        TrainingError, WeightsError: there is neither, or it is of other networks.
    """
    published = run / "weights" / f"{PART}.safetensors"
    for path in (run, published):
        if path.is_file():
            return open_shared_space(path, device, dtype)
    objective = SharedSpaceObjective()
    load_run(run, objective)
    return SharedSpace(objective.encoder, objective.decoder, Engine.on(device, dtype))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure a run and write its tables."""
    parser = argparse.ArgumentParser(prog="python -m smalto.bench.shared_space", description="shared neural space")
    parser.add_argument("run", type=Path, help="folder of a run, or a weights file")
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--affines", type=int, default=1, help="of each kind, for each picture")
    parser.add_argument("--count", type=int, default=None, help="pictures, evenly spread over the folder")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default=None)
    parser.add_argument("--json", type=Path, default=None, help="also write the numbers to this file")
    chosen = parser.parse_args(arguments)
    space = open_run(chosen.run, dtype=None if chosen.dtype is None else getattr(torch, chosen.dtype))
    if chosen.affines < 0 or (chosen.count is not None and chosen.count < 1):
        raise UsageError("--affines must be 0 or more, --count 1 or more")
    result = bench_shared_space(space, SharedSpaceSettings(chosen.data, chosen.affines, chosen.count), _say)
    if chosen.json is not None:
        result.save(chosen.json)
    sys.stdout.write(shared_space_text(result))


def _say(done: int, total: int, name: str) -> None:
    sys.stderr.write(f"{done}/{total} {name}\n")


def _quality(decoded: Image, picture: Image) -> tuple[float, float]:
    target = image_tensor(picture)
    levels = np.asarray(picture.to_pil().convert("RGB"))
    return min(psnr_db(decoded.pixels, levels), 100.0), float(ssim(image_tensor(decoded), target).mean())


def _float_image(x: Tensor) -> Image:
    return Image(x[0].permute(1, 2, 0).contiguous().numpy())


def _planes(latent: Latent) -> SharedPlanes:
    return SharedPlanes(latent.planes["z_b"].cpu(), latent.planes["z_t"].cpu())


def _quality_table(rows: Sequence[tuple[str, float, float]]) -> Table:
    means = (float(np.mean([row[1] for row in rows])), float(np.mean([row[2] for row in rows])))
    note = "Decoded planes, 8 bits, against the picture; the last row is the mean of the pictures' values."
    return Table("reconstruction", _QUALITY, (*rows, ("mean", *means)), note)


def _moved_table(moved: dict[str, list[Moved]], settings: SharedSpaceSettings) -> Table:
    def rows() -> Iterator[tuple[str, float, float, float, float]]:
        for kind, values in moved.items():
            z_b, z_t, planes, encoded = (float(v) for v in np.nanmean(np.array(values, np.float64), axis=0))
            yield kind, z_b, z_t, planes, encoded

    number = len(next(iter(moved.values())))
    note = (
        f"Means over {number} random affines of each kind (rotation to 180 degrees, scale 0.75 to 1.33, shift to an "
        f"eighth of the shorter side), {settings.margin_px:g} px from the frame left out. Errors are roots of mean "
        f"squared differences by the planes' deviation; 1.4 is that of unrelated planes."
    )
    return Table("equivariance", _MOVED, tuple(rows()), note)


if __name__ == "__main__":
    main()
