"""Names of a run of arrays, written once where they are numbered: ``img_0001.png``, ``img_0002.png``, ..."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from smalto.bits.array_set_parts import MAX_NAME_BYTES, check_name
from smalto.bits.varint import MAX_VARINT, Cursor, varint
from smalto.errors import UsageError

NO_NAMES, COUNTED, LISTED = 0, 1, 2
_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_MAX_DIGITS = 18
_MAX_FIXED_BYTES = MAX_NAME_BYTES - _MAX_DIGITS - 1
"""Most that stands around a number: the number itself has up to 19 digits."""


@dataclass(frozen=True)
class NoNames:
    """Arrays known by their number alone."""

    form = NO_NAMES
    num_names = MAX_VARINT

    def name(self, index: int) -> str:
        """Empty."""
        return ""

    def find(self, name: str) -> int | None:
        """Nothing has a name here."""
        return None

    def to_bytes(self) -> bytes:
        """Nothing."""
        return b""


@dataclass(frozen=True)
class CountedNames:
    """Names that differ in one decimal number, which grows by a fixed step.

    Args:
        prefix: text before the number.
        suffix: text after it.
        width: digits at least; shorter numbers have zeros in front.
        start: the first name's number.
        step: what the number grows by, at least 1.

    Example:
        >>> CountedNames("img_", ".png", 4, 9, 1).name(1)
        'img_0010.png'
    """

    prefix: str
    suffix: str
    width: int
    start: int
    step: int
    form = COUNTED

    @property
    def num_names(self) -> int:
        """How many names there are before the number leaves its range."""
        return (MAX_VARINT - self.start) // self.step

    def name(self, index: int) -> str:
        """Name number ``index``."""
        return f"{self.prefix}{self.start + index * self.step:0{self.width}d}{self.suffix}"

    def find(self, name: str) -> int | None:
        """Which name this is, or None."""
        digits = name[len(self.prefix) : len(name) - len(self.suffix)]
        if not digits.isascii() or not digits.isdigit() or len(digits) > _MAX_DIGITS + 1:
            return None
        index, rest = divmod(int(digits) - self.start, self.step)
        return index if rest == 0 and 0 <= index < self.num_names and self.name(index) == name else None

    def to_bytes(self) -> bytes:
        """Prefix, suffix, width, start, step."""
        return _text(self.prefix) + _text(self.suffix) + varint(self.width) + varint(self.start) + varint(self.step)


@dataclass(frozen=True)
class ListedNames:
    """Names without a rule: what they share stands once, the rest of each one after another.

    Args:
        prefix: what all begin with.
        suffix: what all end with.
        middles: UTF-8 of what is between, one after another.
        ends: where each middle ends.
    """

    prefix: str
    suffix: str
    middles: bytes
    ends: array[int]
    form = LISTED

    @property
    def num_names(self) -> int:
        """How many names there are."""
        return len(self.ends)

    def name(self, index: int) -> str:
        """Name number ``index``."""
        return f"{self.prefix}{self._middle(index).decode('utf-8')}{self.suffix}"

    def find(self, name: str) -> int | None:
        """Which name this is, or None; the last of equal ones."""
        if not (name.startswith(self.prefix) and name.endswith(self.suffix)):
            return None
        if len(name) < len(self.prefix) + len(self.suffix):
            return None
        middle = name[len(self.prefix) : len(name) - len(self.suffix)].encode("utf-8", "surrogatepass")
        return next((i for i in reversed(range(len(self.ends))) if self._middle(i) == middle), None)

    def to_bytes(self) -> bytes:
        """Prefix, suffix, then the length and the text of each middle."""
        middles = (self._middle(index) for index in range(len(self.ends)))
        return _text(self.prefix) + _text(self.suffix) + b"".join(varint(len(m)) + m for m in middles)

    def _middle(self, index: int) -> bytes:
        return self.middles[self.ends[index - 1] if index else 0 : self.ends[index]]


Names = NoNames | CountedNames | ListedNames


def describe_names(names: Sequence[str]) -> Names:
    """The shortest form that gives exactly these names.

    Example:
        >>> describe_names(["a7", "a8", "a9", "a10"])
        CountedNames(prefix='a', suffix='', width=1, start=7, step=1)
    """
    if not any(names):
        return NoNames()
    return _counted(names) or _listed(names)


def _counted(names: Sequence[str]) -> CountedNames | None:
    for match in reversed(list(_DIGITS.finditer(names[0]))):
        prefix, suffix = names[0][: match.start()], names[0][match.end() :]
        if len(match.group()) > _MAX_DIGITS or len((prefix + suffix).encode("utf-8")) > _MAX_FIXED_BYTES:
            continue
        start, step = int(match.group()), 1
        if len(names) > 1:
            digits = names[1][len(prefix) : len(names[1]) - len(suffix)]
            if not digits.isascii() or not digits.isdigit() or len(digits) > _MAX_DIGITS:
                continue
            step = int(digits) - start
        if step < 1 or start + step * len(names) > MAX_VARINT:
            continue
        counted = CountedNames(prefix, suffix, len(match.group()), start, step)
        if all(counted.name(index) == name for index, name in enumerate(names)):
            return counted
    return None


def _listed(names: Sequence[str]) -> ListedNames:
    prefix = _shared_start(names)
    suffix = _shared_start([name[len(prefix) :][::-1] for name in names])[::-1]
    middles = [name[len(prefix) : len(name) - len(suffix)].encode("utf-8") for name in names]
    ends = array("I")
    for middle in middles:
        ends.append((ends[-1] if ends else 0) + len(middle))
    return ListedNames(prefix, suffix, b"".join(middles), ends)


def _shared_start(texts: Sequence[str]) -> str:
    """The longest start of all texts, which the first and the last of them in order have in common."""
    first, last = min(texts), max(texts)
    length = next((index for index, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), None)
    return first if length is None else first[:length]


def parse_names(cursor: Cursor, form: int, count: int) -> Names:
    """Names of ``count`` arrays in one of the three forms.

    Raises:
        DamagedPacket: they break a rule of the format.
    """
    if form == NO_NAMES:
        return NoNames()
    if form not in (COUNTED, LISTED):
        raise cursor.damaged(f"names of the unknown form {form} stand in the table")
    prefix, suffix = _parse_text(cursor), _parse_text(cursor)
    _check(cursor, prefix + suffix)
    fixed = len((prefix + suffix).encode("utf-8"))
    if form == COUNTED:
        width, start, step = cursor.varint(_MAX_DIGITS), cursor.varint(), cursor.varint()
        if step < 1 or width < 1 or start + step * count > MAX_VARINT:
            raise cursor.damaged("numbered names count out of their range")
        if fixed > _MAX_FIXED_BYTES:
            raise cursor.damaged(f"numbered names share {fixed} bytes, at most {_MAX_FIXED_BYTES} are allowed")
        return CountedNames(prefix, suffix, width, start, step)
    pieces, ends, total = bytearray(), array("I"), 0
    room = MAX_NAME_BYTES - fixed
    for _ in range(count):
        middle = cursor.take(cursor.varint(room))
        if middle:
            _check(cursor, _decode(cursor, middle))
            pieces += middle
            total += len(middle)
        ends.append(total)
    return ListedNames(prefix, suffix, bytes(pieces), ends)


def _check(cursor: Cursor, name: str) -> None:
    try:
        check_name(name)
    except UsageError as error:
        raise cursor.damaged(str(error)) from error


def _text(text: str) -> bytes:
    raw = text.encode("utf-8")
    return varint(len(raw)) + raw


def _parse_text(cursor: Cursor) -> str:
    return _decode(cursor, cursor.take(cursor.varint(MAX_NAME_BYTES)))


def _decode(cursor: Cursor, raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise cursor.damaged("a name is not UTF-8") from error
