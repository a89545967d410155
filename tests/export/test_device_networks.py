"""Which networks of a system devices can run, and what their tensors mean."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smalto.data.segmentation import CLASSES
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import UsageError
from smalto.export.device_networks import DeviceNetwork, chosen_networks, device_networks, system_networks
from smalto.heads.denoise import Denoiser, LightDenoiser
from smalto.heads.segment import Segmenter
from smalto.heads.shared_decoder import SharedDecoder
from smalto.heads.stereo import SIZES, StereoHead
from tests.tiny_models import tiny_system


@pytest.fixture(scope="module")
def networks() -> tuple[DeviceNetwork, ...]:
    heads = (SharedDecoder(), nn.Sequential(LightDenoiser(), SharedDecoder()), Segmenter("s", len(CLASSES)))
    return device_networks((SharedEncoder(), SharedEncoder(1), *heads, StereoHead(SIZES["S"])))


def test_every_part_of_the_shared_space_is_found_once(networks: tuple[DeviceNetwork, ...]) -> None:
    names = [network.name for network in networks]
    assert names == ["encoder", "raw-encoder", "decoder", "denoise", "segment", "stereo"]
    assert not any(network.module.training for network in networks)


def test_answers_have_the_shapes_that_ports_say(networks: tuple[DeviceNetwork, ...]) -> None:
    for network in networks:
        answers = network(*network.example(1, 66, 98))
        for port, answer in zip(network.outputs, answers, strict=True):
            assert tuple(answer.shape) == port.shape(1, 68, 100), (network.name, port.name)


def test_modules_answer_as_the_networks_do() -> None:
    head = Denoiser(num_blocks=1).eval()
    (network,) = device_networks([head])
    z_b, z_t = network.example(1, 16, 24)
    clean, same = network(z_b, z_t)
    assert torch.equal(clean, head.blocks(z_b))
    assert torch.equal(same, z_t)


def test_axes_are_named_in_pixels_of_the_picture(networks: tuple[DeviceNetwork, ...]) -> None:
    held = {network.name: network for network in networks}
    assert held["encoder"].inputs[0].axes == ("batch", 3, "height", "width")
    assert [port.axes[2] for port in held["encoder"].outputs] == ["height/2", "height/4"]
    assert held["segment"].outputs[0].axes == ("batch", 11, "height/8", "width/8")
    assert held["segment"].facts["classes"].split(", ") == list(CLASSES)
    assert held["stereo"].facts["max_disparity_px"] == "192"


def test_a_lite_system_has_an_encoder_a_decoder_and_its_head() -> None:
    networks = system_networks(tiny_system())
    assert [network.name for network in networks] == ["encoder", "decoder", "upscale"]
    assert {network.multiple for network in networks} == {16}
    upscale = networks[2]
    assert upscale.outputs[0].axes == ("batch", 3, "2*height", "2*width")
    (picture,) = upscale(*upscale.example(1, 32, 48))
    assert tuple(picture.shape) == (1, 3, 64, 96)


def test_a_part_that_a_system_lacks_is_one_line(networks: tuple[DeviceNetwork, ...]) -> None:
    assert [network.name for network in chosen_networks(networks, ["decoder", "encoder"], "x")] == [
        "decoder",
        "encoder",
    ]
    with pytest.raises(
        UsageError, match=r"^system tiny-0 has no 'segment' to export; it has encoder, decoder, upscale$"
    ):
        chosen_networks(system_networks(tiny_system()), ["segment"], "tiny-0")
    with pytest.raises(UsageError, match="has no network that can be exported"):
        chosen_networks(device_networks([nn.Identity()]), None, "empty")
