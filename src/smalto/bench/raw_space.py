"""Pictures and their mosaics in one space: ``python -m smalto.bench.raw_space --data FOLDER --space RUN --raw RUN``.

Source: Shared Neural Space paper, section 4.2, which shows it in one figure. Here in numbers: how far the planes of the
mosaic lie from those of the picture, beside planes of unrelated pictures, and how alike their two decodes are. With
``--captures`` and ``-o``, real captures are developed by ours and by the classical methods, to look at.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from smalto.bench.demosaicing import installed_peers, network_demosaicer
from smalto.bench.peers.demosaicing import PACKAGE, Demosaicer
from smalto.bench.results import BenchResult, Table, bench_result
from smalto.data.photographs import image_tensor, picture_files, read_image
from smalto.data.raw_mosaic import EXTENSIONS, Mosaic, display_mosaic, read_capture
from smalto.errors import UsageError
from smalto.layers.bayer import PATTERNS, mosaic_of, to_rggb
from smalto.layers.shared_planes import TOP_STRIDE, SharedPlanes
from smalto.measure.psnr import psnr_tensor
from smalto.train.release_raw_space import raw_encoder_of, space_networks
from smalto.types import Image

_COLUMNS = (
    "layout", "z_b_error", "z_t_error", "unrelated_z_b_error", "unrelated_z_t_error", "decodes_psnr_db",
    "raw_psnr_db", "rgb_psnr_db",
)  # fmt: skip


@dataclass(frozen=True)
class RawNetworks:
    """What is compared.

    Args:
        raw_encoder: (1, 1, H, W) RGGB to planes.
        encoder: (1, 3, H, W) to planes.
        decoder: planes to (1, 3, H, W).
    """

    raw_encoder: nn.Module
    encoder: nn.Module
    decoder: nn.Module


def bench_raw_space(
    folder: Path,
    networks: RawNetworks,
    layouts: Sequence[str] = PATTERNS,
    progress: Callable[[int, int, str], None] | None = None,
    count: int | None = None,
) -> BenchResult:
    """Compare planes and decodes of pictures and of their mosaics.

    Args:
        folder: of two pictures or more; each is cut to sides that are multiples of 4. Unrelated planes are those of
            the next picture, both cut to their common size.
        networks: of one space.
        layouts: CFA patterns.
        progress: called with (pictures done, pictures in all, the last one's name).
        count: pictures, evenly spread, at least two; None takes all.

    Returns:
        Table ``raw_space``, a row a layout, means over pictures.

    Raises:
        UsageError: the folder has fewer than two pictures.
    """
    files = picture_files(folder)
    if len(files) < 2:
        raise UsageError(f"{folder}: one picture has no unrelated one beside it; name a folder of two or more")
    if count is not None and count < len(files):
        num = max(count, 2)
        files = tuple(files[k * len(files) // num] for k in range(num))
    rows: dict[str, list[tuple[float, ...]]] = {layout: [] for layout in layouts}
    other = _encoded(networks, _picture(files[-1]))
    for number, path in enumerate(files):
        picture = _picture(path)
        own = _encoded(networks, picture)
        for layout in layouts:
            rows[layout].append(_compared(networks, picture, layout, own, other))
        other = own
        if progress is not None:
            progress(number + 1, len(files), path.name)
    means = tuple((layout, *(float(v) for v in np.mean(values, axis=0))) for layout, values in rows.items())
    note = (
        f"Means over {len(files)} pictures. Errors: root of the mean squared difference between planes of the mosaic "
        "and of the picture, by the deviation of the picture's planes around their channels' means; unrelated: the "
        "same between the mosaic and another picture. decodes_psnr_db: decoded mosaic against decoded picture; "
        "raw_psnr_db and rgb_psnr_db: either against the picture. In layouts other than RGGB the picture is padded as "
        "its mosaic is, so that cells lie over the same pixels."
    )
    command = f"python -m smalto.bench.raw_space --data {folder.name} --space RUN --raw RUN"
    return bench_result("raw-space", command, [Table("raw_space", _COLUMNS, means, note)], ("smalto", "torch"))


def develop(mosaic: Mosaic, method: Demosaicer) -> Image:
    """A capture as a picture: white balance, sRGB's tone curve, then demosaicing. No colour matrix.

    Args:
        mosaic: linear, as readers give it.
        method: of ``smalto.bench.demosaicing`` or its peers.
    """
    shown = display_mosaic(mosaic)
    answer = method(shown.values.astype(np.float64), shown.pattern)
    return Image((np.clip(answer, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8), source=mosaic.source)


def develop_captures(folder: Path, methods: Mapping[str, Demosaicer], target: Path) -> tuple[Path, ...]:
    """Every capture of a folder by every method, as ``NAME-METHOD.png`` in ``target``.

    Raises:
        UsageError: no captures in the folder.
        ImageError: a capture cannot be read.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in EXTENSIONS)
    if not files:
        raise UsageError(f"{folder}: no captures here; expected {', '.join(EXTENSIONS)}")
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for path in files:
        mosaic = read_capture(path)
        for name, method in methods.items():
            written.append(target / f"{path.stem}-{name}.png")
            develop(mosaic, method).save(written[-1])
    return tuple(written)


