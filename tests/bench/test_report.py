"""The page holds what was measured, names files by working links, and cannot be broken by a file's name."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from smalto.bench.demonstration import Demonstration, Shown
from smalto.bench.report import write_report

NASTY = 'a "b" <script>&amp; %41#?.png'


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.names += [unquote(value) for key, value in attrs if key in ("src", "href") and value]

    def handle_data(self, data: str) -> None:
        self.text += data


def _demonstration(stem: str) -> Demonstration:
    original, ours = (
        Shown("original", f"{stem}.original"),
        Shown("smalto", f"{stem}.smalto.png", "1,234 bytes, 30.00 dB"),
    )
    return Demonstration(
        title=stem,
        height=50,
        width=80,
        packet_file=f"{stem}.smalto",
        num_bytes=1234,
        psnr_db=30.0,
        encode_s=0.25,
        answer_s=0.5,
        whole=(original, ours),
        crop=(original, ours),
        enlarged=(ours,),
        answers=(Shown("segment", f"{stem}.segment.png"),),
    )


def test_page_states_what_was_measured(tmp_path: Path) -> None:
    page = _Page(write_report([_demonstration("boat")], tmp_path, "lite-0").read_text())
    for text in ("lite-0", "80 x 50 pixels", "1,234 bytes", "2.468 bits per pixel", "30.00 dB", "0.25 s", "0.50 s"):
        assert text in page.text
    assert {"boat.smalto", "boat.original", "boat.smalto.png", "boat.segment.png"} == set(page.names)


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    plain = _Page(write_report([_demonstration("boat")], tmp_path, "s").read_text())
    nasty = _Page(write_report([_demonstration(NASTY)], tmp_path, "<b>").read_text())
    assert nasty.tags == plain.tags
    assert f"{NASTY}.smalto" in nasty.names
    assert NASTY in nasty.text


def test_links_stay_in_the_folder(tmp_path: Path) -> None:
    text = write_report([_demonstration("boat")], tmp_path, "s").read_text()
    assert "//" not in text
    assert all(not name.startswith("/") for name in _Page(text).names)
