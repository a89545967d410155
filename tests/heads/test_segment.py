"""PIDNet in three sizes, on planes and on pixels: published counts, shapes, training steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from smalto.errors import UsageError
from smalto.heads.segment import SIZES as ALL
from smalto.heads.segment import PixelSegmenter, Segmenter, SegmenterConfig, Size, class_ids, enlarged
from smalto.layers.shared_planes import SharedPlanes
from tests.tiny_models import num_parameters


def _planes(num: int, height: int, width: int, device: str = "cpu") -> SharedPlanes:
    z_b = torch.empty(num, 64, height // 2, width // 2, device=device)
    z_t = torch.empty(num, 64, height // 4, width // 4, device=device)
    return SharedPlanes(z_b, z_t) if device == "meta" else SharedPlanes(z_b.normal_(), z_t.normal_())


def _printed_gmacs(network: nn.Module, given: object) -> float:
    """Multiply-adds as the counting tool of the printed figures has them: 4 a value for BatchNorm, pools included."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            rows, columns = module.kernel_size
            total += output.numel() * module.in_channels // module.groups * rows * columns
        elif isinstance(module, nn.BatchNorm2d):
            total += 4 * inputs[0].numel()
        elif isinstance(module, nn.AvgPool2d):
            total += output.numel()
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            total += output.numel() * (inputs[0].shape[2] * inputs[0].shape[3] + 1)

    for module in network.modules():
        module.register_forward_hook(count)
    network(given)
    return total / 1e9


@pytest.mark.parametrize(
    ("size", "on_pixels", "on_planes"),
    [("s", 7_625_715, 7_626_867), ("m", 28_538_515, 28_536_595), ("l", 36_939_571, 36_937_651)],
)
def test_parameters(size: Size, on_pixels: int, on_planes: int) -> None:
    with torch.device("meta"):
        assert num_parameters(PixelSegmenter(size)) == on_pixels
        assert num_parameters(Segmenter(size)) == on_planes


@pytest.mark.parametrize(
    ("height", "width", "on_pixels", "on_planes"), [(720, 1280, 121.851, 121.394), (1080, 1920, 273.655, 272.627)]
)
def test_size_l_costs_what_is_printed(height: int, width: int, on_pixels: float, on_planes: float) -> None:
    with torch.device("meta"):
        pixels, planes = PixelSegmenter("l").eval(), Segmenter("l").eval()
    x = torch.empty(1, 3, height, width, device="meta")
    assert round(_printed_gmacs(pixels, x), 3) == on_pixels
    assert round(_printed_gmacs(planes, _planes(1, height, width, "meta")), 3) == on_planes


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every size with few channels; the shape of the networks stays."""
    monkeypatch.setitem(ALL, "s", SegmenterConfig(8, 2, 3, 6, 8))
    monkeypatch.setitem(ALL, "l", SegmenterConfig(8, 3, 4, 6, 8, is_large=True))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("size", ["s", "l"])
@pytest.mark.parametrize("is_on_pixels", [True, False])
def test_a_step_lowers_the_loss_and_reaches_every_weight(size: Size, is_on_pixels: bool) -> None:
    torch.manual_seed(0)
    network = (PixelSegmenter if is_on_pixels else Segmenter)(size, 4, augmented=True)
    given = torch.rand(2, 3, 136, 72) if is_on_pixels else _planes(2, 136, 72)
    truth = torch.randint(0, 4, (2, 17, 9))
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    losses: list[float] = []
    for _ in range(6):
        scores = network.scores(given)  # type: ignore[arg-type]
        assert scores.classes.shape == scores.detail.shape == (2, 4, 17, 9)
        assert scores.boundary.shape == (2, 1, 17, 9)
        loss = nn.functional.cross_entropy(scores.classes, truth)
        total = loss + nn.functional.cross_entropy(scores.detail, truth) + scores.boundary.square().mean()
        optimiser.zero_grad()
        total.backward()
        assert all(p.grad is not None for p in network.parameters())
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.usefixtures("narrow")
def test_structure_is_unused_and_sides_are_any_multiple_of_four() -> None:
    torch.manual_seed(0)
    network = Segmenter("s", 5).eval().requires_grad_(False)
    planes = _planes(1, 68, 100)
    logits = network(planes)
    assert logits.shape == (1, 5, 9, 13)
    assert torch.equal(network(SharedPlanes(planes.z_b, planes.z_t + 1)), logits)
    assert enlarged(logits, 67, 99).shape == (1, 5, 67, 99)


@pytest.mark.usefixtures("narrow")
def test_training_heads_are_absent_unless_asked_for() -> None:
    planes = _planes(2, 64, 64)
    with pytest.raises(UsageError, match="without its training heads"):
        Segmenter("s", 5).scores(planes)
    shipped = set(Segmenter("s", 5).state_dict())
    extra = set(Segmenter("s", 5, augmented=True).state_dict()) - shipped
    assert extra
    assert all(name.startswith(("network.detail_out.", "network.boundary_out.")) for name in extra)


def test_class_ids_stand_where_their_logits_do() -> None:
    logits = torch.zeros(1, 3, 2, 4)
    logits[0, 1, :, :2] = 5.0
    logits[0, 2, :, 2:] = 5.0
    ids = class_ids(logits, 15, 31)
    assert ids.shape == (1, 15, 31)
    assert ids.dtype == torch.uint8
    assert bool((ids[0, :, :15] == 1).all())
    assert bool((ids[0, :, 17:] == 2).all())
