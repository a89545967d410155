"""Sentences come from docstrings, the same every time, and pairs are what their grades say."""

from __future__ import annotations

from collections import Counter

from smalto.bench.feature_text import MAX_CHARACTERS, MIN_CHARACTERS, installed_sentences, prose

DOCSTRING = """f(x, *, out=None) -> Tensor

Computes the *sum* of :attr:`x` and ``y``,
as :func:`~torch.add` does.

Too short.

Args:
    x (Tensor): the input tensor, which is long enough to be prose.

>>> print("This is code, and it ends with a full stop.")

a paragraph that starts with a small letter and is no prose.

It is defined by :math:`x + y`, for all elements of the tensors.

The result has the shape of both.
"""


def test_prose_of_a_docstring() -> None:
    assert prose(DOCSTRING) == [
        "Computes the *sum* of x and y, as torch.add does.",
        "The result has the shape of both.",
    ]


def test_pairs_of_installed_packages() -> None:
    sentences = installed_sentences()
    assert sentences == installed_sentences()
    grades = Counter(pair.grade for pair in sentences.pairs)
    assert set(grades) == {0, 1, 2}
    assert grades[0] == grades[1] == grades[2] >= 100
    assert [pair.grade for pair in sentences.pairs] == sorted((pair.grade for pair in sentences.pairs), reverse=True)
    for pair in sentences.pairs:
        assert pair.first != pair.second
    tested = sentences.tested()
    assert len(set(sentences.others)) == len(sentences.others) >= 300
    assert not set(tested) & set(sentences.others)
    for text in (*tested, *sentences.others):
        assert MIN_CHARACTERS <= len(text) <= MAX_CHARACTERS
        assert text.endswith(".")
        assert "\n" not in text
