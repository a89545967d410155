"""Writing what a task answers: the output's extension chooses between a picture, numbers and JSON.

::

                     .png, .jpg, ...                  .npy                   .npz                .json
    Image            the picture                      pixels                 pixels, alpha       PNG in base64
    LabelMap         coloured, above a legend         ids, uint8             ids                 classes, shares, ids
    DisparityMap     coloured, above a scale          disparity, float32     disparity           range, 16-bit PNG
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from smalto.cli.outputs import PIPE, Job, write_target
from smalto.errors import UsageError
from smalto.types import DisparityMap, Image, LabelMap

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as PilImage

Answer: TypeAlias = Image | LabelMap | DisparityMap

_OWN_ENDINGS = (".npy", ".npz", ".json")
_CAPTION_PX = 20
_GAP_PX = 6
_MASK_SHARE = 0.5
_TOP_LEVEL = 65535


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
            raise UsageError(f"{job.target}: nothing writes the extension {ending!r}; use .png, .npy, .npz or .json")


def write_answer(answer: Answer, target: str, task: str) -> None:
    """Write a task's answer to a file or the pipe (as PNG).

    ``.npy`` is the array itself: pixels (H, W, 3) of a picture, class ids (H, W) uint8, disparity (H, W) float32 in
    pixels; ``.npz`` the same under ``pixels`` (and ``alpha``), ``ids`` or ``disparity``. ``.json`` is one object with
    ``task``, ``kind``, ``height``, ``width`` and, by kind:

    - ``image``: ``grey``, ``alpha`` (whether there is one), ``png_base64``.
    - ``labels``: ``classes``, each with ``id``, ``name``, ``colour`` and ``share`` of the pixels; ``unknown_share`` of
      ids without a name; ``ids_png_base64``, a grey PNG of 8 bits whose levels are the ids.
    - ``disparity``: ``unit`` (``px``); ``min``, ``max``, ``mean`` of what is finite, null when nothing is;
      ``unknown_share``; ``png16_base64``, a grey PNG of 16 bits whose level 0 is unknown and whose level n from 1 is
      ``png16_offset + n * png16_scale`` pixels.

    Args:
        answer: what the head returned.
        target: output name; any extension but those above is a picture's.
        task: the task's name, stated in JSON.
    """
    ending = Path(target).suffix.lower()
    if target == PIPE:
        write_target(target, png_bytes(answer.to_pil()))
    elif ending == ".json":
        write_target(target, json.dumps(_record(answer, task)).encode() + b"\n")
    elif ending == ".npz":
        write_target(target, _npz_bytes(_arrays(answer)))
    else:
        answer.save(target)


def png_bytes(picture: PilImage) -> bytes:
    """A Pillow picture as a PNG file."""
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def side_by_side(decoded: Image, answer: Answer, task: str) -> bytes:
    """A PNG strip for people: the decoder's picture, what the task answers, and a caption above each.

    A picture stands beside the decoded one, enlarged bicubically where the answer is larger. Class ids are shown over
    the decoded picture, then with their legend; disparity with its scale.

    Args:
        decoded: the frozen decoder's picture; of several views the first one's.
        answer: to the task.
        task: its name.
    """
    from PIL import Image as PilImages

    first = decoded.to_pil().convert("RGB")
    if isinstance(answer, LabelMap):
        mask = PilImages.fromarray(answer.coloured())
        tiles = [("decoded", first), (f"{task} over it", PilImages.blend(first, mask, _MASK_SHARE))]
        return png_bytes(_strip([*tiles, (task, answer.to_pil())]))
    if isinstance(answer, DisparityMap):
        return png_bytes(_strip([("left, decoded", first), (task, answer.to_pil())]))
    second = answer.to_pil().convert("RGB")
    if second.size == first.size:
        return png_bytes(_strip([("before: decoded", first), (f"after: {task}", second)]))
    enlarged = first.resize(second.size, PilImages.Resampling.BICUBIC)
    return png_bytes(_strip([("decoded, enlarged", enlarged), (task, second)]))


def _strip(tiles: Sequence[tuple[str, PilImage]]) -> PilImage:
    """Tiles beside each other, tops in line, a caption above each."""
    from PIL import Image as PilImages
    from PIL import ImageDraw, ImageFont

    font = ImageFont.load_default()
    widths = [max(tile.width, int(font.getlength(caption)) + 8) for caption, tile in tiles]
    height = _CAPTION_PX + max(tile.height for _, tile in tiles)
    sheet = PilImages.new("RGB", (sum(widths) + _GAP_PX * (len(tiles) - 1), height), "white")
    pen, left = ImageDraw.Draw(sheet), 0
    for (caption, tile), width in zip(tiles, widths, strict=True):
        pen.text((left + 4, 4), caption, fill="black", font=font)
        sheet.paste(tile, (left, _CAPTION_PX))
        left += width + _GAP_PX
    return sheet


def _arrays(answer: Answer) -> dict[str, np.ndarray]:
    """An answer's numbers by name."""
    if isinstance(answer, LabelMap):
        return {"ids": answer.ids}
    if isinstance(answer, DisparityMap):
        return {"disparity": answer.pixels}
    return {"pixels": answer.pixels} | ({} if answer.alpha is None else {"alpha": answer.alpha})


def _npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    import numpy as np

    buffer = BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _record(answer: Answer, task: str) -> dict[str, Any]:
    """The JSON object of an answer."""
    size = {"height": answer.height, "width": answer.width}
    if isinstance(answer, LabelMap):
        return {"task": task, "kind": "labels", **size, **_label_facts(answer)}
    if isinstance(answer, DisparityMap):
        return {"task": task, "kind": "disparity", **size, **_disparity_facts(answer)}
    facts = {"grey": answer.grey, "alpha": answer.alpha is not None, "png_base64": _base64_png(answer.to_pil())}
    return {"task": task, "kind": "image", **size, **facts}


def _label_facts(labels: LabelMap) -> dict[str, Any]:
    import numpy as np
    from PIL import Image as PilImages

    shares = (np.bincount(labels.ids.reshape(-1), minlength=256) / labels.ids.size).tolist()
    named = zip(labels.names, labels.colours, strict=True)
    return {
        "classes": [
            {"id": k, "name": name, "colour": list(colour), "share": shares[k]}
            for k, (name, colour) in enumerate(named)
        ],
        "unknown_share": float(sum(shares[len(labels.names) :])),
        "ids_png_base64": _base64_png(PilImages.fromarray(labels.ids)),
    }


def _disparity_facts(disparity: DisparityMap) -> dict[str, Any]:
    import numpy as np
    from PIL import Image as PilImages

    known = np.isfinite(disparity.pixels)
    values = disparity.pixels[known].astype(np.float64)
    least, largest = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    scale = (largest - least) / (_TOP_LEVEL - 1)
    levels = np.zeros(disparity.pixels.shape, np.uint16)
    levels[known] = np.rint((values - least) / (scale or 1.0)) + 1
    return {
        "unit": "px",
        "min": least if values.size else None,
        "max": largest if values.size else None,
        "mean": float(values.mean()) if values.size else None,
        "unknown_share": float(1.0 - known.mean()),
        "png16_scale": scale,
        "png16_offset": least - scale,
        "png16_base64": _base64_png(PilImages.fromarray(levels)),
    }


def _base64_png(picture: PilImage) -> str:
    return base64.b64encode(png_bytes(picture)).decode("ascii")
