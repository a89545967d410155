"""Rate and distortion of every codec on a folder of pictures, through real bytes of whole files.

::

    folder ─► read_image ─► codec.encode(quality) ─► bytes ─► codec.decode ─► PSNR, MS-SSIM, bpp, seconds
                 (per picture and quality)                      │
    mean curve per codec ◄── means over pictures at equal quality setting ──► BD-rates, gains in dB at equal rate

Conventions: bpp = 8 x bytes of the file / (height x width). A curve's point is the mean of the pictures' bpp and the
mean of the pictures' PSNR (over RGB, 8 bits) at one quality setting, not the PSNR of the mean error: on Kodak that
gives JPEG .268/26.67 .458/29.14 .615/30.49 .865/32.17 bpp/dB at qualities 10 20 30 50, WebP .217/28.11 .377/30.19
.577/32.20 .769/33.73 at 5 20 40 60, AVIF .189/28.60 .308/30.41 .494/32.46 .721/34.28 at 25 35 45 55. The published
curves use the same convention.
Every codec is given 8-bit RGB without alpha. Each runs once before it is timed; times are wall-clock seconds of one
call with the picture in memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from smalto.bench.picture_codecs import ClassicalPeer, PictureCodec, Staged, SystemCodec, eight_bit, load_codec
from smalto.bench.rd_tables import ROW_COLUMNS, curve_table, gain_table, picture_table, saving_table
from smalto.bench.results import BenchResult, bench_result
from smalto.data.photographs import image_tensor, picture_files, read_image
from smalto.errors import UsageError
from smalto.measure.classical import CODECS
from smalto.measure.psnr import psnr_db
from smalto.types import Image

OURS = "smalto"
MAX_PSNR_DB = 100.0
Progress = Callable[[int, int, str], None]

PEER_QUALITIES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "jpeg": (4, 5, 7, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80),
        "webp": (0, 5, 10, 20, 30, 40, 50, 60, 70, 80),
        "avif": (15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70),
    }
)


@dataclass(frozen=True)
class RdSettings:
    """What to measure.

    Args:
        folder: pictures.
        qualities: settings of the System and of an own codec.
        peers: classical codecs, names of ``PEER_QUALITIES``.
        system: name of an installed system; None leaves it out.
        device: torch device of the system.
        codec: ``module:Class`` or ``file.py:Class`` of an own codec, or None.
        published: which published curves stand beside; ``kodak``, which shows only when the pictures are the 24 of
            Kodak by name, or an empty text for none.
        peers_from: JSON of an earlier run on the same pictures, whose classical rows are taken over.
    """

    folder: Path
    qualities: tuple[int, ...] = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    peers: tuple[str, ...] = ("jpeg", "webp", "avif")
    system: str | None = "default"
    device: str = "cpu"
    codec: str | None = None
    published: str = "kodak"
    peers_from: Path | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.peers) - set(PEER_QUALITIES))
        if unknown:
            raise UsageError(f"peer {unknown[0]!r} is unknown; choose from {', '.join(PEER_QUALITIES)}")
        if self.published not in ("", "kodak"):
            raise UsageError(f"published curves of {self.published!r} are not known; use 'kodak' or ''")
        if not self.qualities or len(set(self.qualities)) != len(self.qualities):
            raise UsageError("name one or more qualities, each once")

    @property
    def command(self) -> str:
        """The command that repeats the measurement; the folder by its own name alone."""
        words = ["smalto bench rd --data", self.folder.name, "--qualities", ",".join(map(str, self.qualities))]
        words += ["--peers", ",".join(self.peers) or "none"]
        words += ["--system", self.system or "none"]
        words += [] if self.device == "cpu" else ["--device", self.device]
        words += [] if self.codec is None else ["--codec", self.codec.rpartition("/")[2]]
        words += [] if self.published else ["--published none"]
        return " ".join(words)


@dataclass(frozen=True)
class Measurement:
    """One picture through one codec at one quality.

    Args:
        codec: the codec's name.
        picture: the file's name.
        quality: the codec's own setting.
        height: px.
        width: px.
        num_bytes: the whole file.
        psnr_db: over RGB, 8 bits; 100 for equal pictures.
        ms_ssim: 0..1.
        encode_s: wall-clock seconds.
        decode_s: wall-clock seconds.
        stages: (``encode.STAGE`` or ``decode.STAGE``, seconds), where the codec tells.
    """

    codec: str
    picture: str
    quality: int
    height: int
    width: int
    num_bytes: int
    psnr_db: float
    ms_ssim: float
    encode_s: float
    decode_s: float
    stages: tuple[tuple[str, float], ...] = ()

    @property
    def bpp(self) -> float:
        """Bits of the whole file per pixel."""
        return 8.0 * self.num_bytes / (self.height * self.width)


def measure(settings: RdSettings, *, progress: Progress | None = None) -> BenchResult:
    """Measure everything the settings name.

    Args:
        settings: what to measure.
        progress: called with (done, total, what) after every picture and quality.

    Returns:
        Tables ``pictures``, ``curves``, ``savings`` (BD-rates of ours, or of the own codec when there is no System)
        and ``gains`` (dB over each peer at equal rate).

    Raises:
        UsageError: a name is unknown, or a codec does not keep to its contract.
        ImageError: a picture cannot be read.
        SmaltoError: the system cannot be loaded.
    """
    files = picture_files(settings.folder)
    codecs = _codecs(settings)
    rows, origin = _earlier(settings, {file.name for file in files})
    kept = {row.codec for row in rows}
    jobs = {name: entry for name, entry in codecs.items() if name not in kept}
    total = len(files) * sum(len(qualities) for _, qualities in jobs.values())
    done = 0
    for name, (codec, qualities) in jobs.items():
        for number, file in enumerate(files):
            image = _plain(read_image(file))
            if number == 0:
                codec.decode(codec.encode(image, qualities[0]))  # warm: compilers, caches, thread pools
            for quality in qualities:
                rows.append(measure_one(name, codec, image, quality, file.name))
                done += 1
                if progress is not None:
                    progress(done, total, f"{name} {file.name}")
    is_kodak = sorted(file.stem for file in files) == [f"kodim{number:02d}" for number in range(1, 25)]
    if settings.published and not is_kodak:
        settings = replace(settings, published="")
        origin = "; ".join(filter(None, (origin, "published curves left out, for they are of Kodak's 24 pictures")))
    return summarise(rows, settings, origin)


def measure_one(name: str, codec: PictureCodec, image: Image, quality: int, picture: str) -> Measurement:
    """One picture through one codec at one quality.

    Raises:
        UsageError: the codec returns no bytes, or a picture of another size.
    """
    start = time.perf_counter()
    data = codec.encode(image, quality)
    encode_s = time.perf_counter() - start
    stages = _stages(codec, "encode")
    if not isinstance(data, bytes):
        raise UsageError(f"codec {name}: encode returned {type(data).__name__}, not bytes")
    start = time.perf_counter()
    decoded = codec.decode(data)
    decode_s = time.perf_counter() - start
    stages += _stages(codec, "decode")
    if not isinstance(decoded, Image) or decoded.pixels.shape != image.pixels.shape:
        raise UsageError(f"codec {name}: decode returned no Image of {image.width}x{image.height} for {picture}")
    decoded = _plain(decoded)
    return Measurement(
        name,
        picture,
        quality,
        image.height,
        image.width,
        len(data),
        min(psnr_db(decoded.pixels, image.pixels), MAX_PSNR_DB),
        _ms_ssim(decoded, image),
        encode_s,
        decode_s,
        stages,
    )


def summarise(rows: Sequence[Measurement], settings: RdSettings, origin: str = "") -> BenchResult:
    """Tables of measurements, stamped with the command, commit and machine.

    Args:
        rows: what was measured; the curves stand in the order of their first rows.
        settings: what it was measured with.
        origin: where rows come from that this run did not measure, for the tables' note.
    """
    curves = curve_table(rows, settings.published, origin)
    subject = OURS if any(row.codec == OURS for row in rows) else settings.codec
    tables = [picture_table(rows), curves]
    if subject is not None:
        tables += [saving_table(curves, subject), gain_table(curves, subject)]
    return bench_result("rd", settings.command, tables, ("smalto", "torch", "numpy", "pillow"))


def _codecs(settings: RdSettings) -> dict[str, tuple[PictureCodec, tuple[int, ...]]]:
    codecs: dict[str, tuple[PictureCodec, tuple[int, ...]]] = {}
    if settings.codec is not None:
        codecs[settings.codec] = load_codec(settings.codec), settings.qualities
    if settings.system is not None:
        from smalto.systems import load

        codecs[OURS] = SystemCodec(load(settings.system, settings.device)), settings.qualities
    for name in settings.peers:
        codecs[name] = ClassicalPeer(CODECS[name]), PEER_QUALITIES[name]
    if not codecs:
        raise UsageError("nothing to measure: name a system, a codec or a peer")
    return codecs


def _earlier(settings: RdSettings, names: set[str]) -> tuple[list[Measurement], str]:
    """The classical codecs' rows of an earlier run, and a note that says which run."""
    if settings.peers_from is None:
        return [], ""
    try:
        text = settings.peers_from.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{settings.peers_from}: cannot be read; name a file written with --json") from error
    earlier = BenchResult.from_json(text)
    table = earlier.table("pictures")
    known = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    fields = [name for name in ROW_COLUMNS if name != "bpp"]
    rows = [Measurement(*(row[key] for key in fields)) for row in known if row["codec"] in settings.peers]  # type: ignore[arg-type]
    if {row.picture for row in rows} - names or (rows and names - {row.picture for row in rows}):
        raise UsageError(f"{settings.peers_from}: was measured on other pictures; measure the peers again")
    taken = ", ".join(dict.fromkeys(row.codec for row in rows)) or "none"
    return rows, f"taken from the run of {earlier.date} on {earlier.machine}: {taken}"


def _plain(image: Image) -> Image:
    """8-bit RGB without alpha or grey flag."""
    return Image(eight_bit(image.pixels), source=image.source)


def _stages(codec: PictureCodec, call: str) -> tuple[tuple[str, float], ...]:
    if not isinstance(codec, Staged):
        return ()
    return tuple((f"{call}.{stage}", float(seconds)) for stage, seconds in codec.stage_seconds.items())


def _ms_ssim(first: Image, second: Image) -> float:
    import torch

    from smalto.measure.ssim import ms_ssim

    with torch.inference_mode():
        value = float(ms_ssim(image_tensor(first), image_tensor(second)))
    return value if math.isfinite(value) else 0.0
