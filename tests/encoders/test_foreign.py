"""Features by layer name: what is taken, and that no hook stays behind."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from smalto.encoders.foreign import features_of, first_tensor, tapped
from smalto.errors import UsageError
from smalto.layers.squeezenet import SqueezeNet


@dataclass
class Answer:
    note: str
    states: list[Tensor]


class Odd(nn.Module):
    """Layers with outputs of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.inplace = nn.ReLU(inplace=True)
        self.recurrent = nn.LSTM(3, 4, batch_first=True)
        self.never = nn.Linear(3, 3)
        self.nothing = Nothing()
        self.wrong = Wrong()
        self.fail = False

    def forward(self, x: Tensor, *, twice: bool = False) -> Answer:
        x = self.inplace(self.linear(x))
        if twice:
            x = self.linear(x)
        y, _ = self.recurrent(x)
        self.nothing(x)
        if self.fail:
            self.wrong(x)
        return Answer("a note", [y, x])


class Nothing(nn.Module):
    def forward(self, x: Tensor) -> str:
        return "nothing"


class Wrong(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("wrong")


def num_hooks(module: nn.Module) -> int:
    return sum(len(inner._forward_hooks) for inner in module.modules())


def test_layers_by_name() -> None:
    torch.manual_seed(0)
    module, x = Odd(), torch.randn(2, 5, 3)
    expected = module.linear(x)
    found = features_of(module, ["", "linear", "recurrent"], x)
    assert list(found) == ["", "linear", "recurrent"]
    assert torch.equal(found["linear"], expected)  # before the ReLU that works in place
    assert found["recurrent"].shape == (2, 5, 4)
    assert torch.equal(found[""], found["recurrent"])
    assert not any(value.requires_grad for value in found.values())
    assert num_hooks(module) == 0


def test_a_layer_that_ran_twice_gives_two_features() -> None:
    found = features_of(Odd(), ["linear", "inplace"], {"x": torch.randn(1, 2, 3), "twice": True})
    assert list(found) == ["linear#1", "linear#2", "inplace"]
    assert list(features_of(Odd(), ["linear"], (torch.randn(1, 2, 3),))) == ["linear"]


def test_mode_is_put_back_and_hooks_go_on_errors() -> None:
    module, x = Odd(), torch.randn(1, 2, 3)
    module.recurrent.eval()
    module.fail = True
    with pytest.raises(ValueError, match="wrong"):
        features_of(module, ["linear", "wrong"], x)
    assert module.training
    assert not module.recurrent.training
    assert num_hooks(module) == 0
    module.fail = False
    with pytest.raises(UsageError, match="layer nothing: its output str holds no tensor"):
        features_of(module, ["nothing"], x)
    with pytest.raises(UsageError, match="layer never: it did not run"):
        features_of(module, ["linear", "never"], x)
    with pytest.raises(UsageError, match=r"Odd: no layer 'x\.linear'; it has linear"):
        features_of(module, ["linear", "x.linear"], x)
    with pytest.raises(UsageError, match="named twice"):
        features_of(module, ["linear", "linear"], x)
    assert num_hooks(module) == 0


def test_the_context_sees_every_call() -> None:
    module = Odd()
    with tapped(module, ["linear"]) as taps:
        assert num_hooks(module) == 1
        module(torch.randn(1, 2, 3))
        module(torch.randn(4, 2, 3))
    assert {name: len(value) for name, value in taps.features().items()} == {"linear#1": 1, "linear#2": 4}
    assert num_hooks(module) == 0


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch.ones(1), 1),
        ((None, [torch.full((1,), 2.0)], torch.ones(1)), 2),
        (OrderedDict(note="x", states=(torch.full((1,), 3.0),)), 3),
        (Answer("x", [torch.full((1,), 4.0)]), 4),
        (((), {}, "text", 3, Answer), None),
    ],
)
def test_the_first_tensor(value: Any, found: float | None) -> None:
    tensor = first_tensor(value)
    assert (None if tensor is None else float(tensor)) == found


def test_hooks_and_stages_agree() -> None:
    torch.manual_seed(0)
    network = SqueezeNet().eval()
    x = torch.randn(1, 3, 63, 63)
    assert torch.equal(features_of(network, ["fires.fire4"], x)["fires.fire4"], network.features(x, ["fire4"])["fire4"])
