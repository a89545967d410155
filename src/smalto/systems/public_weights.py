"""Key maps: weights that others trained and published, as networks of this library.

HiFiC: state dicts of the widely used PyTorch reimplementation, J. Tan's ``high-fidelity-generative-compression``; its
``Model`` has the parts ``Encoder``, ``Generator`` and ``Hyperprior`` (keys ``Encoder.conv_block1.1.weight`` ...
``Hyperprior.hyperlatent_likelihood.a_3``). It differs from the configuration HIFIC here in padding (reflection above
and to the right of strided convolutions, reflection in the hyper-analysis), and its scale synthesis gives sigma itself.

CompressAI: ``ScaleHyperprior`` (bmshj2018-hyperprior) and ``MeanScaleHyperprior`` (mbt2018-mean), keys ``g_a.0.weight``
... ``entropy_bottleneck.matrices.0``, or ``entropy_bottleneck._matrix0`` in its published files.

Only numbers are read: load a checkpoint with ``torch.load(path, weights_only=True)`` first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from smalto.codecs.factorized import FactorizedPrior
from smalto.codecs.hific_hyperprior import HificHyperprior, HificHyperpriorConfig, HificSynthesis
from smalto.encoders.hific import HIFIC as HIFIC_ENCODER
from smalto.encoders.hific import Encoder
from smalto.errors import WeightsError
from smalto.heads.image import HIFIC as HIFIC_DECODER
from smalto.heads.image import Decoder
from smalto.layers.gdn import gdn_analysis, gdn_synthesis

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class PublicHific:
    """A HiFiC from public weights; ``freeze_hific`` and ``save_hific`` make a system of it."""

    encoder: Encoder
    hyperprior: HificHyperprior
    decoder: Decoder


@dataclass(frozen=True)
class PublicHyperprior:
    """A hyperprior codec from public weights.

    Args:
        encoder: pictures (B, 3, H, W) in [0, 1] -> y.
        decoder: y_hat -> pictures.
        hyper_analysis: y -> z.
        scale_synthesis: z_hat -> sigma, to be bounded by 0.11 from below.
        mean_path: z_hat -> mu; None where means are zero, and the hyper-analysis then takes |y|.
        prior: of z.
        medians: (C,) z is rounded around these.
    """

    encoder: nn.Module
    decoder: nn.Module
    hyper_analysis: nn.Module
    scale_synthesis: HificSynthesis
    mean_path: HificSynthesis | None
    prior: FactorizedPrior
    medians: Tensor


def _tensor(state: State, name: str) -> Tensor:
    if name not in state:
        raise WeightsError(f"public weights: no tensor is called {name!r}; pass the model's own state dict")
    return state[name].detach().float()


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        line = " ".join(str(error).split())
        raise WeightsError(
            f"public weights: {what} is of another shape ({line}); other layers than published"
        ) from error
    network.eval()


def _renamed(state: State, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Tensors ``ours.*`` from ``theirs.*`` for every layer and each of its parameters."""
    found = {}
    for ours, theirs in names.items():
        parameters = [key for key in state if key.startswith(theirs + ".") and "." not in key[len(theirs) + 1 :]]
        if not parameters:
            raise WeightsError(f"public weights: no layer is called {theirs!r}; pass the model's own state dict")
        for key in parameters:
            found[f"{ours}.{key[len(theirs) + 1 :]}"] = _tensor(state, key)
    return found


def hific_from_public(state: State) -> PublicHific:
    """HiFiC's networks from the reimplementation's state dict; sizes are read from the tensors.

    Pictures go in and come out in [0, 1] there, around zero here; the shift is absorbed by the first and last bias.
    The reimplementation rounds z around medians when it writes its own files; here z itself is rounded.

    Raises:
        WeightsError: a tensor is missing or has another shape.
    """
    return PublicHific(_hific_encoder(state), _hific_hyperprior(state), _hific_decoder(state))


def _hific_encoder(state: State) -> Encoder:
    widths = tuple(len(_tensor(state, f"Encoder.conv_block{k}.1.bias")) for k in range(1, 6))
    latent_channels = len(_tensor(state, "Encoder.conv_block_out.1.bias"))
    encoder = Encoder(replace(HIFIC_ENCODER, widths=widths, latent_channels=latent_channels, down_pad=(0, 1, 1, 0)))
    names = {"stem": "Encoder.conv_block1.1", "stem_norm": "Encoder.conv_block1.2", "out": "Encoder.conv_block_out.1"}
    for k in range(1, 5):
        names[f"stages.{k}.0.conv"] = f"Encoder.conv_block{k + 1}.1"
        names[f"stages.{k}.0.norm"] = f"Encoder.conv_block{k + 1}.2"
    tensors = _renamed(state, names)
    tensors["stem.bias"] = tensors["stem.bias"] + 0.5 * tensors["stem.weight"].sum(dim=(1, 2, 3))
    _fill(encoder, tensors, "Encoder")
    return encoder


