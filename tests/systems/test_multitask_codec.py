"""The wiring of the multi-task codec: what ships is what runs, and digests fix it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from smalto.encoders.hific import Encoder
from smalto.heads.image import Decoder
from smalto.systems.multitask_codec import codec_digest, decoder_digest, load_shipped, shipped_arrays
from tests.tiny_models import TINY_DECODER, TINY_ENCODER, seeded, tiny_codec


def test_shipped_arrays_are_half_precision_and_load_back() -> None:
    encoder = seeded(Encoder, TINY_ENCODER, 1)
    arrays = shipped_arrays(encoder)
    assert all(array.dtype == np.float16 for array in arrays.values())
    copy = load_shipped(Encoder(TINY_ENCODER), arrays)
    for name, value in encoder.state_dict().items():
        assert torch.equal(copy.state_dict()[name], value.half().float())
    assert all(np.array_equal(shipped_arrays(copy)[name], array) for name, array in arrays.items())


def test_decoder_digest_is_that_of_the_tensors_as_shipped_and_the_configuration() -> None:
    decoder = seeded(Decoder, TINY_DECODER)
    rounded = load_shipped(Decoder(TINY_DECODER), shipped_arrays(decoder))
    assert decoder_digest(rounded) == decoder_digest(decoder)  # type: ignore[arg-type]
    other = seeded(Decoder, replace(TINY_DECODER, trunk_blocks=2))
    assert decoder_digest(other) != decoder_digest(decoder)  # type: ignore[arg-type]


def test_codec_digest_covers_the_decode_side_only() -> None:
    from copy import deepcopy

    before = codec_digest(tiny_codec())
    sender = deepcopy(tiny_codec())
    with torch.no_grad():
        sender.gain.mul_(2)
        for parameter in sender.analysis.parameters():
            parameter.mul_(2)
    assert codec_digest(sender) == before
    for name in ("inverse_gain", "index_offset", "z_gain"):
        changed = deepcopy(tiny_codec())
        with torch.no_grad():
            getattr(changed, name).add_(1)
        assert codec_digest(changed) != before, name
