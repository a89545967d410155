"""A network cut at any stage gives, in two steps, what it gives in one."""

from __future__ import annotations

import pytest
import torch

from smalto.errors import UsageError, WeightsError
from smalto.layers.mobilefacenet import MobileFaceNet
from smalto.layers.resnet50 import ResNet50
from smalto.layers.squeezenet import SqueezeNet
from smalto.layers.stages import StagedNetwork, load_exactly

NETWORKS = [(SqueezeNet, 227), (MobileFaceNet, 112), (ResNet50, 64)]


@pytest.mark.parametrize(("kind", "side"), NETWORKS)
def test_head_goes_on_from_every_stage(kind: type[StagedNetwork], side: int) -> None:
    torch.manual_seed(0)
    network = kind().eval()
    x = torch.randn(1, 3, side, side)
    features = network.features(x, network.stage_names())
    assert tuple(features) == network.stage_names()
    with torch.inference_mode():
        answer = network(x)
        assert torch.equal(features[network.stage_names()[-1]], answer)
        for name in network.stage_names()[:: 1 if kind is SqueezeNet else 5]:
            assert torch.equal(network.head_from(name)(features[name]), answer)
    assert torch.equal(network.head_from(network.stage_names()[-1])(answer), answer)


def test_nothing_behind_the_last_stage_asked_for_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    network = SqueezeNet().eval()
    monkeypatch.setattr(network, "_classify", lambda x: pytest.fail("computed"))
    assert set(network.features(torch.randn(1, 3, 63, 63), ["fire4", "conv1"])) == {"fire4", "conv1"}


def test_an_unknown_stage_is_named() -> None:
    with pytest.raises(UsageError, match="SqueezeNet: no stage 'fire1'; it has conv1, pool1, fire2"):
        SqueezeNet().head_from("fire1")
    with pytest.raises(UsageError, match="no stage 'x'"):
        SqueezeNet().features(torch.zeros(1, 3, 63, 63), ["x"])


def test_weights_must_fit_exactly() -> None:
    network = MobileFaceNet()
    state = {name: value for name, value in network.state_dict().items() if "num_batches" not in name}
    load_exactly(network, state, "here")
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    for broken in (
        {name: value for name, value in state.items() if name != "conv3.bias"},
        state | {"conv4.bias": torch.zeros(1)},
        state | {"conv3.bias": torch.zeros(1)},
    ):
        with pytest.raises(WeightsError, match=r"here: not weights of MobileFaceNet: .*conv"):
            load_exactly(network, broken, "here")
