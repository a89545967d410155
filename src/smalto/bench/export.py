"""Exported networks on this machine: ``python -m smalto.bench.export RUN_OR_SYSTEM --data FOLDER``.

Size of each file, time in ONNX Runtime beside torch, and what int8 costs in accuracy. Every second picture of the
folder calibrates int8, the others tell its cost.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from smalto.bench.results import BenchResult, Cell, Table, bench_result
from smalto.data.photographs import picture_files
from smalto.errors import UsageError
from smalto.export.calibration import NOISE_DEVIATION, SIDE_PX, Inputs, calibrations, picture_pieces
from smalto.export.device_networks import DeviceNetwork, chosen_networks, device_networks, system_networks
from smalto.export.onnx_network import OnnxSession, compare, export_network
from smalto.export.onnx_quantisation import Quantised, quantised
from smalto.measure.psnr import psnr_db
from smalto.systems import load
from smalto.train.release_heads import read_denoise, read_segment
from smalto.train.release_raw_space import space_networks

HEIGHT_PX, WIDTH_PX = 960, 1072
ROUNDS = 5
_FILES = (
    "network", "float_bytes", "int8_bytes", "max_share_of_range", "int8_snr_db", "all_int8_snr_db",
    "int8_share_of_multiplications", "layers_kept_in_float",
)  # fmt: skip
_TIMES = ("network", "onnx_float32_ms", "onnx_int8_ms", "torch_float32_ms", "torch_bfloat16_ms")
_COSTS = ("answer", "int8_networks", "measure", "float", "int8", "cost")
_PACKAGES = ("smalto", "torch", "onnx", "onnxruntime")

Run = Callable[..., tuple[np.ndarray, ...]]


@dataclass(frozen=True)
class ExportSettings:
    """What is measured.

    Args:
        folder: of pictures.
        num_pieces: cut out of the pictures for int8's ranges, and as many again to measure.
        side_px: of the pieces.
        size_px: rows and columns of the picture that is timed.
        rounds: of timing; 0 leaves it out.
    """

    folder: Path
    num_pieces: int = 12
    side_px: int = SIDE_PX
    size_px: tuple[int, int] = (HEIGHT_PX, WIDTH_PX)
    rounds: int = ROUNDS


@dataclass(frozen=True)
class Measured:
    """One network with its files.

    Args:
        network: in torch.
        data: the float32 file.
        max_share: of the range, by which ONNX Runtime differs from torch.
        result: of int8; None where nothing calibrates it.
    """

    network: DeviceNetwork
    data: bytes
    max_share: float
    result: Quantised | None

    @property
    def int8(self) -> bytes | None:
        """The int8 file, where there is one."""
        return None if self.result is None else self.result.data


def bench_export(
    networks: Sequence[DeviceNetwork], settings: ExportSettings, say: Callable[[str], None] | None = None
) -> BenchResult:
    """Export, quantise, time and compare.

    Args:
        networks: of one system, its encoder among them.
        settings: see there.
        say: called with what is done next.

    Returns:
        Tables ``files``, ``accuracy`` and ``times``.

    Raises:
        UsageError: fewer than two pictures, or no encoder.
        MissingExtra: ONNX is not installed.
    """
    note = say or (lambda line: None)
    files = list(picture_files(settings.folder))
    if len(files) < 2:
        raise UsageError(f"{settings.folder}: one picture cannot calibrate and judge; name a folder of two or more")
    (encoder,) = chosen_networks(networks, ["encoder"], "to measure")
    pieces = picture_pieces(files[::2], settings.num_pieces, settings.side_px)
    inputs = calibrations(networks, encoder, pieces)
    measured: dict[str, Measured] = {}
    for network in networks:
        note(f"{network.name}: to ONNX")
        data = export_network(network)
        share = compare(network, data).max_share
        held = inputs.get(network.name)
        result = None if held is None else quantised(data, held, network.snr_db)
        measured[network.name] = Measured(network, data, share, result)
    note("accuracy")
    judges = picture_pieces(files[1::2], settings.num_pieces, settings.side_px)
    tables = [_file_table(measured), _cost_table(measured, [piece.numpy() for piece in judges])]
    if settings.rounds:
        note("times")
        tables.append(_time_table(measured, settings))
    command = f"python -m smalto.bench.export RUN_OR_SYSTEM --data {settings.folder.name}"
    return bench_result("export", command, tables, _PACKAGES)


def export_text(result: BenchResult) -> str:
    """The result as Markdown."""
    parts = [f"## {table.name}\n\n{table.to_markdown()}\n{table.note}\n" for table in result.tables]
    return f"# Exported networks\n\n{result.heading()}\n" + "\n".join(parts)


def _file_table(measured: Mapping[str, Measured]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, one in measured.items():
        result, int8 = one.result, one.int8
        cells: tuple[Cell, ...] = (None, None, None, None)
        if result is not None:
            kept = len(result.kept) if int8 is not None else None
            cells = (result.snr_db, result.all_int8_snr_db, result.int8_share, kept)
        rows.append((name, len(one.data), None if int8 is None else len(int8), f"{one.max_share:.1e}", *cells))
    note = (
        "max_share_of_range: largest difference between ONNX Runtime and torch in float32, by the answer's range, over "
        "four sizes. int8_snr_db: signal over noise of the int8 answers on pieces that took no part in calibration, "
        "with the costliest layers kept in float; all_int8_snr_db: with none. No int8_bytes: int8 is too costly, or "
        "single pictures cannot calibrate it."
    )
    return Table("files", _FILES, tuple(rows), note)


def _cost_table(measured: Mapping[str, Measured], pieces: Sequence[np.ndarray]) -> Table:
    floats: dict[str, Run] = {name: OnnxSession(one.data) for name, one in measured.items()}
    int8: dict[str, Run] = {name: OnnxSession(one.int8) for name, one in measured.items() if one.int8 is not None}
    rows: list[tuple[Cell, ...]] = []
    for answer, chain in (
        ("reconstruct", ("encoder", "decoder")),
        ("denoise", ("encoder", "denoise", "decoder")),
        ("segment", ("encoder", "segment")),
        ("upscale", ("encoder", "upscale")),
    ):
        if not all(name in floats for name in chain):
            continue
        quantised_names = [name for name in chain if name in int8]
        choices = [(name,) for name in quantised_names]
        for names in dict.fromkeys([*choices, tuple(quantised_names)]):
            if names:
                mixed = {**floats, **{name: int8[name] for name in names}}
                rows.append((answer, " + ".join(names), *_cost(answer, chain, floats, mixed, pieces)))
    note = (
        f"On {len(pieces)} pieces that calibrated nothing; everything in ONNX Runtime. psnr_db: of the answer against "
        "the picture (denoise: Gaussian noise of 25/255 was added to it), mean over pieces; psnr_to_float_db: against "
        "the float answer, which has no error to itself; agreement: share of cells, an eighth of the picture's sides, "
        "that keep their class."
    )
    return Table("accuracy", _COSTS, tuple(rows), note)


def _cost(
    answer: str, chain: Sequence[str], floats: Mapping[str, Run], mixed: Mapping[str, Run], pieces: Sequence[np.ndarray]
) -> tuple[Cell, ...]:
    """Measure, its float value, its int8 value, and the difference."""
    pairs: list[tuple[float, float]] = []
    for number, piece in enumerate(pieces):
        given = piece
        if answer == "denoise":
            noise = np.random.default_rng((2, number)).standard_normal(piece.shape, dtype=np.float32)
            given = piece + np.float32(NOISE_DEVIATION) * noise
        before, after = (_chained(chain, runs, given) for runs in (floats, mixed))
        if answer == "segment":
            pairs.append((1.0, float(np.mean(before.argmax(axis=1) == after.argmax(axis=1)))))
        elif answer == "upscale":
            pairs.append((float("nan"), psnr_db(after.clip(0, 1), before.clip(0, 1))))
        else:
            pairs.append((psnr_db(before.clip(0, 1), piece), psnr_db(after.clip(0, 1), piece)))
    first, second = (float(np.mean(column)) for column in zip(*pairs, strict=True))
    if answer == "upscale":
        return "psnr_to_float_db", None, second, None
    return "agreement" if answer == "segment" else "psnr_db", first, second, first - second


def _chained(chain: Sequence[str], runs: Mapping[str, Run], given: np.ndarray) -> np.ndarray:
    """The first answer of the last network; each takes what the one before it gives."""
    values: Inputs = (given,)
    for name in chain:
        values = runs[name](*(values[:1] if name == "segment" else values))
    return values[0]


def _time_table(measured: Mapping[str, Measured], settings: ExportSettings) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, one in measured.items():
        given = one.network.example(1, *settings.size_px)
        arrays = tuple(x.numpy() for x in given)
        calls: dict[str, Callable[[], object]] = {"float": _timed_session(one.data, arrays)}
        if one.int8 is not None:
            calls["int8"] = _timed_session(one.int8, arrays)
        module: nn.Module = one.network.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        laid = tuple(x.contiguous(memory_format=torch.channels_last) for x in given)
        calls["torch"] = lambda module=module, laid=laid: module(*laid)
        calls["bfloat16"] = lambda module=module, laid=laid: _in_bfloat16(module, laid)
        medians = _median_ms(calls, settings.rounds)
        rows.append((name, *(medians.get(key) for key in ("float", "int8", "torch", "bfloat16"))))
    height, width = settings.size_px
    note = (
        f"One picture of {width} x {height}; {torch.get_num_threads()} threads in both runtimes; medians of "
        f"{settings.rounds} rounds in one process, in which the forms of a network take turns, after one to warm up. "
        "torch: eager, channels last; bfloat16 by autocast."
    )
    return Table("times", _TIMES, tuple(rows), note)


def _timed_session(data: bytes, arrays: Inputs) -> Callable[[], object]:
    session = OnnxSession(data)
    return lambda: session(*arrays)


def _in_bfloat16(module: nn.Module, given: Sequence[torch.Tensor]) -> object:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return module(*given)


@torch.inference_mode()
def _median_ms(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number:  # the first one warms up
                taken[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in taken.items()}


def source_networks(source: str, denoise: str | None, segment: str | None) -> tuple[DeviceNetwork, ...]:
    """Networks of an installed system, or of a run of the shared space and of its heads' runs.

    Raises:
        UsageError: ``source`` is neither, or a head is named beside a system.
        WeightsError: a file is damaged or of other networks.
    """
    if not Path(source).exists():
        if denoise is not None or segment is not None:
            raise UsageError("--denoise and --segment: heads of runs go with the folder of a neural-space run")
        return system_networks(load(source))
    parts: list[nn.Module] = [*space_networks(source)]
    parts += [] if denoise is None else [read_denoise(denoise)]
    parts += [] if segment is None else [read_segment(segment)]
    return device_networks(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m smalto.bench.export", description="exported networks")
    parser.add_argument("source", metavar="RUN_OR_SYSTEM", help="neural-space run, or an installed system's name")
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--denoise", default=None, metavar="RUN", help="run of a denoising head, beside a space's run")
    parser.add_argument("--segment", default=None, metavar="RUN", help="run of a segmentation head, beside it")
    parser.add_argument("--part", action="append", default=None, metavar="NAME", help="these networks only")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of timing; 0 leaves it out")
    parser.add_argument("--json", type=Path, default=None, help="also write the numbers to this file")
    chosen = parser.parse_args(arguments)
    networks = source_networks(chosen.source, chosen.denoise, chosen.segment)
    names = None if chosen.part is None else ["encoder", *chosen.part]
    settings = ExportSettings(chosen.data, rounds=chosen.rounds)
    result = bench_export(chosen_networks(networks, names, chosen.source), settings, _say)
    if chosen.json is not None:
        result.save(chosen.json)
    sys.stdout.write(export_text(result))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
