"""Key maps: equal outputs for equal random weights, against independent networks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from smalto.bench.peers.compressai_library import import_compressai
from smalto.codecs.hific_hyperprior import freeze_hific
from smalto.errors import MissingExtra, WeightsError
from smalto.systems.hific import HificNetworks, hific_system
from smalto.systems.public_weights import hific_from_public, hyperprior_from_compressai
from smalto.testing import check_encoder, check_head
from tests.tiny_models import scene

State = dict[str, Tensor]
M, N, BLOCKS = 5, 7, 3
WIDTHS = (4, 6, 8, 10, 12)


def _close(found: Tensor, expected: Tensor) -> None:
    span = float(expected.detach().abs().max())
    torch.testing.assert_close(found, expected, atol=3e-5 * span, rtol=0)


# -- HiFiC, written down from the reimplementation's layers with plain functions --------------------------------------


def _random_state() -> State:
    """Every tensor of the public model's layers under its public name, at small widths."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float = 0.2) -> Tensor:
        return scale * torch.randn(*shape, generator=generator)

    state: State = {}

    def conv(name: str, a: int, b: int, k: int, transposed: bool = False) -> None:
        state[f"{name}.weight"] = normal(a, b, k, k) if transposed else normal(b, a, k, k)
        state[f"{name}.bias"] = normal(b)

    def norm(name: str, channels: int) -> None:
        state[f"{name}.gamma"] = 1 + normal(1, channels, 1, 1)
        state[f"{name}.beta"] = normal(1, channels, 1, 1)

    conv("Encoder.conv_block1.1", 3, WIDTHS[0], 7)
    norm("Encoder.conv_block1.2", WIDTHS[0])
    for k in range(1, 5):
        conv(f"Encoder.conv_block{k + 1}.1", WIDTHS[k - 1], WIDTHS[k], 3)
        norm(f"Encoder.conv_block{k + 1}.2", WIDTHS[k])
    conv("Encoder.conv_block_out.1", WIDTHS[4], M, 3)
    norm("Generator.conv_block_init.0", M)
    conv("Generator.conv_block_init.2", M, WIDTHS[4], 3)
    norm("Generator.conv_block_init.3", WIDTHS[4])
    for m in range(BLOCKS):
        for k in (1, 2):
            conv(f"Generator.resblock_{m}.conv{k}", WIDTHS[4], WIDTHS[4], 3)
            norm(f"Generator.resblock_{m}.norm{k}", WIDTHS[4])
    for k in range(4):
        conv(f"Generator.upconv_block{k + 1}.0", WIDTHS[4 - k], WIDTHS[3 - k], 3, transposed=True)
        norm(f"Generator.upconv_block{k + 1}.1", WIDTHS[3 - k])
    conv("Generator.conv_block_out.1", WIDTHS[0], 3, 7)
    for k, (a, b, side) in enumerate(((M, N, 3), (N, N, 5), (N, N, 5))):
        conv(f"Hyperprior.analysis_net.conv{k + 1}", a, b, side)
    for name in ("synthesis_mu", "synthesis_std"):
        for k, (a, b, side) in enumerate(((N, N, 5), (N, N, 5), (N, M, 3))):
            conv(f"Hyperprior.{name}.conv{k + 1}", a, b, side, transposed=True)
    sizes = (1, 3, 3, 3, 1)
    for k in range(4):
        state[f"Hyperprior.hyperlatent_likelihood.H_{k}"] = normal(N, sizes[k + 1], sizes[k], scale=0.5)
        state[f"Hyperprior.hyperlatent_likelihood.a_{k}"] = normal(N, sizes[k + 1], 1, scale=0.5)
        state[f"Hyperprior.hyperlatent_likelihood.b_{k}"] = normal(N, sizes[k + 1], 1, scale=0.5)
    state["Discriminator.conv1.weight"] = normal(2, 2)  # other parts of a checkpoint are passed over
    return state


def _conv(s: State, name: str, x: Tensor, pad: tuple[int, int, int, int] | None = None, stride: int = 1) -> Tensor:
    x = x if pad is None else F.pad(x, pad, mode="reflect")
    return F.conv2d(x, s[f"{name}.weight"], s[f"{name}.bias"], stride=stride)


