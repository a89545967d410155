"""Times of networks that take turns, and denoising in the shared space beside DnCNN on pixels by them.

Parts run one after another within each round, after one round to warm up; a part's time is the median over rounds, and
how much faster it is than another one the median of the rounds' ratios, so that a machine that slows down for a while
slows both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from smalto.bench.denoising_speed import BASELINE, FOLDED, SIDE_PX, denoising_parts
from smalto.bench.results import Table
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import UsageError
from smalto.heads.shared_decoder import SharedDecoder
from smalto.systems.engine import Engine
from smalto.train.space_head import FrozenSpace

PAPER_RATIO, PAPER_WHOLE_RATIO = 6.95, 1.46 / 0.82
_COLUMNS = (
    "part", "milliseconds", "times_faster_than_dncnn", "low", "high", "than_folded_dncnn", "gmac",
    "fewer_multiply_adds",
)  # fmt: skip


@dataclass(frozen=True)
class SpaceSpeedSettings:
    """What to time.

    Args:
        engine: where, and in which precision.
        side_px: of the square picture.
        rounds: of taking turns.

    Raises:
        UsageError: no rounds, or a side that is no multiple of 4.
    """

    engine: Engine
    side_px: int = SIDE_PX
    rounds: int = 15

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.side_px < 4 or self.side_px % 4:
            raise UsageError("speed: rounds must be 1 or more, the side a multiple of 4")


def seconds_in_turns(
    parts: Mapping[str, Callable[[], object]], rounds: int, engine: Engine
) -> dict[str, NDArray[np.float64]]:
    """(rounds,) seconds of every part; within a round they take turns.

    Args:
        parts: name -> call, on the engine's device.
        rounds: that count; one more warms up.
        engine: gives device and precision.
    """
    taken: dict[str, list[float]] = {name: [] for name in parts}
    with torch.inference_mode(), engine.precision():
        for number in range(rounds + 1):
            for name, call in parts.items():
                _wait(engine)
                start = time.perf_counter()
                call()
                _wait(engine)
                if number:
                    taken[name].append(time.perf_counter() - start)
    return {name: np.array(seconds) for name, seconds in taken.items()}


def shapes_only() -> FakeTensorMode:
    """A context in which networks are built and run at once, their tensors having shapes and no values.

    Unlike the meta device it stands in for a real one, with autocast and what else asks for the device's kind.
    """
    return FakeTensorMode()


def multiply_adds(call: Callable[[], object]) -> int:
    """Multiply-adds of convolutions and matrix products that a call computes."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() // 2


def described(engine: Engine) -> str:
    """Device, precision and threads, for notes."""
    precision = str(engine.dtype).removeprefix("torch.")
    threads = f", {torch.get_num_threads()} threads" if engine.device.type == "cpu" else ""
    return f"{engine.device.type}, {precision}, channels last{threads}"


def space_speed_table(settings: SpaceSpeedSettings) -> Table:
    """Denoising heads of the shared space beside DnCNN, with and without the encoder and the decoder.

    Weights do not matter; fresh networks are timed.
    """
    engine, side = settings.engine, settings.side_px
    with shapes_only():
        counted = denoising_parts(FrozenSpace(SharedEncoder(), SharedDecoder()), side, None)
        work = {name: multiply_adds(call) for name, call in counted.items()}
    space = FrozenSpace(SharedEncoder(), SharedDecoder()).to(engine.device)
    with torch.inference_mode():
        parts = denoising_parts(space, side, engine.device)
    seconds = seconds_in_turns(parts, settings.rounds, engine)
    rows = []
    for part, taken in seconds.items():
        ratios = seconds[BASELINE] / taken
        low, middle, high = (float(value) for value in np.quantile(ratios, (0.25, 0.5, 0.75)))
        folded = float(np.median(seconds[FOLDED] / taken))
        fewer = work[BASELINE] / work[part]
        rows.append((part, 1e3 * float(np.median(taken)), middle, low, high, folded, work[part] / 1e9, fewer))
    note = (
        f"One {side} x {side} picture, {described(engine)}, untrained networks; medians over {settings.rounds} rounds "
        "in which parts take turns, ratios by round, low and high their quartiles. The paper: the head "
        f"{PAPER_RATIO} times faster than DnCNN, with encoder and decoder {PAPER_WHOLE_RATIO:.2f} times. The exact "
        "head has 5.03 times fewer multiply-adds; both are dense 3x3 convolutions of 64 channels, so that bounds it."
    )
    return Table("speed", _COLUMNS, tuple(rows), note)


def _wait(engine: Engine) -> None:
    """Until the device has done what it was given."""
    if engine.device.type == "cuda":
        torch.cuda.synchronize(engine.device)
