"""What it costs ELIC that its tables are chosen by an integer network which reads symbols alone.

The same trained model, the same means and so the same symbols; only the network that predicts their scales differs:

- ``coded``: the scale path as it codes.
- ``symbols``: float32 layers of the mean path's size that read what the scale path reads, freed of the gain.
- ``values``: the same layers reading y_hat and z_hat, as ELIC was published. No exact decoder can be built on it.

``coded`` over ``values`` is the price of exact decoding; ``symbols`` between them tells how much of it is information
and how much is arithmetic and size. Scales of the float networks are not even quantised to tables: all in their favour.
Train both for as long as the model itself; a network trained for less would understate the price.

Command, with the folder of a run of ``smalto train feature-elic`` and its planes::

    python -m smalto.bench.elic_scale_cost RUN --data PLANES.tar --json COST.json

A sixteenth of the planes is held out for measuring; a run with ``--set schedule=plateau`` has never seen them either.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TextIO

import torch
from torch import Tensor, nn

from smalto.codecs.elic import Elic
from smalto.codecs.elic_context import ElicConfig, ElicMeanPath, Step
from smalto.codecs.elic_planes import ElicPlaneCodec
from smalto.codecs.hyperprior import LOG_STEP, MIN_SCALE, NUM_SCALES, gaussian_bits
from smalto.data.crops import Crops, cache_pictures
from smalto.errors import SmaltoError, UsageError
from smalto.files import replace_file
from smalto.layers import straight_through
from smalto.train.checkpoint import CHECKPOINT, load_run, read_progress
from smalto.train.index_planes import IndexPlaneObjective
from smalto.train.levels import draw_levels
from smalto.train.recipes import build
from smalto.train.run import to_unit_range

Reads = Literal["values", "symbols"]
READS: tuple[Reads, Reads] = ("values", "symbols")
_SAY_STEPS = 100
_HELD_OUT = 16
_FIRST_BATCH = 40_000_000
_FIRST_INDEX = 20.0
_INDEX_UNIT = 8.0  # table steps a unit of the network's output, so that it learns as fast as a mean


@dataclass(frozen=True)
class ScaleCost:
    """Bits a main symbol on the same symbols.

    Args:
        level: quality level q.
        coded: by the integer scale path.
        floats: by each float network.
        hyper: of the hyper-symbols, spread over the main symbols.
    """

    level: int
    coded: float
    floats: dict[str, float]
    hyper: float

    def excess(self, name: str) -> float:
        """Whole rate as coded over the rate with a float network's scales, less one."""
        return (self.coded + self.hyper) / (self.floats[name] + self.hyper) - 1


@dataclass(frozen=True)
class _Coded:
    """What the model gives for a batch, without gradients."""

    z_hat: Tensor
    gain: Tensor
    y_hat: Tensor
    symbols: Tensor
    bits: Tensor
    hyper_bits: Tensor


class FloatScale(nn.Module):
    """Scales from ELIC's own layers in float32; for measuring only.

    Args:
        config: of the model whose scales it predicts.
        reads: ``values`` (y_hat) or ``symbols`` (divided by the gain).
    """

    def __init__(self, config: ElicConfig, reads: Reads) -> None:
        super().__init__()
        self.reads = reads
        self.path = ElicMeanPath(config)

    def bits(self, coded: _Coded) -> Tensor:
        """Bits of the symbols, (B,)."""
        known = coded.y_hat if self.reads == "values" else coded.symbols / coded.gain
        flat = known.flatten(2)

        def known_at(step: Step, _: Tensor) -> Tensor:
            return flat[:, step.channels].index_select(2, step.cells)

        out, _ = self.path(self.path.features(coded.z_hat), known_at)
        index = _FIRST_INDEX + _INDEX_UNIT * out + coded.gain.log() / LOG_STEP
        sigma = MIN_SCALE * torch.exp(LOG_STEP * straight_through.clamp(index, 0, NUM_SCALES - 1))
        return gaussian_bits(coded.symbols, sigma).sum(dim=(1, 2, 3))