def _norm(s: State, name: str, x: Tensor) -> Tensor:
    mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True)
    return s[f"{name}.gamma"] * (x - mean) / (variance + 1e-3).sqrt() + s[f"{name}.beta"]


def _encode(s: State, x: Tensor) -> Tensor:
    x = _norm(s, "Encoder.conv_block1.2", _conv(s, "Encoder.conv_block1.1", x, (3, 3, 3, 3))).relu()
    for k in range(2, 6):
        name = f"Encoder.conv_block{k}"
        x = _norm(s, f"{name}.2", _conv(s, f"{name}.1", x, (0, 1, 1, 0), 2)).relu()
    return _conv(s, "Encoder.conv_block_out.1", x, (1, 1, 1, 1))


def _generate(s: State, y: Tensor) -> Tensor:
    g, around = "Generator.", (1, 1, 1, 1)
    head = _norm(
        s, f"{g}conv_block_init.3", _conv(s, f"{g}conv_block_init.2", _norm(s, f"{g}conv_block_init.0", y), around)
    )
    x = head
    for m in range(BLOCKS):
        block = f"{g}resblock_{m}"
        inner = _norm(s, f"{block}.norm1", _conv(s, f"{block}.conv1", x, around)).relu()
        x = x + _norm(s, f"{block}.norm2", _conv(s, f"{block}.conv2", inner, around))
    x = x + head
    for k in range(1, 5):
        name = f"{g}upconv_block{k}"
        x = F.conv_transpose2d(x, s[f"{name}.0.weight"], s[f"{name}.0.bias"], stride=2, padding=1, output_padding=1)
        x = _norm(s, f"{name}.1", x).relu()
    return _conv(s, f"{g}conv_block_out.1", x, (3, 3, 3, 3))


def _hyper_analysis(s: State, y: Tensor) -> Tensor:
    name = "Hyperprior.analysis_net.conv"
    z = F.conv2d(y, s[f"{name}1.weight"], s[f"{name}1.bias"], padding=1).relu()
    z = _conv(s, f"{name}2", z, (2, 2, 2, 2), 2).relu()
    return _conv(s, f"{name}3", z, (2, 2, 2, 2), 2)


def _hyper_synthesis(s: State, part: str, z: Tensor) -> Tensor:
    def up(k: int, x: Tensor) -> Tensor:
        weight, bias = s[f"Hyperprior.{part}.conv{k}.weight"], s[f"Hyperprior.{part}.conv{k}.bias"]
        if k == 3:
            return F.conv_transpose2d(x, weight, bias, padding=1)
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=2, output_padding=1)

    return up(3, up(2, up(1, z).relu()).relu())


def _likelihood(s: State, z: Tensor) -> Tensor:
    def cumulative(x: Tensor) -> Tensor:
        for k in range(4):
            name = "Hyperprior.hyperlatent_likelihood."
            x = F.softplus(s[f"{name}H_{k}"]) @ x + s[f"{name}b_{k}"]
            x = x + torch.tanh(s[f"{name}a_{k}"]) * torch.tanh(x)
        return torch.sigmoid(x)

    flat = z[0].reshape(N, 1, -1).double()
    s = {key: value.double() for key, value in s.items()}
    return (cumulative(flat + 0.5) - cumulative(flat - 0.5)).reshape(z.shape).clamp_min(1e-9)


@torch.no_grad()
def test_hific_gives_equal_outputs() -> None:
    state = _random_state()
    model = hific_from_public(state)
    x = torch.rand(1, 3, 128, 192, generator=torch.Generator().manual_seed(1))
    y = _encode(state, x)
    _close(model.encoder(x), y)
    y_hat = y + 0.1 * torch.randn_like(y)
    _close(model.decoder(y_hat), _generate(state, y_hat))
    z = _hyper_analysis(state, y)
    _close(model.hyperprior.analysis(y), z)
    z_hat = torch.floor(4 * z + 0.5)
    _close(model.hyperprior.mean_path(z_hat), _hyper_synthesis(state, "synthesis_mu", z_hat))
    sigma = _hyper_synthesis(state, "synthesis_std", z_hat).clamp_min(0.11)
    assert 0.05 < float((sigma > 0.11).float().mean()) < 0.95
    _close(model.hyperprior.sigma(z_hat), sigma)
    torch.testing.assert_close(
        model.hyperprior.prior.probability(z_hat).double(), _likelihood(state, z_hat), atol=1e-6, rtol=1e-3
    )


