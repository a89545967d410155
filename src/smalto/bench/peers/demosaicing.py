"""Classical demosaicing from the kept library ``colour-demosaicing`` (the extra ``bench``)."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from types import ModuleType

import numpy as np

from smalto.errors import MissingExtra

PACKAGE = "colour-demosaicing"
METHODS = {
    "bilinear": "demosaicing_CFA_Bayer_bilinear",
    "malvar-2004": "demosaicing_CFA_Bayer_Malvar2004",
    "menon-2007": "demosaicing_CFA_Bayer_Menon2007",
}
Demosaicer = Callable[[np.ndarray, str], np.ndarray]
"""(H, W) float64 in [0, 1] and its CFA pattern -> (H, W, 3) float64, not clipped."""


def peer_demosaicer(name: str) -> Demosaicer:
    """One of ``METHODS``.

    Source: Malvar, He, Cutler, "High-quality linear interpolation for demosaicing of Bayer-patterned color images",
    ICASSP 2004; Menon, Andriani, Calvagno, "Demosaicing with directional filtering and a posteriori decision", IEEE
    TIP 2007.

    Raises:
        MissingExtra: the library is not installed.
    """
    method = getattr(_library(), METHODS[name])

    def demosaiced(mosaic: np.ndarray, pattern: str) -> np.ndarray:
        return np.asarray(method(mosaic, pattern))

    return demosaiced


def _library() -> ModuleType:
    try:
        with warnings.catch_warnings():  # about names of SciPy that it uses, and packages that it could use
            warnings.simplefilter("ignore")
            return importlib.import_module("colour_demosaicing")
    except (ImportError, OSError) as error:
        raise MissingExtra(f"{PACKAGE} cannot be imported ({error}); pip install 'smalto[bench]'") from error
