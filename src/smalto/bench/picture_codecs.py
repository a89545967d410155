"""What the rate-distortion benchmark can measure: a System, a classical codec, or a codec of your own.

Your own codec is a class with an empty constructor and two methods::

    class Mine:
        def encode(self, image: smalto.Image, quality: int) -> bytes: ...
        def decode(self, data: bytes) -> smalto.Image: ...

``smalto bench rd --codec package.module:Mine`` or ``--codec path/to/file.py:Mine`` measures it beside the others.
Every byte that ``encode`` returns is counted; ``decode`` gets those bytes and nothing else. If the class also has an
attribute ``stage_seconds`` (stage -> seconds of the last call), those times stand in the per-picture table.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from smalto.errors import UsageError
from smalto.measure.classical import ClassicalCodec
from smalto.types import Image

if TYPE_CHECKING:
    from smalto.systems import System


class PictureCodec(Protocol):
    """A codec with one dial, from pictures to bytes and back."""

    def encode(self, image: Image, quality: int) -> bytes:
        """The whole file of an 8-bit RGB picture."""
        ...

    def decode(self, data: bytes) -> Image:
        """The picture, of the size it had."""
        ...


@runtime_checkable
class Staged(Protocol):
    """A codec that also says where its time goes."""

    @property
    def stage_seconds(self) -> Mapping[str, float]:
        """Stage -> seconds of the last ``encode`` or ``decode``."""
        ...


class ClassicalPeer:
    """A classical codec as a PictureCodec."""

    def __init__(self, codec: ClassicalCodec) -> None:
        self.codec = codec

    def encode(self, image: Image, quality: int) -> bytes:
        """The file's bytes."""
        return self.codec.encode(image.pixels, quality)

    def decode(self, data: bytes) -> Image:
        """The picture."""
        return Image(self.codec.decode(data))


class SystemCodec:
    """A System as a PictureCodec: real bytes of the whole file, parsed and checked again before decoding."""

    def __init__(self, system: System) -> None:
        self.system = system
        self._stages: Mapping[str, float] = {}

    @property
    def stage_seconds(self) -> Mapping[str, float]:
        """Stages of the last call, as the System names them."""
        return self._stages

    def encode(self, image: Image, quality: int) -> bytes:
        """The .smalto file at ``quality`` 0..100."""
        from smalto.systems.engine import StageTimes

        times = StageTimes()
        data = self.system.encode(image, quality=quality, stages=times).to_bytes()
        self._stages = dict(times.seconds)
        return data

    def decode(self, data: bytes) -> Image:
        """The answer of task ``reconstruct``."""
        from smalto.systems.engine import StageTimes

        times = StageTimes()
        picture = self.system.run("reconstruct", data, times)
        self._stages = dict(times.seconds)
        return picture


def load_codec(name: str) -> PictureCodec:
    """An instance of ``package.module:Class`` (also from the current folder) or ``path/to/file.py:Class``.

    Raises:
        UsageError: no such module or class, or it has not both methods.
    """
    place, _, class_name = name.rpartition(":")
    if not place or not class_name.isidentifier():
        raise UsageError(f"codec {name!r} is not module:Class or file.py:Class")
    try:
        module = _module_of(place)
        codec = getattr(module, class_name)()
    except UsageError:
        raise
    except Exception as error:  # the module is the user's: anything may go wrong in it
        raise UsageError(f"codec {name}: cannot be loaded ({type(error).__name__}: {error})") from error
    if not all(callable(getattr(codec, method, None)) for method in ("encode", "decode")):
        raise UsageError(f"codec {name}: needs methods encode(image, quality) -> bytes and decode(bytes) -> image")
    return codec


def _module_of(place: str) -> object:
    if not place.endswith(".py"):
        here = str(Path.cwd())
        sys.path.insert(0, here)
        try:
            return importlib.import_module(place)
        finally:
            sys.path.remove(here)
    path = Path(place)
    spec = importlib.util.spec_from_file_location(f"smalto_codec_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"codec {place}: no such file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def eight_bit(pixels: np.ndarray) -> np.ndarray:
    """Pixels as uint8: floats in [0, 1] are rounded to nearest."""
    return pixels if pixels.dtype == np.uint8 else (np.clip(pixels, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