def raw_space_text(result: BenchResult) -> str:
    """The result as Markdown."""
    table = result.table("raw_space")
    return f"# Pictures and mosaics in one space\n\n{result.heading()}\n{table.to_markdown()}\n{table.note}\n"


def _picture(path: Path) -> Tensor:
    x = image_tensor(read_image(path))
    height, width = (side // TOP_STRIDE * TOP_STRIDE for side in x.shape[-2:])
    if min(height, width) == 0:
        raise UsageError(f"{path}: smaller than {TOP_STRIDE} x {TOP_STRIDE}; leave it out")
    return x[..., :height, :width]


@torch.no_grad()
def _encoded(networks: RawNetworks, picture: Tensor) -> SharedPlanes:
    return networks.encoder(picture)


@torch.no_grad()
def _compared(
    networks: RawNetworks, picture: Tensor, layout: str, own: SharedPlanes, other: SharedPlanes
) -> tuple[float, ...]:
    padded = to_rggb(mosaic_of(picture, layout), layout, TOP_STRIDE)
    planes = networks.raw_encoder(padded.values)
    answer = padded.cropped(networks.decoder(planes)).clamp(0, 1)
    if padded.offset != (0, 0):  # the planes' cells lie over other pixels than those of the picture itself
        whole = torch.cat([to_rggb(channel, layout, TOP_STRIDE).values for channel in picture.split(1, dim=1)], dim=1)
        own = networks.encoder(whole)
        decoded = padded.cropped(networks.decoder(own)).clamp(0, 1)
    else:
        decoded = networks.decoder(own).clamp(0, 1)
    errors = [_error(ours, theirs) for ours, theirs in zip(planes, own, strict=True)]
    errors += [_error(ours, theirs) for ours, theirs in zip(planes, other, strict=True)]
    pairs = ((answer, decoded), (answer, picture), (decoded, picture))
    return (*errors, *(float(psnr_tensor(one, two)) for one, two in pairs))


def _error(ours: Tensor, theirs: Tensor) -> float:
    height, width = min(ours.shape[-2], theirs.shape[-2]), min(ours.shape[-1], theirs.shape[-1])
    ours, theirs = ours[..., :height, :width], theirs[..., :height, :width]
    variance = (theirs - theirs.mean(dim=(0, 2, 3), keepdim=True)).square().mean()
    return float(((ours - theirs).square().mean() / variance.clamp_min(1e-12)).sqrt())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the table, and the pictures of captures."""
    parser = argparse.ArgumentParser(prog="python -m smalto.bench.raw_space", description="mosaics in the shared space")
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--space", required=True, help="neural-space run or system")
    parser.add_argument("--raw", required=True, help="neural-space-raw run")
    parser.add_argument("--captures", type=Path, default=None, help="folder of captures to develop")
    parser.add_argument("-o", "--output", type=Path, default=None, help="folder for their pictures")
    parser.add_argument("--json", type=Path, default=None, help="also write the numbers to this file")
    chosen = parser.parse_args(arguments)
    if (chosen.captures is None) != (chosen.output is None):
        raise UsageError("--captures and -o go together: where captures lie and where their pictures go")
    encoder, decoder = space_networks(chosen.space)
    raw_encoder = raw_encoder_of(chosen.raw, decoder)
    networks = RawNetworks(raw_encoder.eval(), encoder.eval(), decoder.eval())
    result = bench_raw_space(chosen.data, networks, progress=_say)
    if chosen.json is not None:
        result.save(chosen.json)
    sys.stdout.write(raw_space_text(result))
    if chosen.captures is not None:
        methods, missing = installed_peers()
        methods["ours"] = network_demosaicer(networks.raw_encoder, networks.decoder)
        for path in develop_captures(chosen.captures, methods, chosen.output):
            sys.stdout.write(f"{path}\n")
        if missing:
            sys.stderr.write(f"not shown: {', '.join(missing)} (pip install {PACKAGE})\n")


def _say(done: int, total: int, name: str) -> None:
    sys.stderr.write(f"{done}/{total} {name}\n")


if __name__ == "__main__":
    main()