@torch.no_grad()
def test_hific_from_public_weights_writes_and_reads_files() -> None:
    from smalto.systems.engine import Engine

    model = hific_from_public(_random_state())
    y = model.encoder(torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)))
    z = torch.floor(model.hyperprior.analysis(y) + 0.5)
    networks = HificNetworks(model.encoder, freeze_hific(model.hyperprior, z), model.decoder)
    system = hific_system(networks, Engine(torch.device("cpu"), torch.float32))
    data = system.encode(scene(70, 90)).to_bytes()
    assert system.run("reconstruct", data).pixels.shape == (70, 90, 3)
    check_encoder(model.encoder)
    check_head(model.decoder, M)


def test_incomplete_or_foreign_state_dicts_are_refused_by_name() -> None:
    state = _random_state()
    for name in (
        "Encoder.conv_block3.1.weight",
        "Generator.upconv_block2.1.beta",
        "Hyperprior.hyperlatent_likelihood.a_3",
    ):
        short = {key: value for key, value in state.items() if key != name}
        with pytest.raises(WeightsError, match="public weights"):
            hific_from_public(short)
    with pytest.raises(WeightsError, match=r"no tensor is called 'g_a\.0\.bias'"):
        hyperprior_from_compressai(state)
    wrong = {**state, "Encoder.conv_block2.1.weight": torch.zeros(1, 1, 3, 3)}
    with pytest.raises(WeightsError, match="another shape"):
        hific_from_public(wrong)


# -- CompressAI -------------------------------------------------------------------------------------------------------


def _compressai(name: str) -> torch.nn.Module:
    try:
        models = import_compressai("compressai.models")
    except MissingExtra as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    model = getattr(models, name)(6, 9).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for layer in (model.h_a[4], model.h_s[4]):
            layer.weight.mul_(8)
        model.entropy_bottleneck.quantiles[:, 0, 1] = torch.randn(6)
    return model


def _old_names(state: State) -> State:
    """The names of CompressAI's published files."""
    singular = {"matrices": "_matrix", "biases": "_bias", "factors": "_factor"}
    renamed = {}
    for key, value in state.items():
        for plural, old in singular.items():
            key = key.replace(f"entropy_bottleneck.{plural}.", f"entropy_bottleneck.{old}")
        renamed[key] = value
    return renamed


@pytest.mark.parametrize("names", [dict, _old_names], ids=["current", "published"])
@pytest.mark.parametrize("name", ["ScaleHyperprior", "MeanScaleHyperprior"])
@torch.no_grad()
def test_compressai_gives_equal_outputs(name: str, names: Callable[[State], State]) -> None:
    theirs = _compressai(name)
    ours = hyperprior_from_compressai(names(theirs.state_dict()))
    x = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(1))
    y = theirs.g_a(x)  # type: ignore[operator]
    _close(ours.encoder(x), y)
    zero_mean = name == "ScaleHyperprior"
    assert (ours.mean_path is None) == zero_mean
    z = theirs.h_a(y.abs() if zero_mean else y)  # type: ignore[operator]
    _close(ours.hyper_analysis(y.abs() if zero_mean else y), z)
    z_hat, likelihood = theirs.entropy_bottleneck(z)  # type: ignore[operator]
    medians = ours.medians[None, :, None, None]
    _close(torch.round(z - medians) + medians, z_hat)
    torch.testing.assert_close(ours.prior.probability(z_hat), likelihood, atol=1e-6, rtol=1e-4)
    parameters = theirs.h_s(z_hat)  # type: ignore[operator]
    scales, means = (parameters, torch.zeros_like(y)) if zero_mean else parameters.chunk(2, 1)
    sigma = scales.clamp_min(0.11)
    assert float((sigma > 0.11).float().mean()) > 0.05
    _close(ours.scale_synthesis(z_hat).clamp_min(0.11), sigma)
    if ours.mean_path is not None:
        _close(ours.mean_path(z_hat), means)
    y_hat = torch.round(y - means) + means
    _close(ours.decoder(y_hat), theirs.g_s(y_hat))  # type: ignore[operator]