def _hific_decoder(state: State) -> Decoder:
    blocks = {key.split(".")[1] for key in state if key.startswith("Generator.resblock_")}
    head = _tensor(state, "Generator.conv_block_init.2.weight")
    widths = tuple(len(_tensor(state, f"Generator.upconv_block{k}.0.bias")) for k in range(1, 5))
    sizes = {"latent_channels": head.shape[1], "width": head.shape[0], "trunk_blocks": len(blocks), "widths": widths}
    decoder = Decoder(replace(HIFIC_DECODER, **sizes))
    names = {
        "in_norm": "Generator.conv_block_init.0",
        "head": "Generator.conv_block_init.2",
        "head_norm": "Generator.conv_block_init.3",
        "out": "Generator.conv_block_out.1",
    }
    for m in range(len(blocks)):
        for layer in ("conv1", "norm1", "conv2", "norm2"):
            names[f"trunk.{m}.{layer}"] = f"Generator.resblock_{m}.{layer}"
    for k in range(4):
        names[f"stages.{k}.0.conv"] = f"Generator.upconv_block{k + 1}.0"
        names[f"stages.{k}.0.norm"] = f"Generator.upconv_block{k + 1}.1"
    tensors = _renamed(state, names)
    tensors["out.bias"] = tensors["out.bias"] - 0.5
    _fill(decoder, tensors, "Generator")
    return decoder


def _hific_hyperprior(state: State) -> HificHyperprior:
    first = _tensor(state, "Hyperprior.analysis_net.conv1.weight")
    config = HificHyperpriorConfig(first.shape[1], first.shape[0], True, "sigma", True)
    hyperprior = HificHyperprior(config)
    names = {f"analysis.conv{k}": f"Hyperprior.analysis_net.conv{k}" for k in (1, 2, 3)}
    for ours, theirs in (("mean_path", "synthesis_mu"), ("scale_synthesis", "synthesis_std")):
        for layer, public in (("up1", "conv1"), ("up2", "conv2"), ("out", "conv3")):
            names[f"{ours}.{layer}"] = f"Hyperprior.{theirs}.{public}"
    tensors = _renamed(state, names)
    for ours in ("mean_path", "scale_synthesis"):  # theirs is a transposed convolution of stride 1
        tensors[f"{ours}.out.weight"] = tensors[f"{ours}.out.weight"].flip(2, 3).transpose(0, 1)
    for k in range(4):
        for ours, public in (("matrices", "H"), ("biases", "b"), ("factors", "a")):
            tensors[f"prior.{ours}.{k}"] = _tensor(state, f"Hyperprior.hyperlatent_likelihood.{public}_{k}")
    _fill(hyperprior, tensors, "Hyperprior")
    return hyperprior


# -- CompressAI -------------------------------------------------------------------------------------------------------


def hyperprior_from_compressai(state: State) -> PublicHyperprior:
    """A scale or mean-scale hyperprior from CompressAI's state dict; which one is read from the tensors.

    Raises:
        WeightsError: a tensor is missing or has another shape.
    """
    filters, latent_channels = len(_tensor(state, "g_a.0.bias")), len(_tensor(state, "g_a.6.bias"))
    encoder, decoder = gdn_analysis(filters, latent_channels), gdn_synthesis(filters, latent_channels)
    numbers = {str(k): f"g_a.{k}" for k in range(7)}
    _fill(encoder, _renamed(state, numbers), "g_a")
    _fill(decoder, _renamed(state, {str(k): f"g_s.{k}" for k in range(7)}), "g_s")
    num_parameters = len(_tensor(state, "h_s.4.bias"))
    if num_parameters not in (latent_channels, 2 * latent_channels):
        raise WeightsError(
            f"public weights: h_s gives {num_parameters} channels for {latent_channels} of y; no hyperprior"
        )
    has_mean = num_parameters == 2 * latent_channels
    slope = 0.01 if has_mean else 0.0
    analysis = _compressai_analysis(state, slope)
    scale = _compressai_synthesis(state, slice(0, latent_channels), slope)
    mean = _compressai_synthesis(state, slice(latent_channels, None), slope) if has_mean else None
    prior = FactorizedPrior(len(_tensor(state, "h_a.4.bias")), filters=(3, 3, 3, 3))
    _fill(prior, _compressai_prior(state, len(prior.matrices)), "entropy_bottleneck")
    medians = _tensor(state, "entropy_bottleneck.quantiles")[:, 0, 1]
    return PublicHyperprior(encoder, decoder, analysis, scale, mean, prior, medians)


def _compressai_analysis(state: State, slope: float) -> nn.Sequential:
    weights = [_tensor(state, f"h_a.{k}.weight") for k in (0, 2, 4)]
    layers: list[nn.Module] = []
    for k, weight in enumerate(weights):
        if k:
            layers.append(nn.LeakyReLU(slope))
        side = weight.shape[2]
        layers.append(nn.Conv2d(weight.shape[1], weight.shape[0], side, stride=1 if k == 0 else 2, padding=side // 2))
    analysis = nn.Sequential(*layers)
    _fill(analysis, _renamed(state, {str(k): f"h_a.{k}" for k in (0, 2, 4)}), "h_a")
    return analysis


def _compressai_synthesis(state: State, rows: slice, slope: float) -> HificSynthesis:
    """The part of h_s that gives these channels; its lower layers are copied."""
    tensors = _renamed(state, {"up1": "h_s.0", "up2": "h_s.2", "out": "h_s.4"})
    for name in ("out.weight", "out.bias"):
        tensors[name] = tensors[name][rows]
    widths = (len(tensors["up1.weight"]), len(tensors["up1.bias"]), len(tensors["up2.bias"]), len(tensors["out.bias"]))
    synthesis = HificSynthesis(widths, slope)
    _fill(synthesis, tensors, "h_s")
    return synthesis


def _compressai_prior(state: State, num_layers: int) -> dict[str, Tensor]:
    tensors = {}
    for ours, old in (("matrices", "matrix"), ("biases", "bias"), ("factors", "factor")):
        for k in range(num_layers - (ours == "factors")):
            name = f"entropy_bottleneck.{ours}.{k}"
            tensors[f"{ours}.{k}"] = _tensor(state, name if name in state else f"entropy_bottleneck._{old}{k}")
    return tensors
