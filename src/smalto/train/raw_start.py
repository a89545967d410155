"""Where training of the RAW encoder starts: the encoder of pictures behind a short demosaicing filter.

Of a window of 4 x 4 samples, which is all that the first convolution sees, a linear filter guesses the three channels
at every place. That filter and the first convolution of the encoder of pictures are one convolution over one channel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import UsageError
from smalto.layers.bayer import channel_map

_WINDOW = 4  # the first convolution is 4 x 4 with stride 2 and padding 1
_FIRST = "enc_b.0.weight"


@torch.no_grad()
def start_from_pictures(encoder: SharedEncoder, teacher: SharedEncoder) -> None:
    """Set a RAW encoder's weights so that it does what the teacher does on a demosaiced picture.

    Exact where the picture is flat, as good as bilinear demosaicing within the window elsewhere.

    Args:
        encoder: of one channel, RGGB.
        teacher: of three.

    Raises:
        UsageError: the encoders have other numbers of channels.
    """
    if (encoder.channels_in, teacher.channels_in) != (1, 3):
        raise UsageError("the RAW encoder takes one channel and starts from an encoder of three")
    weights = dict(teacher.state_dict())
    kernel = weights[_FIRST].float()  # (64, 3, 4, 4)
    guess = window_demosaicing().to(kernel.device)
    weights[_FIRST] = torch.einsum("ocij,cijkl->okl", kernel, guess)[:, None]  # (64, 1, 4, 4)
    encoder.load_state_dict(weights)


def window_demosaicing() -> Tensor:
    """The filter from a window's samples to its channels.

    A window starts an odd row and column into an RGGB mosaic, so its own layout is BGGR. A channel at a place is the
    sample there when it has that colour, else the mean of the nearest samples of that colour within the window, each
    weighted as bilinear interpolation does.

    Returns:
        (3, 4, 4, 4, 4): channel, place (i, j), sample (k, l); sums over samples are 1.
    """
    colour = channel_map("BGGR", _WINDOW, _WINDOW)
    place = torch.arange(_WINDOW)
    near = (2 - (place[:, None] - place[None, :]).abs()).clamp_min(0).float()  # (i, k): 2, 1 or 0
    weights = near[:, None, :, None] * near[None, :, None, :]  # (i, j, k, l)
    of_channel = torch.stack([colour == channel for channel in range(3)]).float()  # (3, k, l)
    guess = weights[None] * of_channel[:, None, None]
    own = torch.einsum("ik,jl->ijkl", torch.eye(_WINDOW), torch.eye(_WINDOW))[None] * of_channel[:, None, None]
    is_own = own.sum(dim=(3, 4), keepdim=True) > 0
    guess = torch.where(is_own, own, guess)
    return guess / guess.sum(dim=(3, 4), keepdim=True)
