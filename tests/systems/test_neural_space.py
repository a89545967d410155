"""The neural-space system with untrained networks: every path, no weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from smalto.bits.packet import CodecNumber, Packet
from smalto.data.raw_mosaic import Mosaic
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import DamagedPacket, LimitExceeded, MissingSpace, UsageError
from smalto.heads.denoise import LightDenoiser
from smalto.heads.image import Decoder
from smalto.heads.segment import Segmenter
from smalto.heads.shared_decoder import SharedDecoder
from smalto.heads.stereo import SIZES, StereoHead
from smalto.systems.multitask_codec import LiteNetworks
from smalto.systems.neural_space import SpaceNetworks, neural_space
from smalto.systems.plane_latent import base_networks
from smalto.systems.system import System
from smalto.train.shared_start import start_passing
from smalto.types import DisparityMap, Image, LabelMap, Latent
from tests.tiny_models import TINY_DECODER, scene, seeded, tiny_codec, tiny_encoder


@pytest.fixture(scope="module")
def networks() -> SpaceNetworks:
    torch.manual_seed(0)
    encoder, decoder = SharedEncoder(), SharedDecoder()
    start_passing(encoder, decoder)
    image = LiteNetworks(tiny_encoder(), tiny_codec(), seeded(Decoder, TINY_DECODER, 4))  # type: ignore[arg-type]
    latent = base_networks(image, encoder)
    torch.nn.init.normal_(latent.analysis.detail.weight)
    mosaics = SharedEncoder(channels_in=1)
    start_passing(mosaics, SharedDecoder())
    return SpaceNetworks(
        encoder,
        decoder,
        latent,
        raw=mosaics,
        denoise=LightDenoiser(),
        segment=Segmenter("s", 11).eval(),
        stereo=StereoHead(SIZES["S"]).eval(),
    )


@pytest.fixture(scope="module")
def system(networks: SpaceNetworks) -> System:
    return neural_space(networks, dtype=torch.float32)


@pytest.fixture(scope="module")
def packet(system: System) -> Packet:
    return system.encode(scene(70, 101))


def test_a_packet_holds_one_latent_and_gives_back_both_planes(system: System, packet: Packet) -> None:
    assert packet.spaces[0].name == "neural-0"
    assert [section.codec for section in packet.sections] == [CodecNumber.HYPERPRIOR] * 2
    latent = system.latent(Packet.from_bytes(packet.to_bytes()))
    assert tuple(latent.planes["z_b"].shape) == (1, 64, 36, 52)
    assert tuple(latent.planes["z_t"].shape) == (1, 64, 18, 26)
    assert (latent.height, latent.width) == (70, 101)


def test_every_task_answers_with_its_own_kind_and_the_true_size(system: System, packet: Packet) -> None:
    answers = system.run(["reconstruct", "denoise", "segment"], packet)
    for answer, kind in zip(answers, (Image, Image, LabelMap), strict=True):
        assert isinstance(answer, kind)
        assert (answer.height, answer.width) == (70, 101)
    depth = system.run("depth", [packet, packet])
    assert isinstance(depth, DisparityMap)
    assert (depth.height, depth.width) == (70, 101)


def test_tasks_answer_the_same_from_a_latent(system: System, packet: Packet) -> None:
    latent = system.latent(packet)
    for task in ("reconstruct", "denoise"):
        assert np.array_equal(system.run(task, packet).pixels, system.run(task, latent).pixels)  # type: ignore[union-attr]


def test_the_latent_before_any_codec_decodes_to_the_picture(system: System) -> None:
    picture = scene(40, 56)
    answer = system.run("reconstruct", system.latent_of(picture))
    assert np.abs(answer.pixels.astype(int) - picture.astype(int)).max() <= 1  # start_passing hands pictures through


def test_depth_takes_two_views_of_one_size(system: System, packet: Packet) -> None:
    assert (system.num_views("depth"), system.num_views("segment")) == (2, 1)
    with pytest.raises(UsageError, match="depth: takes 2 views, got 1"):
        system.run("depth", packet)
    with pytest.raises(UsageError, match="segment: takes 1 view, got 2"):
        system.run("segment", [packet, packet])
    with pytest.raises(UsageError, match="no rectified pair"):
        system.run("depth", [packet, system.encode(scene(40, 56))])


def test_windows_change_nothing(networks: SpaceNetworks) -> None:
    whole = neural_space(networks, dtype=torch.float32)
    picture = scene(160, 208)
    pieces = neural_space(networks, dtype=torch.float32)
    pieces.engine = replace(pieces.engine, window_px=64)
    coding = next(iter(pieces.codings.values()))
    pieces.codings[pieces.parts.codec_digest] = replace(coding, engine=pieces.engine)  # type: ignore[type-var]
    packet = whole.encode(picture)
    assert pieces.encode(picture).sections == packet.sections
    for task in ("reconstruct", "denoise"):
        first, second = (one.run(task, packet).pixels.astype(int) for one in (whole, pieces))  # type: ignore[union-attr]
        assert np.abs(first - second).max() <= 1


def test_a_coarse_latent_halo_reaches_as_far_as_it_says(networks: SpaceNetworks) -> None:
    from smalto.codecs.plane_transform import FoldedAnalysis, FoldedSynthesis
    from smalto.testing import check_reach

    analysis, synthesis = FoldedAnalysis(networks.latent.analysis), FoldedSynthesis(networks.latent.synthesis)
    with torch.no_grad():
        x = torch.rand(1, 320, 8, 2 * analysis.halo_cells + 24)
        check_reach(analysis, x, analysis.halo_cells, (1, 4), "analysis")
        y = torch.randn(1, networks.latent.synthesis.config.latent_channels, 4, 2 * synthesis.halo_cells + 3)
        check_reach(synthesis, y, synthesis.halo_cells, (4, 1), "synthesis")


def test_grey_and_alpha_survive(system: System) -> None:
    grey = Image(np.repeat(scene(40, 56)[:, :, :1], 3, axis=2), np.full((40, 56), 7, np.uint8), grey=True)
    answer = system.run("reconstruct", system.encode(grey))
    assert answer.grey
    assert answer.alpha is not None
    assert (answer.alpha == 7).all()
    assert (answer.pixels[..., 0] == answer.pixels[..., 1]).all()


@pytest.mark.parametrize(
    ("pattern", "offset"), [("RGGB", (0, 0)), ("GRBG", (0, 1)), ("GBRG", (1, 0)), ("BGGR", (1, 1))]
)
def test_a_mosaic_keeps_its_padding_in_the_file(system: System, pattern: str, offset: tuple[int, int]) -> None:
    mosaic = Mosaic(scene(38, 51)[:, :, 1].astype(np.float32) / 255, pattern)
    packet = Packet.from_bytes(system.encode(mosaic).to_bytes())
    assert packet.metadata["encoder"] == "raw"
    latent = system.latent(packet)
    assert (latent.height, latent.width, latent.offset_px) == (38, 51, offset)
    rows, columns = -(-(38 + offset[0]) // 4), -(-(51 + offset[1]) // 4)
    assert tuple(latent.planes["z_t"].shape[2:]) == (rows, columns)
    for source in (packet, latent, system.latent_of(mosaic)):
        answer = system.run("reconstruct", source)
        assert (answer.height, answer.width) == (38, 51)


def test_an_offset_out_of_range_is_damage(system: System, packet: Packet) -> None:
    for value in (b"\x04\x00", b"\x01", 1):
        with pytest.raises(DamagedPacket, match="offset"):
            system.latent(replace(packet, metadata={"offset": value}, file_id=b""))


def test_mosaics_need_an_encoder_of_their_own(system: System, networks: SpaceNetworks) -> None:
    mosaic = Mosaic(np.zeros((8, 8), np.float32), "RGGB")
    with pytest.raises(UsageError, match="no RAW encoder"):
        neural_space(replace(networks, raw=None)).encode(mosaic)
    with pytest.raises(UsageError, match="takes RAW mosaics"):
        system.encode(scene(40, 56), encoder="raw")


def test_wide_tiles_are_written_down(system: System) -> None:
    packet = system.encode(scene(16, 1060), tile=1088)
    assert system.run("reconstruct", packet).width == 1060


def test_there_is_no_archive_without_its_codec(system: System) -> None:
    with pytest.raises(UsageError, match="no quality 'archive'"):
        system.encode(scene(40, 56), quality="archive")


def test_another_decoder_is_another_space(networks: SpaceNetworks, packet: Packet) -> None:
    torch.manual_seed(1)
    other = neural_space(SpaceNetworks(SharedEncoder(), SharedDecoder(), networks.latent))
    with pytest.raises(MissingSpace, match="install the weights with these digests"):
        other.run("reconstruct", packet)
    with pytest.raises(UsageError, match="no task 'denoise'"):
        other.run("denoise", packet)


def test_a_picture_over_the_limit_is_refused_before_it_is_decoded(system: System, packet: Packet) -> None:
    small = System(system.name, system.parts, system.engine, max_pixels=1000)
    with pytest.raises(LimitExceeded):
        small.run("reconstruct", packet)


def test_latents_of_several_pictures_are_refused(system: System) -> None:
    planes = {"z_b": torch.zeros(2, 64, 8, 8), "z_t": torch.zeros(2, 64, 4, 4)}
    with pytest.raises(UsageError, match="holds 2 pictures"):
        system.run("reconstruct", Latent(system.parts.spec, planes, 16, 16))
