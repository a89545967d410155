"""Small typed facts in a packet's header: who encoded it, whether it was grey, which software wrote it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from smalto.bits.varint import Cursor, unzigzag, varint, zigzag
from smalto.errors import UsageError

MetadataValue = str | int | bytes

MAX_ENTRIES = 64
MAX_KEY_BYTES = 63
MAX_VALUE_BYTES = 1 << 15
MAX_INT = (1 << 62) - 1

WELL_KNOWN_KEYS: dict[str, int] = {"encoder": 1, "grey": 2, "software": 3, "pad": 4}
"""Key -> one-byte code. encoder: str, the encoder that made the latent. grey: int 1 when the picture had one colour
channel. software: str, the program that wrote the file. pad: bytes, ignored; makes headers of one length."""

_KEY_OF_CODE = {code: key for key, code in WELL_KNOWN_KEYS.items()}
_KEY = re.compile(r"[a-z][a-z0-9._-]{0,62}", re.ASCII)
_NUMBERED_KEY = re.compile(r"#(?:[1-9]|[1-5][0-9]|6[0-3])", re.ASCII)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""C0, C1, line separators and direction overrides: what could forge a line on a terminal."""
_INT, _STR, _BYTES = 0, 1, 2


def has_control_characters(text: str) -> bool:
    """True when ``text`` has characters that could forge lines on a terminal; no text in a file may have them."""
    return _CONTROL.search(text) is not None


def encode_metadata(metadata: Mapping[str, MetadataValue]) -> bytes:
    """The metadata block: a count, then entries in the mapping's order.

    Each entry opens with code << 2 | type (0 int, 1 str, 2 bytes); code 0 is followed by the key's length and text.
    An int is a zigzag varint; str (UTF-8) and bytes have a varint length.

    Raises:
        UsageError: a key or value is out of its bounds.

    Example:
        >>> encode_metadata({"grey": 1}).hex()
        '010802'
    """
    if len(metadata) > MAX_ENTRIES:
        raise UsageError(f"{len(metadata)} metadata entries are more than {MAX_ENTRIES}; keep fewer")
    return varint(len(metadata)) + b"".join(_encode_entry(key, value) for key, value in metadata.items())


def decode_metadata(cursor: Cursor) -> dict[str, MetadataValue]:
    """The inverse of :func:`encode_metadata`; keys whose code is not known here are called ``#code``.

    Raises:
        DamagedPacket: the block breaks a rule of the format.
    """
    metadata: dict[str, MetadataValue] = {}
    for _ in range(cursor.varint(MAX_ENTRIES)):
        key, value = _decode_entry(cursor)
        if key in metadata:
            raise cursor.damaged(f"metadata key {key!r} stands twice")
        metadata[key] = value
    return metadata


def _encode_entry(key: str, value: MetadataValue) -> bytes:
    if key in WELL_KNOWN_KEYS:
        code, name = WELL_KNOWN_KEYS[key], b""
    elif _NUMBERED_KEY.fullmatch(key) and int(key[1:]) not in _KEY_OF_CODE:
        code, name = int(key[1:]), b""
    elif _KEY.fullmatch(key):
        code, name = 0, bytes([len(key)]) + key.encode("ascii")
    else:
        raise UsageError(
            f"{key!r} is no metadata key; use 1..{MAX_KEY_BYTES} of a-z, 0-9, '.', '-', '_', first a letter"
        )
    kind, body = _encode_value(key, value)
    return bytes([code << 2 | kind]) + name + body


def _encode_value(key: str, value: MetadataValue) -> tuple[int, bytes]:
    if isinstance(value, int):
        if not -MAX_INT <= value <= MAX_INT:
            raise UsageError(f"metadata {key!r}: {value} does not fit in 63 bits; store it as text")
        return _INT, varint(zigzag(int(value)))
    if isinstance(value, str):
        if has_control_characters(value):
            raise UsageError(f"metadata {key!r}: control characters are not allowed in text; store bytes instead")
        try:
            kind, raw = _STR, value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UsageError(f"metadata {key!r}: the text is not valid Unicode; store bytes instead") from error
    elif isinstance(value, (bytes, bytearray, memoryview)):
        kind, raw = _BYTES, bytes(value)
    else:
        raise UsageError(f"metadata {key!r}: a {type(value).__name__} cannot be stored; use str, int or bytes")
    if len(raw) > MAX_VALUE_BYTES:
        raise UsageError(f"metadata {key!r}: {len(raw)} bytes are more than {MAX_VALUE_BYTES}; keep it in a section")
    return kind, varint(len(raw)) + raw


def _decode_entry(cursor: Cursor) -> tuple[str, MetadataValue]:
    code, kind = divmod(cursor.byte(), 4)
    if code == 0:
        raw_key = cursor.take(cursor.byte())
        key = raw_key.decode("latin-1")
        if not _KEY.fullmatch(key) or key in WELL_KNOWN_KEYS:
            raise cursor.damaged(f"{key!r} is no written-out metadata key")
    else:
        key = _KEY_OF_CODE.get(code, f"#{code}")
    if kind == _INT:
        number = unzigzag(cursor.varint())
        if not -MAX_INT <= number <= MAX_INT:
            raise cursor.damaged(f"metadata {key!r} holds an integer out of range")
        return key, number
    if kind not in (_STR, _BYTES):
        raise cursor.damaged(f"metadata {key!r} has the unknown type {kind}")
    raw = cursor.take(cursor.varint(MAX_VALUE_BYTES))
    if kind == _BYTES:
        return key, raw
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise cursor.damaged(f"metadata {key!r} is not UTF-8") from error
    if has_control_characters(text):
        raise cursor.damaged(f"metadata {key!r} has control characters")
    return key, text
