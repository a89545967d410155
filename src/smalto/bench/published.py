"""Published rate-distortion curves on Kodak, for comparison: mean bpp and mean RGB PSNR over the 24 pictures.

They are read from papers and from the codecs' public result files, not measured here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedCurve:
    """A curve of someone else's.

    Args:
        name: short name, as in tables and plots.
        points: (bpp, RGB PSNR in dB), rising.
        source: where the method was published.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    source: str


def _curve(name: str, rates: tuple[float, ...], psnrs: tuple[float, ...], source: str) -> PublishedCurve:
    return PublishedCurve(name, tuple(zip(rates, psnrs, strict=True)), source)


KODAK = (
    _curve(
        "bmshj2018-hyperprior",
        (0.131, 0.209, 0.320, 0.478, 0.669),
        (27.58, 29.20, 30.97, 32.84, 34.53),
        "Balle, Minnen, Singh, Hwang, Johnston, Variational image compression with a scale hyperprior, ICLR 2018;"
        " CompressAI's models, MSE",
    ),
    _curve(
        "mbt2018-mean",
        (0.124, 0.198, 0.307, 0.461, 0.662),
        (27.70, 29.36, 31.13, 32.95, 34.97),
        "Minnen, Balle, Toderici, Joint autoregressive and hierarchical priors, NeurIPS 2018, without context;"
        " CompressAI's models, MSE",
    ),
    _curve(
        "ELIC",
        (0.124, 0.197, 0.334, 0.491, 0.704),
        (29.11, 30.70, 32.78, 34.58, 36.49),
        "He, Yang, Peng, Ma, Qin, Wang, ELIC, CVPR 2022, the paper's values",
    ),
    _curve(
        "VTM",
        (0.113, 0.246, 0.491, 0.875),
        (28.49, 31.20, 34.26, 37.42),
        "VVC test model, intra, 4:4:4; CompressAI's result files",
    ),
    _curve(
        "BPG 4:4:4",
        (0.161, 0.352, 0.685),
        (28.68, 31.60, 34.86),
        "BPG 0.9.8 (HEVC intra), 4:4:4; CompressAI's result files",
    ),
)
