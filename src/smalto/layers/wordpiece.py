"""BERT's uncased WordPiece tokens, from the vocabulary file that a model carries.

Source: Devlin et al. 2019 (arXiv 1810.04805), section 3, and the public uncased BERT models: text is cleaned,
lower-cased, stripped of accents, split at white space, punctuation and Chinese characters, and every word is cut
greedily into the longest pieces of the vocabulary. Names of special tokens in the text are ordinary text here.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

from smalto.errors import WeightsError

MAX_WORD_CHARACTERS = 100
_REMOVED = ("Cc", "Cf", "Co")  # Unicode categories: control, format, private use
_CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPiece:
    """Text to numbers of tokens.

    Args:
        vocabulary: token -> number; pieces inside a word start with ``##``.
        max_tokens: longest result, [CLS] and [SEP] included; the rest of the text is dropped.

    Raises:
        WeightsError: a special token is not in the vocabulary.
    """

    def __init__(self, vocabulary: dict[str, int], max_tokens: int = 256) -> None:
        missing = [name for name in ("[CLS]", "[SEP]", "[UNK]") if name not in vocabulary]
        if missing:
            raise WeightsError(f"vocabulary: no token {missing[0]}; name a BERT vocab.txt")
        self._vocabulary = vocabulary
        self._max_tokens = max_tokens

    @classmethod
    def from_file(cls, path: str | Path, max_tokens: int = 256) -> WordPiece:
        """From a ``vocab.txt``, one token a line.

        Raises:
            WeightsError: the file is missing or is no vocabulary.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8").rstrip("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise WeightsError(f"{path}: cannot be read ({error}); name a BERT vocab.txt") from error
        return cls({token: number for number, token in enumerate(lines)}, max_tokens)

    def numbers(self, text: str) -> list[int]:
        """Numbers of the text's tokens, between [CLS] and [SEP]."""
        room = self._max_tokens - 2
        found: list[int] = []
        for word in split_words(text):
            if len(found) >= room:
                break
            found += self._pieces(word)
        return [self._vocabulary["[CLS]"], *found[:room], self._vocabulary["[SEP]"]]

    def _pieces(self, word: str) -> list[int]:
        unknown = [self._vocabulary["[UNK]"]]
        if len(word) > MAX_WORD_CHARACTERS:
            return unknown
        found: list[int] = []
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                number = self._vocabulary.get(("##" if start else "") + word[start:end])
                if number is not None:
                    found.append(number)
                    start = end
                    break
            else:
                return unknown
        return found


def split_words(text: str) -> list[str]:
    """Words and single punctuation marks of cleaned, lower-cased text without accents."""
    cleaned: list[str] = []
    for character in text:
        category = unicodedata.category(character)
        if character not in "\t\n\r" and (character == "�" or category in _REMOVED):
            continue
        if character.isspace():
            cleaned.append(" ")
        elif _is_chinese(ord(character)):
            cleaned.append(f" {character} ")
        else:
            cleaned.append(character)
    plain = unicodedata.normalize("NFD", "".join(cleaned))
    plain = "".join(character.lower() for character in plain if unicodedata.category(character) != "Mn")
    words: list[str] = []
    word = ""
    for character in plain:
        is_mark = _is_punctuation(character)
        if (is_mark or character.isspace()) and word:
            words.append(word)
            word = ""
        if is_mark:
            words.append(character)
        elif not character.isspace():
            word += character
    return [*words, word] if word else words


def _is_chinese(point: int) -> bool:
    return any(first <= point <= last for first, last in _CHINESE)


def _is_punctuation(character: str) -> bool:
    point = ord(character)
    is_ascii_mark = 33 <= point <= 47 or 58 <= point <= 64 or 91 <= point <= 96 or 123 <= point <= 126
    return is_ascii_mark or unicodedata.category(character).startswith("P")
