"""Variable-length integers and a bounds-checked reader, the alphabet of the .smalto header."""

from __future__ import annotations

from smalto.errors import DamagedPacket, UsageError

MAX_VARINT = (1 << 63) - 1


def varint(value: int) -> bytes:
    """An unsigned integer as little-endian groups of 7 bits; the top bit of a byte says that another follows.

    Source: LEB128. Only the shortest form is written, and only the shortest form is read.

    Args:
        value: 0 .. 2^63 - 1.

    Returns:
        1 to 9 bytes.

    Raises:
        UsageError: the value is out of range.

    Example:
        >>> varint(300).hex()
        'ac02'
    """
    if not 0 <= value <= MAX_VARINT:
        raise UsageError(f"{value} cannot be written: a stored integer lies in 0..2^63-1")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """A signed 63-bit integer as an unsigned one: 0, -1, 1, -2, ... become 0, 1, 2, 3, ...

    Example:
        >>> [zigzag(v) for v in (0, -1, 1, -2)]
        [0, 1, 2, 3]
    """
    return 2 * value if value >= 0 else -2 * value - 1


def unzigzag(value: int) -> int:
    """The inverse of :func:`zigzag`."""
    return value >> 1 if value & 1 == 0 else -(value >> 1) - 1


class Cursor:
    """Reads fields from bytes in order and never past their end.

    Args:
        data: the bytes.
        name: what they belong to, for messages.
        position: where to start.

    Example:
        >>> cursor = Cursor(bytes([0xAC, 0x02, 7]), "example")
        >>> cursor.varint(), cursor.byte(), cursor.remaining
        (300, 7, 0)
    """

    def __init__(self, data: bytes, name: str, position: int = 0) -> None:
        self.data = data
        self.name = name
        self.position = position

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self.data) - self.position

    def damaged(self, what: str) -> DamagedPacket:
        """The error to raise for ``what``, with the file's name and a way out."""
        return DamagedPacket(f"{self.name}: {what}; the file is damaged, fetch or encode it again")

    def take(self, length: int) -> bytes:
        """The next ``length`` bytes. Raises DamagedPacket when fewer are left."""
        if length > self.remaining:
            raise self.damaged(
                f"a header field at byte {self.position} wants {length} bytes and {self.remaining} are left"
            )
        start = self.position
        self.position += length
        return self.data[start : self.position]

    def byte(self) -> int:
        """The next byte as an integer. Raises DamagedPacket at the end."""
        return self.take(1)[0]

    def varint(self, maximum: int = MAX_VARINT) -> int:
        """The next integer. Raises DamagedPacket when it is cut, longer than needed, or above ``maximum``."""
        data, start, value = self.data, self.position, 0
        for index, shift in enumerate(range(0, 63, 7), start):
            if index >= len(data):
                self.position = index
                self.take(1)
            byte = data[index]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift > 0:
                    break
                if value > maximum:
                    raise self.damaged(f"the integer at byte {start} is {value}, at most {maximum} is allowed")
                self.position = index + 1
                return value
        raise self.damaged(f"the integer at byte {start} is not in its shortest form")
