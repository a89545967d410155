"""What heads of the shared space must keep that answer with planes, classes or disparities."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smalto.heads.segment import class_ids
from smalto.layers.shared_planes import CHANNELS, FOLD, FOLDED_CHANNELS, TOP_STRIDE, SharedPlanes, folded, unfolded
from smalto.systems.engine import Engine
from smalto.testing.rules import check_reach, check_repeats, close, normal, number, require

_CELLS = (9, 11)  # of z_t: sides that are no multiples of anything
_LABEL_STRIDE = 8


def _planes(batch: int, rows: int, columns: int) -> SharedPlanes:
    """Random planes with z_t of this size."""
    return unfolded(normal(batch, FOLDED_CHANNELS, rows, columns))


def _rough(finite: bool) -> None:
    require(finite, "head: under bfloat16 the answer is not finite")


@torch.no_grad()
def check_planes_head(head: nn.Module) -> None:
    """Check a network that gives planes of the shared space for planes: a clean z_b, z_t as it was.

    Args:
        head: ``SharedPlanes`` -> ``SharedPlanes`` of any sides; ``halo_cells`` says how many cells of z_b one of its
            cells can see; windows that begin at multiples of ``align_cells`` of them meet as one.

    Raises:
        ConformanceError: a rule is broken.

    Example:
        >>> from smalto.heads.denoise import Denoiser
        >>> check_planes_head(Denoiser(num_blocks=1))
    """
    head = head.eval()
    halo, align = number(head, "halo_cells", 0, "head"), number(head, "align_cells", 1, "head")
    planes = _planes(2, *_CELLS)
    given = head(planes)
    require(isinstance(given, SharedPlanes), f"head: it answers with {type(given).__name__}, not SharedPlanes")
    require(torch.equal(given.z_t, planes.z_t), "head: z_t is changed; a head on z_b hands it on as it is")
    for rows, columns in ((1, 1), (1, 3), (3, 2), _CELLS):
        one = _planes(1, rows, columns)
        shape = tuple(head(one).z_b.shape)
        require(shape == tuple(one.z_b.shape), f"head: z_b of shape {tuple(one.z_b.shape)} came back as {shape}")
    check_repeats(lambda carrier: folded(head(unfolded(carrier))), folded(planes), "head")
    kept = planes.z_b.clone()
    head(planes)
    require(torch.equal(planes.z_b, kept), "head: it writes into its input")
    far = SharedPlanes(1000 * planes.z_b, 1000 * planes.z_t)
    require(bool(torch.isfinite(head(far).z_b).all()), "head: the answer to far too large planes is not finite")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _rough(bool(torch.isfinite(head(planes).z_b).all()))
    _check_windows(head, halo, align)


def _check_windows(head: nn.Module, halo: int, align: int) -> None:
    """Windows with the halo that a head states must meet as one, wherever they begin."""

    def on_detail(z_b: Tensor) -> Tensor:
        structure = torch.zeros(len(z_b), CHANNELS, -(-z_b.shape[2] // FOLD), -(-z_b.shape[3] // FOLD))
        return head(SharedPlanes(z_b, structure)).z_b

    unit = align * FOLD
    check_reach(
        on_detail, normal(1, CHANNELS, unit, -(-(2 * halo + 3) // unit) * unit), halo, (1, 1), "head: halo_cells"
    )
    aligned = -(-halo // align) * align
    strip = normal(1, CHANNELS, unit, 2 * aligned + 3 * unit)
    engine = Engine(torch.device("cpu"), torch.float32)
    pieces = engine.run(on_detail, strip, unit, halo, (1, 1), align)
    require(
        close(pieces, on_detail(strip)),
        f"head: in windows at multiples of align_cells {align}, with halo_cells {halo} around, it answers otherwise",
    )


@torch.no_grad()
def check_label_head(head: nn.Module, num_classes: int) -> None:
    """Check a network that gives class scores for planes of the shared space.

    Args:
        head: ``SharedPlanes`` of (B, 3, H, W) -> logits (B, num_classes, H / 8, W / 8), sides rounded up.
        num_classes: K, at most 256.

    Raises:
        ConformanceError: a rule is broken.
    """
    head = head.eval()
    planes = _planes(2, *_CELLS)
    height, width = (TOP_STRIDE * cells for cells in _CELLS)
    logits = check_repeats(lambda carrier: head(unfolded(carrier)), folded(planes), "head")
    shape = (2, num_classes, -(-height // _LABEL_STRIDE), -(-width // _LABEL_STRIDE))
    require(tuple(logits.shape) == shape, f"head: scores of shape {tuple(logits.shape)}, not {shape}")
    kept = planes.z_b.clone(), planes.z_t.clone()
    ids = class_ids(head(planes), height, width)
    require(torch.equal(planes.z_b, kept[0]) and torch.equal(planes.z_t, kept[1]), "head: it writes into its input")
    require(
        ids.shape == (2, height, width) and ids.dtype == torch.uint8 and int(ids.max()) < num_classes,
        f"head: class ids {ids.dtype} {tuple(ids.shape)} up to {int(ids.max())} for {num_classes} classes",
    )
    other = SharedPlanes(planes.z_b.flip(3), planes.z_t.flip(3))
    require(not torch.equal(head(other), logits), "head: other planes give the same scores")
    require(
        bool(torch.isfinite(head(_planes(1, 1, 1))).all()), "head: the scores of a picture of one cell are not finite"
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _rough(bool(torch.isfinite(head(planes)).all()))


@torch.no_grad()
def check_stereo_head(head: nn.Module) -> None:
    """Check a network that gives the disparity of the left of two views of the shared space.

    Args:
        head: ``SharedPlanes`` of the left and of the right view -> ``fine`` (B, 1, H, W) and ``coarse`` (B, 1, H / 4,
            W / 4), not negative; ``num_views`` is 2.

    Raises:
        ConformanceError: a rule is broken.
    """
    head = head.eval()
    views = number(head, "num_views", 1, "head")
    require(views == 2, f"head: num_views is {views}, not 2")
    pair = torch.cat([folded(_planes(2, *_CELLS)), folded(_planes(2, *_CELLS)).flip(0, 3)], dim=1)

    def on_pair(both: Tensor, part: int = 0) -> Tensor:
        left, right = (unfolded(view) for view in both.split(FOLDED_CHANNELS, dim=1))
        return head(left, right)[part]

    for part, stride in ((0, 1), (1, TOP_STRIDE)):
        disparity = check_repeats(lambda both, part=part: on_pair(both, part), pair, "head")
        shape = (2, 1, *(TOP_STRIDE * cells // stride for cells in _CELLS))
        require(tuple(disparity.shape) == shape, f"head: disparities of shape {tuple(disparity.shape)}, not {shape}")
        require(disparity.dtype == torch.float32, f"head: disparities are {disparity.dtype}, not float32")
        require(float(disparity.min()) >= 0, f"head: a disparity of {float(disparity.min())}; the least is 0")
    left, right = pair.split(FOLDED_CHANNELS, dim=1)
    require(
        not torch.equal(on_pair(torch.cat([left, right.flip(2)], dim=1)), on_pair(pair)), "head: it sees one view only"
    )
    same = on_pair(torch.cat([left, left], dim=1))
    require(bool((torch.isfinite(same) & (same >= 0)).all()), "head: two equal views give disparities that are none")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _rough(bool(torch.isfinite(on_pair(pair)).all()))