@torch.no_grad()
def _code(codec: Elic, y: Tensor, q: Tensor) -> _Coded:
    """Symbols of a batch, and what the model's own scale path asks for them."""
    z_hat, _, step = codec.hyper(y, q)
    gain = codec.gain(q)
    mean, y_hat = codec.values(y, z_hat, gain, codec.inverse_gain(q))
    symbols = torch.floor((y - mean) * gain + 0.5)
    sigma = codec.scales(codec.indexes(symbols, z_hat, gain), gain)
    bits = gaussian_bits(symbols, sigma).sum(dim=(1, 2, 3))
    return _Coded(z_hat, gain, y_hat, symbols, bits, codec.prior.bits(z_hat, step))


def fit_float_scales(
    codec: Elic,
    batches: Callable[[], tuple[Tensor, Tensor]],
    num_steps: int,
    learning_rate: float = 1e-4,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, FloatScale]:
    """Train both float scale networks, on the same batches, for a trained model, which stays as it is.

    Args:
        codec: the model.
        batches: gives a batch of latents (B, M, h, w), sides multiples of 4, and their quality levels (B,).
        num_steps: of Adam, the learning rate falling to zero along a cosine.
        learning_rate: at the start.
        say: receives a line of progress now and then.

    Returns:
        ``values`` and ``symbols``.
    """
    device = next(codec.parameters()).device
    scales = {reads: FloatScale(codec.config, reads).to(device) for reads in READS}
    optimizers = {reads: torch.optim.Adam(scale.parameters(), learning_rate) for reads, scale in scales.items()}
    for step in range(num_steps):
        y, q = batches()
        coded = _code(codec, y, q)
        losses = {}
        for reads, scale in scales.items():
            optimizer = optimizers[reads]
            optimizer.param_groups[0]["lr"] = 0.5 * learning_rate * (1 + math.cos(math.pi * step / num_steps))
            loss = scale.bits(coded).sum() / y.numel()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(scale.parameters(), 1.0)
            optimizer.step()
            losses[reads] = float(loss.detach())
        if (step + 1) % _SAY_STEPS == 0:
            shown = ", ".join(f"{reads} {loss:.4f}" for reads, loss in losses.items())
            say(f"step {step + 1}: bits a symbol coded {float(coded.bits.sum()) / y.numel():.4f}, {shown}")
    return {reads: scale.eval() for reads, scale in scales.items()}


@torch.no_grad()
def scale_cost(codec: Elic, floats: Mapping[str, FloatScale], latents: Iterable[Tensor], level: int) -> ScaleCost:
    """Rates on the same symbols.

    Args:
        codec: the trained model.
        floats: float networks by name.
        latents: (B, M, h, w) each, sides multiples of 4.
        level: quality level 0..255.
    """
    sums, num_symbols = dict.fromkeys(("coded", "hyper", *floats), 0.0), 0
    for y in latents:
        coded = _code(codec, y, torch.full((len(y),), level, device=y.device))
        sums["coded"] += float(coded.bits.sum())
        sums["hyper"] += float(coded.hyper_bits.sum())
        for name, scale in floats.items():
            sums[name] += float(scale.bits(coded).sum())
        num_symbols += y.numel()
    mean = {name: total / max(num_symbols, 1) for name, total in sums.items()}
    return ScaleCost(level, mean.pop("coded"), {name: mean[name] for name in floats}, mean["hyper"])


@dataclass(frozen=True)
class RunSettings:
    """How the cost is measured for a run.

    Args:
        run: folder of a run of ``smalto train feature-elic``.
        data: the planes that it trained on.
        num_steps: steps of the float networks; None is as many as the model had.
        levels: qualities 0..255 to measure at; a run with one lambda is measured at its own.
        num_batches: of held-out planes, a level.
        device: torch device, None for the fastest there is.
    """

    run: Path
    data: Path
    num_steps: int | None = None
    levels: tuple[int, ...] = (0, 64, 128, 192, 255)
    num_batches: int = 8
    device: str | None = None


