"""A whole system on tiny networks: sizes, kinds of pictures, rates, tiles, tasks and refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as Pil

from smalto.bits.packet import PART_MAIN, CodecNumber, Packet, SpaceEntry
from smalto.codecs.factorized_codec import FactorizedCodec, FactorizedConfig, freeze_factorized
from smalto.codecs.tiles import Tile
from smalto.errors import DamagedPacket, MissingSpace, PacketError, UsageError
from smalto.heads.image import Decoder
from smalto.systems.engine import StageTimes
from smalto.systems.system import Parts, System, quality_level
from smalto.types import Image, LatentSpec, PlaneSpec
from tests.tiny_models import TINY_DECODER, scene, seeded, tiny_system


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (15, 33), (16, 16), (64, 64), (65, 130), (130, 1)])
def test_any_size_comes_back(size: tuple[int, int]) -> None:
    system = tiny_system()
    packet = system.encode(scene(*size))
    data = packet.to_bytes()
    assert (packet.height, packet.width) == size
    picture, large = system.run(["reconstruct", "upscale"], data)
    assert picture.pixels.shape == (*size, 3)
    assert picture.pixels.dtype == np.uint8
    assert large.pixels.shape == (2 * size[0], 2 * size[1], 3)
    latent = system.latent(data)
    assert latent.planes["y"].shape == (1, 8, -(-size[0] // 16), -(-size[1] // 16))
    assert (latent.height, latent.width) == size


@pytest.mark.parametrize("quality", [0, 33, "low", "medium", "high", 100])
def test_latent_from_the_packet_is_the_senders_quantised_one(quality: str | int) -> None:
    system = tiny_system()
    codec, picture = system.parts.codec, Image(scene(70, 50))
    q = quality_level(quality)
    y = system.analyse(picture)
    z = torch.floor(codec.hyper_latent(y) / int(codec.z_gain[q]) + 0.5).double() * int(codec.z_gain[q])
    _, mean = codec.parameters_of(z, q, Tile(0, y.shape[2], 0, y.shape[3]))
    gain, inverse = codec.gain[q][None, :, None, None], codec.inverse_gain[q][None, :, None, None]
    expected = mean + torch.floor((y - mean) * gain + 0.5) * inverse
    packet = system.encode(picture, quality=quality)
    decoded = system.latent(packet.to_bytes()).planes["y"]
    assert float(codec.inverse_gain[q].min()) > 1e-2  # so that one symbol more or less would show
    torch.testing.assert_close(decoded, expected, atol=2e-6, rtol=1e-6)


def test_bytes_and_packet_and_latent_give_one_answer() -> None:
    system = tiny_system()
    packet = system.encode(scene(40, 40))
    answers = [system.run("reconstruct", s).pixels for s in (packet, packet.to_bytes(), system.latent(packet))]
    assert all(np.array_equal(answers[0], other) for other in answers[1:])


def test_encoding_twice_gives_equal_bytes_and_batches_equal_single_pictures() -> None:
    system = tiny_system()
    pictures = [scene(33, 47, seed) for seed in range(3)]
    single = [system.encode(picture, quality=70).to_bytes() for picture in pictures]
    assert [packet.to_bytes() for packet in system.encode_batch(pictures, quality=70)] == single


# -- kinds of pictures ----------------------------------------------------------------------------------------------


def test_alpha_is_lossless_and_doubles_with_the_picture() -> None:
    system = tiny_system()
    alpha = np.random.default_rng(0).integers(0, 256, (30, 41)).astype(np.uint8)
    data = system.encode(np.dstack([scene(30, 41), alpha])).to_bytes()
    picture, large = system.run(["reconstruct", "upscale"], data)
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, alpha)
    assert large.alpha is not None
    assert large.alpha.shape == (60, 82)


def test_grey_comes_back_grey() -> None:
    system = tiny_system()
    picture = system.run("reconstruct", system.encode(scene(30, 41)[:, :, 0]).to_bytes())
    assert picture.grey
    assert picture.to_pil().mode == "L"


def test_sixteen_bits_are_read_in_full_and_answered_in_eight() -> None:
    system = tiny_system()
    deep = (scene(30, 41).astype(np.float32) + 0.3) / 256
    packet = system.encode(Image(deep))
    assert packet.to_bytes() != system.encode(Image((deep * 255 + 0.5).astype(np.uint8))).to_bytes()
    assert system.run("reconstruct", packet).pixels.dtype == np.uint8


def test_pillow_arrays_and_tensors_are_one_picture() -> None:
    system = tiny_system()
    pixels = scene(20, 30)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    forms = [pixels, Pil.fromarray(pixels), tensor, Image(pixels)]
    assert len({system.encode(form).to_bytes() for form in forms}) == 1


# -- rate -----------------------------------------------------------------------------------------------------------


def test_size_rises_and_error_falls_with_quality() -> None:
    system = tiny_system()
    picture = Image(scene(128, 160))
    y = system.analyse(picture)
    sizes, errors = [], []
    for quality in (0, 12.5, 25, 50, 75, 100):
        packet = system.encode(picture, quality=quality)
        sizes.append(len(packet))
        errors.append(float((system.latent(packet).planes["y"] - y).square().mean()))
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == len(sizes)
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_bits_per_pixel_are_met_from_below(share: float) -> None:
    system = tiny_system()
    picture = scene(320, 320)
    pixels = 320 * 320
    least, most = (8 * len(system.encode(picture, quality=quality)) / pixels for quality in (0, 100))
    target = least + share * (most - least)
    reached = 8 * len(system.encode(picture, bpp=target).to_bytes()) / pixels
    assert 0.97 * target < reached <= target


def test_too_few_bits_per_pixel_are_refused_with_the_least_there_is() -> None:
    system = tiny_system()
    with pytest.raises(UsageError, match="the least is"):
        system.encode(scene(64, 64), bpp=0.001)


@pytest.mark.parametrize(
    ("quality", "level"), [("low", 51), ("medium", 102), ("high", 153), (0, 0), (100, 255), (33.3, 85)]
)
def test_quality_words_and_numbers(quality: str | float, level: int) -> None:
    assert quality_level(quality) == level


@pytest.mark.parametrize("quality", ["best", -1, 101, float("nan")])
def test_other_qualities_are_refused(quality: str | float) -> None:
    with pytest.raises(UsageError, match="none of low, medium, high"):
        tiny_system().encode(scene(16, 16), quality=quality)


# -- tiles and windows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [64, 128, 1024])
def test_tiles_are_chunks_of_one_latent(tile: int) -> None:
    system = tiny_system()
    picture = scene(150, 270)
    packet = Packet.from_bytes(system.encode(picture, tile=tile).to_bytes())
    whole = system.encode(picture)
    main = packet.find(0, 0, 0)
    assert main is not None
    assert len(main.chunks) == -(-150 // tile) * -(-270 // tile)
    latent, expected = system.latent(packet).planes["y"], system.latent(whole).planes["y"]
    torch.testing.assert_close(latent, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("tile", [0, 32, 100, 4096])
def test_other_tiles_are_refused(tile: int) -> None:
    with pytest.raises(UsageError, match="not a multiple of 64"):
        tiny_system().encode(scene(16, 16), tile=tile)


def test_windows_change_neither_file_nor_picture() -> None:
    small, large = tiny_system(window_px=64), tiny_system()
    picture = scene(200, 300)
    a, b = small.analyse(Image(picture)), large.analyse(Image(picture))
    torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-5)
    packet = large.encode(picture)
    one, other = (system.run("reconstruct", packet).pixels.astype(int) for system in (small, large))
    assert np.abs(one - other).max() <= 1


# -- refusals -------------------------------------------------------------------------------------------------------


def test_unknown_tasks_and_encoders_are_refused_by_name() -> None:
    system = tiny_system()
    packet = system.encode(scene(16, 16))
    with pytest.raises(UsageError, match="no task 'paint'; it answers reconstruct, upscale"):
        system.run("paint", packet)
    with pytest.raises(UsageError, match="no encoder 'best'; it has base, other"):
        system.encode(scene(16, 16), encoder="best")


def test_any_encoder_writes_into_the_space_and_is_named_in_the_file() -> None:
    system = tiny_system()
    base, other = system.encode(scene(48, 48)), system.encode(scene(48, 48), encoder="other")
    assert "encoder" not in base.metadata
    assert other.metadata["encoder"] == "other"
    assert other.spaces == base.spaces
    assert system.run("reconstruct", other.to_bytes()).pixels.shape == (48, 48, 3)


@pytest.mark.parametrize(
    "space",
    [
        SpaceEntry("tiny-1", tiny_system().parts.decoder_digest, tiny_system().parts.codec_digest),
        SpaceEntry("tiny-0", bytes(8), tiny_system().parts.codec_digest),
        SpaceEntry("tiny-0", tiny_system().parts.decoder_digest, bytes(8)),
    ],
    ids=["name", "decoder", "codec"],
)
def test_other_spaces_are_refused_with_their_digests(space: SpaceEntry) -> None:
    system = tiny_system()
    packet = replace(system.encode(scene(16, 16)), spaces=(space,))
    with pytest.raises(MissingSpace, match=space.decoder_digest.hex()):
        system.latent(packet.to_bytes())


def test_a_latent_of_another_space_is_refused() -> None:
    system = tiny_system()
    latent = system.latent(system.encode(scene(16, 16)))
    foreign = replace(latent, spec=LatentSpec("other-0", latent.spec.planes))
    with pytest.raises(UsageError, match="space other-0"):
        system.run("reconstruct", foreign)


def test_missing_or_foreign_sections_are_damage() -> None:
    system = tiny_system()
    packet = system.encode(scene(64, 64))
    hyper, main = packet.sections
    for sections in (
        (hyper,),
        (main,),
        (hyper, replace(main, q=main.q + 1)),
        (replace(hyper, codec=CodecNumber.FACTORIZED), main),
        (hyper, replace(main, chunks=main.chunks * 2)),
    ):
        with pytest.raises(DamagedPacket):
            system.latent(replace(packet, sections=sections))


def test_a_picture_size_that_the_chunks_do_not_fit_is_named() -> None:
    system = tiny_system()
    packet = system.encode(scene(64, 64))
    with pytest.raises(PacketError):
        system.latent(replace(packet, height=packet.height + 64))


def test_parts_are_checked_against_each_other() -> None:
    system = tiny_system()
    parts: Parts = system.parts
    wide = LatentSpec("tiny-0", (PlaneSpec("y", "grid", 9, 16),))
    with pytest.raises(UsageError, match="8 channels, its plane 9"):
        System("wrong", replace(parts, spec=wide), system.engine)
    with pytest.raises(UsageError, match="a head called 'reconstruct'"):
        System("wrong", replace(parts, heads={"upscale": parts.heads["upscale"]}), system.engine)
    with pytest.raises(UsageError, match="needs an encoder"):
        System("wrong", replace(parts, encoders={}), system.engine)


def test_another_decoder_is_another_space() -> None:
    from smalto.systems.multitask_codec import decoder_digest

    digests = {decoder_digest(seeded(Decoder, TINY_DECODER, seed)) for seed in range(3)}
    assert len(digests) == 3
    assert decoder_digest(seeded(Decoder, TINY_DECODER, 4)) == tiny_system().parts.decoder_digest


def test_stages_are_timed() -> None:
    system, times = tiny_system(), StageTimes()
    packet = system.encode(scene(16, 16), stages=times)
    system.run(["reconstruct", "upscale"], packet, times)
    assert set(times.seconds) == {"encoder", "codec", "reconstruct", "upscale"}


def test_a_system_with_a_factorised_codec_writes_one_section() -> None:
    base = tiny_system(upscale=False)
    torch.manual_seed(0)
    codec = freeze_factorized(FactorizedCodec(FactorizedConfig(latent_channels=base.plane.channels)))
    parts = replace(base.parts, codec=codec, codec_digest=b"factored")
    system = System("factored", parts, base.engine)
    picture = scene(40, 50)
    packet = system.encode(picture, quality=60)
    assert [(section.codec, section.part) for section in packet.sections] == [(CodecNumber.FACTORIZED, PART_MAIN)]
    assert system.run("reconstruct", packet.to_bytes()).pixels.shape == (40, 50, 3)
    with pytest.raises(MissingSpace):
        base.latent(packet)
