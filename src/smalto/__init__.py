"""smalto: encode an image once, store it in one small file, let every task read that file.

Example:
    >>> import smalto
    >>> sorted(smalto.__all__)[:4]
    ['Affine', 'FeatureCodec', 'Image', 'Latent']

Importing this package imports neither NumPy, numba nor torch: every public name is fetched when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smalto import errors
    from smalto.bits.packet import Packet
    from smalto.data.photographs import read_image
    from smalto.systems import System, load
    from smalto.systems.feature_codec import FeatureCodec
    from smalto.types import Affine, Image, Latent, LatentSpec

__version__ = "0.1.0"

__all__ = [
    "Affine",
    "FeatureCodec",
    "Image",
    "Latent",
    "LatentSpec",
    "Packet",
    "System",
    "__version__",
    "errors",
    "load",
    "read_image",
]

_HOMES = {
    "Affine": "smalto.types",
    "FeatureCodec": "smalto.systems.feature_codec",
    "Image": "smalto.types",
    "Latent": "smalto.types",
    "LatentSpec": "smalto.types",
    "Packet": "smalto.bits.packet",
    "System": "smalto.systems",
    "load": "smalto.systems",
    "read_image": "smalto.data.photographs",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("smalto.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'smalto' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
