"""Training data of the learned feature codecs: planes of transform indexes as grey pictures in one .tar.

::

    features of a model ─► transform, fitted on ten of them ─► indexes ─► planes ─► pieces of at most 512 x 512 ─► PNG

The transform is ``lloyd-max``; ``linear`` scales least..largest to 0..255 instead, for networks to compare with: the
paper's baseline. The .tar is what ``smalto train feature-hyperprior --data`` takes; it can be looked at, and travels to
other machines.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from smalto.codecs.feature_values import widened
from smalto.codecs.lloyd_max import LloydMax
from smalto.codecs.pack import guess_layout, pack_plane
from smalto.codecs.truncation import Truncation
from smalto.data.feature_array import FeatureArray
from smalto.errors import UsageError
from smalto.files import replacing
from smalto.systems.feature_codec import choose_samples

PIECE_PX = 512
LEAST_PX = 64
TRANSFORMS = ("lloyd-max", "linear")
_GROUP_VALUES = 1 << 20


@dataclass(frozen=True)
class PlaneSet:
    """What ``pack_planes`` wrote.

    Args:
        path: the .tar file.
        num_planes: pictures inside.
        num_bytes: size of the file.
        shares: model -> part of all values that are its own.
    """

    path: Path
    num_planes: int
    num_bytes: int
    shares: Mapping[str, float]


def pack_planes(
    models: Mapping[str, Sequence[FeatureArray]],
    path: str | Path,
    *,
    max_bytes: int = 60 << 20,
    transform: str = "lloyd-max",
) -> PlaneSet:
    """Write planes of several models' features, as many of each as fit, all models to about the same number of values.

    Args:
        models: name -> arrays; every array, or every row of an array of three and more axes, is a sample.
        path: the .tar to write, replaced atomically.
        max_bytes: largest size of the .tar.
        transform: how values become indexes, one of ``TRANSFORMS``.

    Raises:
        UsageError: no models, no such transform, or no plane of 64 x 64 among their features.
    """
    if not models:
        raise UsageError("feature planes: no models; name files of features")
    if transform not in TRANSFORMS:
        raise UsageError(f"feature planes: no transform is called {transform!r}; choose {', '.join(TRANSFORMS)}")
    sources = {name: _planes(arrays, transform) for name, arrays in models.items()}
    counts = dict.fromkeys(models, 0)
    num_planes, size = 0, 2 * tarfile.RECORDSIZE
    with replacing(path) as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        while sources:
            name = min(sources, key=lambda key: counts[key])
            plane = next(sources[name], None)
            if plane is None:
                del sources[name]
                continue
            content = _png(plane)
            size += 512 + -(-len(content) // 512) * 512
            if size > max_bytes:
                break
            member = tarfile.TarInfo(f"{name[:60]}-{num_planes:06d}.png")
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
            counts[name] += plane.size
            num_planes += 1
        if num_planes == 0:
            raise UsageError(f"{path}: none of the features give a plane of {LEAST_PX} x {LEAST_PX}; pass more of them")
    total = sum(counts.values())
    shares = {name: count / total for name, count in counts.items()}
    return PlaneSet(Path(path), num_planes, Path(path).stat().st_size, shares)


def _planes(arrays: Sequence[FeatureArray], transform: str) -> Iterator[np.ndarray]:
    """Pieces (<= 512, <= 512) uint8 of a model's planes; small samples of one shape share a plane."""
    fitted = choose_samples(arrays)
    forward = _fit(fitted, transform)
    for group in _groups(arrays, len(fitted[0].shape)):
        yield from _pieces(pack_plane(forward(group), guess_layout(group.shape[1:])))


def _fit(fitted: Sequence[FeatureArray], transform: str) -> Callable[[np.ndarray], np.ndarray]:
    """What turns a model's values into indexes 0..255 (uint8)."""
    dtype_name = fitted[0].dtype_name
    samples = [sample.whole() for sample in fitted]
    if transform == "lloyd-max":
        levels = LloydMax.fit(samples, dtype_name=dtype_name)
        return lambda values: levels.forward(values, dtype_name)
    cut = Truncation.fit([widened(sample, dtype_name) for sample in samples])
    return lambda values: cut.forward(widened(values, dtype_name)).astype(np.uint8)


def _groups(arrays: Sequence[FeatureArray], rank: int) -> Iterator[np.ndarray]:
    """Stacks (num, *sample) of at most 2^20 values, or of one sample."""
    waiting: list[np.ndarray] = []
    for array in arrays:
        stacks = array.groups(2 * _GROUP_VALUES) if len(array.shape) > rank else iter([array.whole()[None]])
        for stack in stacks:
            for sample in stack:
                if waiting and (
                    sample.shape != waiting[0].shape or (len(waiting) + 1) * sample.size > _GROUP_VALUES
                ):  # fmt: skip
                    yield np.stack(waiting)
                    waiting = []
                waiting.append(sample)
    if waiting:
        yield np.stack(waiting)


def _pieces(plane: np.ndarray) -> Iterator[np.ndarray]:
    """Pieces of a plane; a long narrow one is folded first, so that crops find room."""
    height, width = plane.shape
    if min(height, width) < 4 * LEAST_PX and plane.size >= LEAST_PX**2:
        side = max(int(plane.size**0.5) // LEAST_PX * LEAST_PX, LEAST_PX)
        plane = plane.reshape(-1)[: plane.size // side * side].reshape(-1, side)
    for top in range(0, plane.shape[0], PIECE_PX):
        for left in range(0, plane.shape[1], PIECE_PX):
            piece = plane[top : top + PIECE_PX, left : left + PIECE_PX]
            if min(piece.shape) >= LEAST_PX:
                yield piece


def _png(plane: np.ndarray) -> bytes:
    from PIL import Image as Pil

    buffer = BytesIO()
    Pil.fromarray(np.ascontiguousarray(plane)).save(buffer, "PNG")
    return buffer.getvalue()
