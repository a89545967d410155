"""The demo's report: one HTML page that needs nothing but the pictures lying beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from smalto.bench.demonstration import Demonstration, Shown
from smalto.files import replace_file

PAGE_NAME = "index.html"

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1500px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { margin-top: 3rem; border-top: 1px solid #8886; padding-top: 1.5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 12px; }
figure { margin: 0; } figcaption { font-size: .85rem; } figure img { width: 100%; display: block; }
.crop img { image-rendering: pixelated; }
.wipe { position: relative; display: inline-block; max-width: 100%; }
.wipe img { display: block; max-width: 100%; }
.wipe .top { position: absolute; inset: 0; clip-path: inset(0 calc(100% - var(--cut, 50%)) 0 0); }
.wipe + input { width: 100%; }
""".strip()

_SCRIPT = """
for (const slider of document.querySelectorAll("input[data-wipe]"))
  slider.addEventListener("input", () =>
    slider.previousElementSibling.style.setProperty("--cut", slider.value + "%"));
""".strip()


def write_report(demonstrations: Sequence[Demonstration], folder: Path, system_name: str) -> Path:
    """Write ``index.html`` into ``folder``.

    Args:
        demonstrations: one a picture; their files lie in ``folder``.
        folder: where the page goes.
        system_name: stated at the top.

    Returns:
        The page's path.
    """
    sections = "\n".join(_section(shown) for shown in demonstrations)
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>smalto demo</title>
<style>
{_STYLE}
</style>
</head>
<body>
<h1>One file, every task</h1>
<p>Each photograph was encoded once with the system <code>{escape(system_name)}</code>. Everything below was answered
from that one <code>.smalto</code> file; JPEG and WebP stand beside it at the largest quality that is not larger. Sizes
are those of the whole files. Click a picture to open it.</p>
{sections}
<script>
{_SCRIPT}
</script>
</body>
</html>
"""
    target = folder / PAGE_NAME
    replace_file(target, page.encode())
    return target


def _section(shown: Demonstration) -> str:
    facts = (
        f"{shown.width} x {shown.height} pixels in {shown.num_bytes:,} bytes "
        f"({shown.bits_per_pixel:.3f} bits per pixel): "
        f'<a href="{quote(shown.packet_file)}">{escape(shown.packet_file)}</a>. '
        f"Encoded in {shown.encode_s:.2f} s; every task answered in {shown.answer_s:.2f} s on this machine."
    )
    parts = [f"<h2>{escape(shown.title)}</h2>", f"<p>{facts}</p>", _wipe(shown.whole[0], shown.whole[1])]
    parts.append(_row("The whole picture", shown.whole, "row"))
    parts.append(_row("Where there is most detail", shown.crop, "row crop"))
    if shown.enlarged:
        parts.append(_row("Twice the size", shown.enlarged, "row"))
    if shown.answers:
        parts.append(_row("Further tasks", shown.answers, "row"))
    return "\n".join(parts)


def _row(title: str, pictures: Sequence[Shown], kind: str) -> str:
    figures = "\n".join(_figure(picture) for picture in pictures)
    return f'<h3>{escape(title)}</h3>\n<div class="{kind}">\n{figures}\n</div>'


def _figure(picture: Shown) -> str:
    caption = f": {escape(picture.caption)}" if picture.caption else ""
    source = quote(picture.file)
    return (
        f'<figure><a href="{source}"><img src="{source}" alt="{escape(picture.label)}" loading="lazy"></a>'
        f"<figcaption><b>{escape(picture.label)}</b>{caption}</figcaption></figure>"
    )


def _wipe(left: Shown, right: Shown) -> str:
    """Two pictures on top of each other with a slider between them."""
    names = f"{escape(left.label)} on the left, {escape(right.label)} on the right"
    return (
        f'<div><div class="wipe"><img src="{quote(right.file)}" alt="{escape(right.label)}">'
        f'<img class="top" src="{quote(left.file)}" alt="{escape(left.label)}"></div>'
        f'<input type="range" data-wipe min="0" max="100" value="50" aria-label="{names}"></div>'
    )
