"""Bytes to text: UTF-8, UTF-16 and GB 18030, the three that Chinese and English tables come in."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from luodi.errors import DataError
from luodi.messages import tr

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32", "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16"), (codecs.BOM_UTF16_BE, "utf-16", "utf-16"),
)  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
LOST = "\ufffd"
MOST_DAMAGE = 1e-3
"""Share of characters that may be lost; above it the file is in some other encoding, not damaged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    text: str
    encoding: str
    damaged: int = 0
    """Characters that could not be read and stand as U+FFFD."""


def decode(data: bytes, name: str) -> Decoded:
    """Raises DataError where the bytes are no text, or in an encoding that is not known for certain."""
    for mark, encoding, told in _MARKS:
        if data.startswith(mark):
            return _lenient(data, encoding, told)
    if b"\0" in data or len(_CONTROL.findall(data[:65536].decode("latin-1"))) > len(data[:65536]) * 0.02:
        raise DataError(tr("{file} is not a text file.").format(file=name), code="data.binary")
    for encoding in ("utf-8", "gb18030"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == "utf-8" or _is_chinese(text):
            return Decoded(text=text, encoding=encoding)
    for encoding in ("utf-8", "gb18030"):
        found = _lenient(data, encoding, encoding)
        if found.damaged <= MOST_DAMAGE * len(found.text) and (encoding == "utf-8" or _is_chinese(found.text)):
            return found
    message = tr("The encoding of {file} is not recognised.").format(file=name)
    raise DataError(message, code="data.encoding", hint=tr("Save it as UTF-8."))


def _lenient(data: bytes, encoding: str, told: str) -> Decoded:
    """A file may hold U+FFFD honestly: only what could not be decoded here is counted."""
    try:
        return Decoded(text=data.decode(encoding), encoding=told)
    except UnicodeDecodeError:
        text = data.decode(encoding, "replace")
        return Decoded(text=text, encoding=told, damaged=text.count(LOST))


def _is_chinese(text: str) -> bool:
    """GB 18030 gives some meaning to almost any bytes: "caf\\xe9 au" in Latin-1 reads as a rare character.

    In real text most characters beyond ASCII are of GB 2312, both of whose bytes are above 0xA0; the second
    byte of misread Latin-1 is an ASCII letter. Half is a guess between about 0.65 (traditional) and near 0.
    """
    beyond = [c.encode("gb18030") for c in text[:100_000] if ord(c) > 127 and c != LOST]
    common = sum(len(b) == 2 and b[0] > 0xA0 and b[1] > 0xA0 for b in beyond)
    return common >= 0.5 * len(beyond)
