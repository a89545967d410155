"""Writing what a task answers: the output's extension chooses between a picture, numbers and JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from smalto.cli.outputs import PIPE, Job, write_target
from smalto.errors import UsageError
from smalto.types import Image

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_OWN_ENDINGS = (".npy", ".json")


def check_endings(jobs: Sequence[Job]) -> None:
    """Refuse an output whose extension nothing can write, before any work.

    Raises:
        UsageError: naming the output and its extension.
    """
    from PIL import Image as PilImages

    for job in jobs:
        ending = Path(job.target).suffix.lower()
        known = ending in _OWN_ENDINGS or PilImages.registered_extensions().get(ending) in PilImages.SAVE
        if job.target != PIPE and not known:
            raise UsageError(f"{job.target}: nothing writes the extension {ending!r}; use .png, .npy or .json")


def write_answer(answer: Image, target: str, task: str) -> None:
    """Write a task's answer to a file or the pipe (as PNG).

    Args:
        answer: what the head returned.
        target: output name; ``.npy`` the numbers, ``.json`` for scripts, any other extension a picture.
        task: the task's name, stated in JSON.
    """
    if target == PIPE:
        write_target(target, png_bytes(answer.to_pil()))
    elif Path(target).suffix.lower() == ".json":
        write_target(target, _json_bytes(answer, task))
    else:
        answer.save(target)


def png_bytes(picture: PilImage) -> bytes:
    """A Pillow picture as a PNG file."""
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def side_by_side(left: Image, right: Image) -> bytes:
    """A PNG of two pictures, the left one enlarged bicubically to the right one's size."""
    from PIL import Image as PilImages

    second = right.to_pil().convert("RGB")
    first = left.to_pil().convert("RGB").resize(second.size, PilImages.Resampling.BICUBIC)
    sheet = PilImages.new("RGB", (2 * second.width, second.height))
    sheet.paste(first, (0, 0))
    sheet.paste(second, (second.width, 0))
    return png_bytes(sheet)


def _json_bytes(answer: Image, task: str) -> bytes:
    record = {
        "task": task,
        "kind": "image",
        "height": answer.height,
        "width": answer.width,
        "grey": answer.grey,
        "alpha": answer.alpha is not None,
        "png_base64": base64.b64encode(png_bytes(answer.to_pil())).decode("ascii"),
    }
    return json.dumps(record).encode() + b"\n"