def run_cost(settings: RunSettings, say: Callable[[str], None] = lambda line: None) -> list[ScaleCost]:
    """Costs at every level for the weights that a run publishes.

    Raises:
        TrainingError: there is no run.
        UsageError: it is no run of ELIC, or its planes are missing.
    """
    progress = read_progress(settings.run / CHECKPOINT)
    run = build(progress.recipe, {key: str(value) for key, value in progress.settings.items()})
    objective = run.objective()
    if not isinstance(objective, IndexPlaneObjective) or not isinstance(objective.codec, ElicPlaneCodec):
        raise UsageError(f"{settings.run}: is a run of {progress.recipe}, which has no ELIC codec; name one that has")
    device = torch.device(settings.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    load_run(settings.run, objective)
    objective.to(device).eval().requires_grad_(False)
    codec, fixed = objective.codec, objective.config.fixed_q
    pictures = Crops(cache_pictures(settings.data, settings.run / "pictures-0.u8"), run.crops)
    crops, held = pictures.split(_HELD_OUT, run.crops)
    steps = itertools.count(_FIRST_BATCH)

    def latents(source: Crops, step: int) -> Tensor:
        pixels = torch.from_numpy(source.batch(step, run.batch_size)).to(device)
        with torch.no_grad():
            return codec.analysis(to_unit_range(pixels)[:, :1] - 0.5).float()

    def batch() -> tuple[Tensor, Tensor]:
        y = latents(crops, next(steps))
        return y, draw_levels(len(y), device, fixed)

    floats = fit_float_scales(codec.codec, batch, settings.num_steps or progress.step, say=say)
    tested = [latents(held, number) for number in range(settings.num_batches)]
    levels = settings.levels if fixed is None else (fixed,)
    return [scale_cost(codec.codec, floats, tested, level) for level in levels]


def cost_table(costs: Iterable[ScaleCost]) -> str:
    """Costs as a table in Markdown."""
    head = "| q | coded | float, symbols | float, values | hyper | excess over symbols | excess over values |"
    lines = [head, "|---" * 7 + "|"]
    for cost in costs:
        bits = (cost.coded, cost.floats["symbols"], cost.floats["values"], cost.hyper)
        shares = (100 * cost.excess(name) for name in ("symbols", "values"))
        cells = [str(cost.level), *(f"{value:.4f}" for value in bits), *(f"{share:+.2f} %" for share in shares)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m smalto.bench.elic_scale_cost", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run of smalto train feature-elic")
    parser.add_argument("--data", required=True, type=Path, help="the planes that it trained on")
    parser.add_argument("--steps", type=int, default=None, help="of the float networks; as many as the model had")
    parser.add_argument("--batches", type=int, default=8, help="of held-out planes, a level")
    parser.add_argument("--device", default=None, help="cpu, cuda, ...; the fastest there is")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the costs as JSON")
    options = parser.parse_args(arguments)
    settings = RunSettings(options.run, options.data, options.steps, num_batches=options.batches, device=options.device)
    try:
        costs = run_cost(settings, lambda line: print_line(sys.stderr, line))
        if options.json is not None:
            replace_file(options.json, (json.dumps([asdict(cost) for cost in costs], indent=1) + "\n").encode())
    except (SmaltoError, OSError) as error:
        print_line(sys.stderr, f"smalto: {error}")
        return error.exit_code if isinstance(error, SmaltoError) else 1
    print_line(sys.stdout, "Bits a main symbol\n\n" + cost_table(costs))
    return 0


def print_line(stream: TextIO, line: str) -> None:
    """Write a line at once."""
    stream.write(line + "\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
