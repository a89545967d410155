"""How long denoising takes: heads of the shared space beside DnCNN on pixels, on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import nn

from smalto.bench.results import Table
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.heads.denoise import Denoiser, LightDenoiser
from smalto.heads.pixel_denoise import PixelDenoiser
from smalto.heads.shared_decoder import SharedDecoder
from smalto.train.space_head import FrozenSpace

BASELINE = "DnCNN"
FOLDED = "folded DnCNN"
SIDE_PX = 512
_COLUMNS = ("part", "milliseconds", "times_faster_than_dncnn", "times_faster_than_folded_dncnn")


@torch.inference_mode()
def speed_table(space: FrozenSpace | None = None, side_px: int = SIDE_PX, repeats: int = 5) -> Table:
    """How long heads take on one picture, beside DnCNN as it is trained and with its norms folded.

    Weights do not matter; fresh networks are timed, in float32 and channels last. Each part's time is its least over
    ``repeats`` rounds in which all parts take turns.

    Args:
        space: adds the heads with its encoder and decoder; None leaves those out.
        side_px: of the square picture.
        repeats: rounds.
    """
    frozen = space or FrozenSpace(SharedEncoder(), SharedDecoder())
    parts = denoising_parts(frozen, side_px, torch.device("cpu"))
    seconds = _least_seconds(parts, repeats)
    rows = tuple(
        (part, 1e3 * taken, seconds[BASELINE] / taken, seconds[FOLDED] / taken) for part, taken in seconds.items()
    )
    note = (
        f"One {side_px} x {side_px} picture, float32, channels last, {torch.get_num_threads()} threads, least of "
        f"{repeats} rounds. The paper's ratio of head to DnCNN is 6.95; the ratio of multiplications is 5.03 for the "
        "exact head and 7.79 for the light one."
    )
    return Table("speed", _COLUMNS, rows, note)


def denoising_parts(space: FrozenSpace, side_px: int, device: torch.device | None) -> dict[str, Callable[[], object]]:
    """What is timed, by name: each a call on one picture.

    Args:
        space: encoder and decoder; brought along.
        side_px: of the square picture.
        device: where networks go, in channels last; None leaves them as they were built, for counting.
    """
    x = torch.rand(1, 3, side_px, side_px, device=device).to(memory_format=torch.channels_last)
    baseline = PixelDenoiser().eval()
    networks: dict[str, nn.Module] = {
        BASELINE: baseline,
        FOLDED: baseline if device is None else baseline.folded(),
        "exact head": Denoiser().eval(),
        "light head": LightDenoiser().eval(),
    }
    for network in (*networks.values(), space) if device is not None else ():
        network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    planes = space.encoder(x)
    return {
        BASELINE: lambda: networks[BASELINE](x),
        FOLDED: lambda: networks[FOLDED](x),
        "exact head": lambda: networks["exact head"](planes),
        "light head": lambda: networks["light head"](planes),
        "encoder": lambda: space.encoder(x),
        "decoder": lambda: space.decoder(planes),
        "encoder, exact head, decoder": lambda: space.decoder(networks["exact head"](space.encoder(x))),
        "encoder, light head, decoder": lambda: space.decoder(networks["light head"](space.encoder(x))),
    }


def _least_seconds(parts: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    least = dict.fromkeys(parts, float("inf"))
    for _ in range(repeats + 1):  # one more, to warm up
        for part, call in parts.items():
            start = time.perf_counter()
            call()
            least[part] = min(least[part], time.perf_counter() - start)
    return least
