"""``smalto features``: any model's features to small files and back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smalto.cli.datasets import find_data
from smalto.cli.feature_record import describe_set, set_lines
from smalto.cli.options import Data, Json
from smalto.cli.outputs import check_inputs, plan_jobs
from smalto.cli.process import available_cores
from smalto.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from smalto.bits.array_set_parts import ArrayEntry
    from smalto.bits.array_set_reader import ArraySetReader
    from smalto.cli.progress import Reporter
    from smalto.data.feature_array import FeatureArray
    from smalto.systems.feature_codec import FeatureCodec
    from smalto.train.feature_planes import PlaneSet

features = typer.Typer(
    name="features", help="Store any model's features in one or two bits a value.", no_args_is_help=True
)

Arrays = Annotated[list[str], typer.Argument(metavar="FILE...", help=".npy, .npz, .safetensors or .pt files.")]
Sets = Annotated[list[str], typer.Argument(metavar="FILE...", help=".smalto files of features.")]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", "-p", metavar="PROFILE", help="A profile that `features fit` wrote.")
]
Tier = Annotated[str, typer.Option("--tier", metavar="NAME", help="fast, hyperprior or elic.")]
Rate = Annotated[float | None, typer.Option("--rate", metavar="BITS", help="Bits a value to aim at.")]
ErrorGoal = Annotated[
    float | None, typer.Option("--error", metavar="E", help="Squared error over variance to aim at, as 0.001.")
]
MaxError = Annotated[
    float | None, typer.Option("--max-error", metavar="E", help="Largest error of any value, guaranteed.")
]
Layout = Annotated[
    str | None, typer.Option("--layout", metavar="NAME", help="How axes are read: tokens, maps, vector or as-is.")
]
Preserve = Annotated[
    str | None, typer.Option("--preserve", metavar="means|values", help="Whether errors average out over neighbouring"
                             " positions (default after a ReLU) or stay with each value."),
]  # fmt: skip
Per = Annotated[
    str, typer.Option("--per", metavar="model|layer", help="layer: arrays of each name have statistics of their own.")
]
Embed = Annotated[
    bool | None,
    typer.Option("--embed-profile/--no-embed-profile", help="Whether the profile travels inside; by default when it"
                 " is under 1 % of the file."),
]  # fmt: skip
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", help="Slices coded at once; all cores.")]


@features.command()
def fit(
    context: typer.Context,
    samples: Arrays,
    output: Annotated[str, typer.Option("--output", "-o", metavar="PROFILE", help="The profile to write.")],
    tier: Tier = "fast",
    rate: Rate = None,
    error: ErrorGoal = None,
    max_error: MaxError = None,
    layout: Layout = None,
    preserve: Preserve = None,
    per: Per = "model",
) -> None:
    """Fit a profile on about ten samples of one model's features.

    Every array of every file is a sample; a single array of three or more axes is a stack of samples. With --per layer
    that holds for the arrays of each name, as layer.2 and layer.6 in every file. A copy of the
    profile stays in the user's folder of profiles, so that files coded with it can be read when it is lost.
    """
    check_inputs(samples)
    from smalto.systems.feature_codec import FeatureCodec, choose_samples

    chosen = choose_samples([array for path in samples for array in _open(path)], per)
    codec = FeatureCodec.fit(
        chosen, tier, rate=rate, error=error, max_error=max_error, layout=layout, preserve=preserve, per=per
    )  # fmt: skip
    codec.save(output)
    reporter: Reporter = context.obj
    reporter.line(f"{output}: profile {codec.profile.digest.hex()}, {_fact_line(codec)}")


@features.command()
def encode(
    context: typer.Context,
    files: Arrays,
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="OUT", help="One set of all inputs.")] = None,
    directory: Annotated[
        str | None, typer.Option("--directory", "-d", metavar="DIR", help="Folder for a set an input.")
    ] = None,
    profile: ProfileOption = None,
    tier: Tier = "fast",
    rate: Rate = None,
    error: ErrorGoal = None,
    max_error: MaxError = None,
    layout: Layout = None,
    preserve: Preserve = None,
    per: Per = "model",
    embed: Embed = None,
    append: Annotated[bool, typer.Option("--append", help="Add to the set that -o names.")] = False,
    threads: Threads = None,
) -> None:
    """Code files of features; without -p a profile is fitted on each input itself."""
    reporter: Reporter = context.obj
    goals = (rate, error, max_error, layout, preserve)
    if profile is not None and (any(goal is not None for goal in goals) or (tier, per) != ("fast", "model")):
        raise UsageError("-p: the profile has its tier and goal already; leave --tier, --rate, --error, ... out")
    if append and output is None:
        raise UsageError("--append: name the set to add to with -o")
    if output is None:
        inputs = [([job.source], job.target) for job in plan_jobs(files, None, directory, ".smalto")]
    else:
        check_inputs(files)
        inputs = [(files, output)]

    from smalto.systems.feature_codec import FeatureCodec, choose_samples

    for sources, target in inputs:
        found = [(array, path) for path in sources for array in _open(path)]
        arrays = [_renamed(array, path, len(sources)) for array, path in found]
        codec = None if profile is None else FeatureCodec.load(profile)
        if append:
            codec = _codec_of(target, profile)
        if codec is None:
            chosen = choose_samples([array for array, _ in found], per)
            codec = FeatureCodec.fit(
                chosen, tier, rate=rate, error=error, max_error=max_error, layout=layout, preserve=preserve, per=per
            )  # fmt: skip
            embed = True if embed is None else embed
        codec.num_threads = _threads(threads)
        _write(codec, arrays, target, append=append, embed=embed, reporter=reporter)


@features.command()
def decode(
    context: typer.Context,
    files: Sets,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="OUT", help=".npy, .npz, .safetensors or .pt.")
    ] = None,
    directory: Annotated[
        str | None, typer.Option("--directory", "-d", metavar="DIR", help="Folder for the outputs.")
    ] = None,
    profile: ProfileOption = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="One array only.")] = None,
    threads: Threads = None,
) -> None:
    """Decode sets of features; several arrays become .npz unless -o says otherwise."""
    reporter: Reporter = context.obj
    jobs = plan_jobs(files, output, directory, ".npz" if output is None else Path(output).suffix)
    from smalto.bits.array_set_reader import ArraySetReader
    from smalto.data.feature_files import write_features
    from smalto.systems.feature_codec import FeatureCodec
    from smalto.systems.feature_profile import FeatureProfile

    for job in jobs:
        with ArraySetReader.open(job.source) as reader:
            codec = FeatureCodec.of_set(reader, None if profile is None else FeatureProfile.load(profile))
            codec.num_threads = _threads(threads)
            coder = codec.coder(reader)
            entries = list(reader.entries) if name is None else [_entry(reader, name)]
            with reporter.counter(job.source_name) as count:
                total = sum(entry.num_values for entry in entries)
                arrays = [coder.feature(reader, entry) for entry in entries]
                write_features(job.target, _counted(arrays, total, count))
        reporter.line(f"{job.target}: {len(entries)} arrays")


@features.command()
def planes(
    context: typer.Context,
    output: Annotated[str, typer.Option("--output", "-o", metavar="TAR", help="The .tar to write.")],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE...", help=".npy, .npz, .safetensors or .pt files.")
    ] = None,
    sources: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Reachable models in place of files: names, or default for all but unseen."),
    ] = None,
    data: Data = None,
    max_mib: Annotated[float, typer.Option("--max-mib", metavar="N", help="Largest size of the .tar.")] = 60.0,
    transform: Annotated[
        str, typer.Option(metavar="NAME", help="lloyd-max, or linear for a baseline to compare with.")
    ] = "lloyd-max",
) -> None:
    """Make training data for the learned tiers: each file is one model's features, or --sources names models.

    Sources are mobilefacenet, minilm, latents and codec-stages (the default), and squeezenet; their weights and inputs
    come from --data, by default $SMALTO_DATA. `smalto train feature-hyperprior --data TAR` takes the result.
    """
    if (sources is None) == (not files):
        raise UsageError("planes: name either files of features or --sources, as --sources default")
    if max_mib <= 0.0:
        raise UsageError(f"--max-mib {max_mib:g}: must be above 0")
    reporter: Reporter = context.obj
    max_bytes = int(max_mib * 2**20)
    if sources is not None:
        from smalto.bench.feature_training import DEFAULT_SOURCES, pack_training_planes, training_sources

        names = DEFAULT_SOURCES if sources == "default" else tuple(sources.split(","))
        training_sources(names)
        folder = find_data(data, ".")
        written = pack_training_planes(
            names, folder, output, max_bytes=max_bytes, transform=transform, say=reporter.line
        )
    else:
        written = _planes_of_files(files or [], output, max_bytes, transform)
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in written.shares.items())
    reporter.line(f"{output}: {written.num_planes} planes, {written.num_bytes} bytes; {shares}")


@features.command()
def info(files: Sets, as_json: Json = False) -> None:
    """What a set of features holds: arrays, sizes, profile."""
    check_inputs(files)
    from smalto.bits.array_set_reader import ArraySetReader

    for number, path in enumerate(files):
        with ArraySetReader.open(path) as reader:
            record = describe_set(reader, path)
        if as_json:
            typer.echo(json.dumps(record))
        else:
            typer.echo(("\n" if number else "") + "\n".join(set_lines(record)))


def _open(path: str) -> tuple[FeatureArray, ...]:
    from smalto.data.feature_files import open_features

    return open_features(path)


def _planes_of_files(files: list[str], output: str, max_bytes: int, transform: str) -> PlaneSet:
    check_inputs(files)
    from smalto.train.feature_planes import pack_planes

    if len({Path(path).stem for path in files}) < len(files):
        raise UsageError("planes: two files have one name, which stands for a model; rename one")
    return pack_planes(
        {Path(path).stem: _open(path) for path in files}, output, max_bytes=max_bytes, transform=transform
    )


def _renamed(array: FeatureArray, path: str, num_files: int) -> FeatureArray:
    """With several inputs in one set, arrays are called FILE/NAME."""
    if num_files == 1:
        return array
    stem = Path(path).stem
    return replace(array, name=stem if array.name in ("", "features") else f"{stem}/{array.name}")


def _entry(reader: ArraySetReader, name: str) -> ArrayEntry:
    found = reader.find(name)
    if found is None and name.isdecimal() and int(name) < reader.num_entries:
        found = reader.entries[int(name)]
    if found is None:
        raise UsageError(f"{reader.name}: has no array called {name}; see smalto features info")
    return found


def _codec_of(target: str, profile: str | None) -> FeatureCodec:
    """The codec that the set to append to was written with."""
    from smalto.bits.array_set_reader import ArraySetReader
    from smalto.systems.feature_codec import FeatureCodec
    from smalto.systems.feature_profile import FeatureProfile

    check_inputs([target])
    with ArraySetReader.open(target) as reader:
        return FeatureCodec.of_set(reader, None if profile is None else FeatureProfile.load(profile))


def _write(
    codec: FeatureCodec, arrays: list[FeatureArray], target: str, append: bool, embed: bool | None, reporter: Reporter
) -> None:
    """Write or append, with progress, and say what came out."""
    from smalto.bits.array_set_writer import ArraySetWriter
    from smalto.bits.dtypes import DTYPE_BYTES
    from smalto.systems.feature_profile import keep_copy

    total = sum(math.prod(array.shape) for array in arrays)
    raw = sum(math.prod(array.shape) * DTYPE_BYTES[array.dtype_name] for array in arrays)
    if embed is None:
        embed = codec.embeds(total)
    writer = ArraySetWriter.append(target) if append else ArraySetWriter(codec.info(embed=embed), target)
    done = 0
    with writer, reporter.counter(target) as count:

        def tell(num_values: int) -> None:
            nonlocal done
            done += num_values
            count(done, total, "values")

        codec.coder().write(writer, arrays, tell)
    size = Path(target).stat().st_size
    if not append:
        share = 100 * size / max(raw, 1)
        reporter.line(
            f"{target}: {size} bytes, {8 * size / max(total, 1):.3f} bits a value, {share:.1f} % of the input"
        )
        if not embed:
            kept = keep_copy(codec.profile)
            where = f"a copy is {kept}" if kept else "no copy could be kept"
            reporter.line(
                f"{target}: cannot be read without profile {codec.profile.digest.hex()}, which is not inside; {where}"
            )
    else:
        reporter.line(f"{target}: {len(arrays)} arrays added, {size} bytes now")


def _threads(wanted: int | None) -> int:
    if wanted is not None and wanted < 1:
        raise UsageError(f"--threads {wanted}: must be 1 or more")
    return wanted or available_cores()


def _counted(arrays: list[FeatureArray], total: int, count: Callable[[int, int, str], None]) -> list[FeatureArray]:
    """The same arrays, telling how much of them was read."""
    done = 0

    def counting(array: FeatureArray) -> FeatureArray:
        def read(start: int, stop: int) -> np.ndarray:
            nonlocal done
            values = array.read(start, stop)
            done += values.size
            count(done, total, "values")
            return values

        return replace(array, read=read)

    return [counting(array) for array in arrays]


def _fact_line(codec: FeatureCodec) -> str:
    return ", ".join(f"{name} {text}" for name, text in codec.profile.facts.items())
