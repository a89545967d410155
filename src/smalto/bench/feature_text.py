"""Sentences and graded pairs of them, from the documentation that installed packages carry.

How they are made, the same on every machine with the same versions of NumPy and torch:

1. Of every public callable of the modules below, the paragraphs of its docstring that are prose: 30 to 300
   characters, starting with a capital, ending with a full stop, no code, no table, no heading. The first is the
   callable's summary. Markup goes, white space becomes one blank.
2. Grade 2, the same thing: the summaries of two callables of one name, one of NumPy and one of torch.
3. Grade 1, the same field: summaries of two callables of one field (linear algebra, Fourier transforms, random
   numbers, distributions, losses, layers, optimisers), of different names.
4. Grade 0: summaries of callables of different fields.
   As many of grades 1 and 0 as of grade 2, chosen by the order of the SHA-256 of their names.
5. Sentences to fit on: prose paragraphs that are not summaries.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import itertools
import re
import warnings
from dataclasses import dataclass
from typing import Any

MIN_CHARACTERS = 30
MAX_CHARACTERS = 300
_FIELDS = {  # module -> field; the same name in two modules of one field is the same thing
    "numpy": "arrays",
    "torch": "arrays",
    "numpy.linalg": "linear algebra",
    "torch.linalg": "linear algebra",
    "numpy.fft": "Fourier transforms",
    "torch.fft": "Fourier transforms",
    "numpy.random": "random numbers",
    "torch.distributions": "distributions",
    "torch.nn": "layers",
    "torch.nn.functional": "layers",
    "torch.optim": "optimisers",
}
_NOT_PROSE = ("->", ">>>", "..", "---", "===", "::", "|", "http", "{", "=")
_HEADED = re.compile(r"^(Args|Arguments|Note|Notes|Returns|Example|Examples|Shape|Warning|Alias|See|Keyword)\b")
_MARKUP = ((re.compile(r":[\w:]+:`~?([^`]*)`"), r"\1"), (re.compile(r"`+([^`]*)`+"), r"\1"), (re.compile(r"\s+"), " "))


@dataclass(frozen=True)
class SentencePair:
    """Two sentences and how alike they are.

    Args:
        first: a sentence.
        second: another.
        grade: 2 for the same thing, 1 for the same field, 0 for neither.
    """

    first: str
    second: str
    grade: int


@dataclass(frozen=True)
class Sentences:
    """What the installed documentation gives.

    Args:
        pairs: graded pairs, by grade from 2 to 0.
        others: sentences that are in no pair, to fit on.
    """

    pairs: tuple[SentencePair, ...]
    others: tuple[str, ...]

    def tested(self) -> tuple[str, ...]:
        """Every sentence of a pair, sorted, once."""
        return tuple(sorted({text for pair in self.pairs for text in (pair.first, pair.second)}))


def installed_sentences() -> Sentences:
    """Sentences and pairs from the installed versions of NumPy and torch."""
    summaries: dict[tuple[str, str], str] = {}
    others: list[str] = []
    for module in _FIELDS:
        for name, paragraphs in _documented(importlib.import_module(module)):
            summaries[module, name] = paragraphs[0]
            others += paragraphs[1:]
    same = [
        SentencePair(summaries[first], summaries[second], 2)
        for first, second in itertools.combinations(summaries, 2)
        if _is_same(first, second) and summaries[first] != summaries[second]
    ]
    ordered = sorted(summaries, key=_shuffled)
    near = _pairs(summaries, ordered, 1, len(same))
    far = _pairs(summaries, ordered, 0, len(same))
    pairs = (*same, *near, *far)
    tested = {text for pair in pairs for text in (pair.first, pair.second)}
    left = sorted(set(others) - tested - set(summaries.values()), key=lambda text: _shuffled(("", text)))
    return Sentences(pairs, tuple(left))


def prose(docstring: str) -> list[str]:
    """Paragraphs of a docstring that are prose, without markup."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", docstring):
        text = paragraph
        if ":math:" in text or any(mark in text for mark in _NOT_PROSE):
            continue
        for pattern, plain in _MARKUP:
            text = pattern.sub(plain, text)
        text = text.strip()
        is_sentence = MIN_CHARACTERS <= len(text) <= MAX_CHARACTERS and text[0].isupper() and text.endswith(".")
        if is_sentence and not _HEADED.match(text):
            found.append(text)
    return found


def _documented(module: Any) -> list[tuple[str, list[str]]]:
    """(name, prose) of the public callables of a module that have any."""
    found: list[tuple[str, list[str]]] = []
    for name in sorted(dir(module)):
        if name.startswith("_"):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated names warn when they are looked up
            value = getattr(module, name, None)
        if callable(value):
            paragraphs = prose(inspect.getdoc(value) or "")
            if paragraphs:
                found.append((name, paragraphs))
    return found


def _is_same(first: tuple[str, str], second: tuple[str, str]) -> bool:
    packages = {first[0].partition(".")[0], second[0].partition(".")[0]}
    return first[1] == second[1] and len(packages) == 2 and _FIELDS[first[0]] == _FIELDS[second[0]]


def _pairs(
    summaries: dict[tuple[str, str], str], ordered: list[tuple[str, str]], grade: int, count: int
) -> list[SentencePair]:
    """``count`` pairs of one field (grade 1) or of two (grade 0), each sentence in few of them."""
    found: list[SentencePair] = []
    for step in range(1, len(ordered)):
        for first, second in zip(ordered, ordered[step:], strict=False):
            fields = (_FIELDS[first[0]], _FIELDS[second[0]])
            fits = (fields[0] == fields[1] != "arrays") if grade else fields[0] != fields[1]
            if fits and first[1] != second[1] and summaries[first] != summaries[second]:
                found.append(SentencePair(summaries[first], summaries[second], grade))
            if len(found) == count:
                return found
    return found


def _shuffled(place: tuple[str, str]) -> bytes:
    return hashlib.sha256(".".join(place).encode()).digest()
