"""What readers make of one mutant, and what is wrong with it."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from smalto.bench.fuzz_report import Verdict
from smalto.bits.mutation import Mutant
from smalto.bits.packet import Header, Packet, PacketReport
from smalto.codecs.hyper_coder import VALUE_LIMIT
from smalto.errors import MissingSpace, PacketError
from smalto.systems.system import System
from smalto.types import Image, Latent

LIMIT_S = 1.0
MAX_MESSAGE = 600
Answer = TypeVar("Answer")


class TooLong(BaseException):
    """A mutant's time is over. Not an Exception, so that no reader can take it for an ordinary one."""


@dataclass(frozen=True)
class FuzzTarget:
    """A system and the healthy files that mutants are made of.

    Args:
        system: gives pictures; its ``max_pixels`` keeps a legal flat picture from taking more than a second.
        wide: the same system with the default limit; gives latents.
        originals: healthy files of the system.
    """

    system: System
    wide: System
    originals: tuple[bytes, ...]


@dataclass(frozen=True)
class Examined:
    """What each reader gave: a value, or the named error it refused with."""

    header: Header | PacketError | MissingSpace
    report: PacketReport | PacketError | MissingSpace
    latent: Latent | PacketError | MissingSpace
    picture: Image | PacketError | MissingSpace


def attempt(read: Callable[[], Answer]) -> Answer | PacketError | MissingSpace:
    """A reader's answer, or the error that is its right to raise; any other passes through."""
    try:
        return read()
    except (PacketError, MissingSpace) as error:
        return error


def verified(data: bytes) -> PacketReport:
    """What became of every checksum."""
    with Packet.open(data) as reader:
        return reader.verify()


def examined(target: FuzzTarget, data: bytes) -> Examined:
    """Put a file through info, verify, the latent and the picture."""
    return Examined(
        attempt(lambda: Packet.open(data).header),
        attempt(lambda: verified(data)),
        attempt(lambda: target.wide.latent(data)),
        attempt(lambda: target.system.run("reconstruct", data)),
    )


def complaint_about(target: FuzzTarget, item: Mutant, seen: Examined) -> str | None:
    """What is wrong with the readers' answers, or None."""
    for answer in (seen.header, seen.report, seen.latent, seen.picture):
        if isinstance(answer, Exception) and ("\n" in str(answer) or not 0 < len(str(answer)) <= MAX_MESSAGE):
            return f"the message is not one line of 1..{MAX_MESSAGE} characters: {str(answer)[:99]!r}"
    healthy = isinstance(seen.report, PacketReport) and seen.report.healthy
    given = not isinstance(seen.latent, Exception), not isinstance(seen.picture, Exception)
    if not item.resealed and (healthy or any(given)):
        return f"damage went unnoticed: verify {healthy}, latent {given[0]}, picture {given[1]}"
    if isinstance(seen.latent, Latent) and (complaint := _latent_complaint(seen.latent)) is not None:
        return complaint
    if not isinstance(seen.picture, Image):
        return None
    if not isinstance(seen.header, Header) or not healthy or not given[0]:
        return "there is a picture, and info, verify or the latent refuse the file"
    return _picture_complaint(seen.picture, seen.header, target.system.max_pixels)


def _latent_complaint(latent: Latent) -> str | None:
    rows, columns = latent.height + latent.offset_px[0], latent.width + latent.offset_px[1]
    of_codec = len(latent.spec.planes) == 1  # else a network has made the planes of what the codec bounds
    for spec in latent.spec.planes:
        plane = latent.planes[spec.name]
        shape = (1, spec.channels, *spec.grid(rows, columns))
        if tuple(plane.shape) != shape:
            return f"{spec.name}: a latent of shape {tuple(plane.shape)} where {shape} is declared"
        largest = float(plane.abs().max())
        if not (largest <= VALUE_LIMIT if of_codec else math.isfinite(largest)):
            return f"{spec.name}: the latent has values out of bounds"
    return None


def _picture_complaint(picture: Image, header: Header, max_pixels: int) -> str | None:
    shape = (header.height, header.width, 3)
    if picture.pixels.shape != shape or picture.pixels.dtype != np.uint8:
        return f"a picture {picture.pixels.dtype} {picture.pixels.shape} where {shape} is declared"
    if picture.alpha is not None and (picture.alpha.shape != shape[:2] or picture.alpha.dtype != np.uint8):
        return f"an alpha plane of shape {picture.alpha.shape} where {shape[:2]} is declared"
    return None if shape[0] * shape[1] <= max_pixels else "a picture over max_pixels"


@contextlib.contextmanager
def alarm(limit_s: float) -> Iterator[None]:
    """Raise TooLong in the block once the process has computed ``limit_s`` seconds, where signals can do that.

    Processor time, so that other work on the machine is not held against a file; waiting for ever is for a watchdog.
    """

    def ring(number: int, frame: object) -> None:
        raise TooLong

    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def judge(target: FuzzTarget, item: Mutant, limit_s: float = LIMIT_S) -> Verdict:
    """Put one mutant through every reader; all of them together have ``limit_s`` seconds of processor time."""
    started = time.process_time()
    try:
        with alarm(limit_s):
            seen = examined(target, item.data)
        outcome = type(seen.picture).__name__ if isinstance(seen.picture, Exception) else "picture"
        complaint = complaint_about(target, item, seen)
    except TooLong:
        outcome, complaint = "too long", f"over {limit_s} s"
    except Exception as error:  # whatever has no name of ours is what this run looks for
        outcome, complaint = "crash", f"{type(error).__name__}: {error}"
    seconds = time.process_time() - started
    if complaint is None and seconds > limit_s:
        complaint = f"{seconds:.2f} s"
    return Verdict(item.number, item.kind, item.resealed, outcome, seconds, complaint)
