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
# What tables are written with. Text read in the wrong order of bytes falls nearly all outside of it.
_USUAL = re.compile(
    r"[\t\n\r\x20-\x7e\u00a0-\u024f\u2010-\u2027\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef\U0001f300-\U0001faff]"
)
USUAL_SHARE = 0.95
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
    _require_no_other_format(data, name)
    if found := _marked(data) or _bare_utf16(data):
        return found
    if b"\0" in data or len(_CONTROL.findall(data[:65536].decode("latin-1"))) > len(data[:65536]) * 0.02:
        message = tr("{file} is not a text file.").format(file=name)
        raise DataError(message, code="data.binary", hint=tr("Save the data as CSV in UTF-8."))
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


def _marked(data: bytes) -> Decoded | None:
    """By the byte order mark that it begins with."""
    for mark, encoding, told in _MARKS:
        if data.startswith(mark):
            found = _lenient(data, encoding, told)
            if found.damaged <= max(1, MOST_DAMAGE * len(found.text)):
                return found
    return None


def _bare_utf16(data: bytes) -> Decoded | None:
    """UTF-16 without its mark: in the right order of bytes, and in no other, it reads as usual characters."""
    if b"\0" not in data:  # commas and line ends have one
        return None
    for encoding in ("utf-16-le", "utf-16-be"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        sample = text[:100_000]
        if "\0" not in text and len(_USUAL.findall(sample)) >= USUAL_SHARE * len(sample):
            return Decoded(text=text, encoding="utf-16")
    return None


def _require_no_other_format(data: bytes, name: str) -> None:
    """Files of other kinds that were given a table's ending, known by their first bytes."""
    if data.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM6")):
        told, hint = tr("a picture"), tr("Name a table, or a folder of tables or texts.")
    elif data.startswith(b"PK\3\4") and b"xl/" in data:
        told, hint = tr("an Excel workbook"), tr("Save the sheet as CSV (UTF-8) in Excel.")
    elif data.startswith(b"\xd0\xcf\x11\xe0"):
        told, hint = tr("an old Excel or Word file"), tr("Save the sheet as CSV (UTF-8) in Excel.")
    elif data.startswith((b"PK\3\4", b"Rar!", b"7z\xbc\xaf", b"\xfd7zXZ", b"BZh")):
        told, hint = tr("an archive"), tr("Unpack it, and name the file inside.")
    elif data.startswith(b"\x1f\x8b"):
        told, hint = tr("packed by gzip"), tr("Let its name end in .gz.")
    elif data.startswith(b"PAR1"):
        told, hint = tr("a Parquet file"), tr("Let its name end in .parquet.")
    elif data.startswith(b"%PDF-"):
        told, hint = tr("a PDF file"), tr("Save the data as CSV in UTF-8.")
    else:
        return
    message = tr("{file} is {kind}, whatever its name says.").format(file=name, kind=told)
    raise DataError(message, code="data.binary", hint=hint)


def _is_chinese(text: str) -> bool:
    """GB 18030 gives some meaning to almost any bytes: "caf\\xe9 au" in Latin-1 reads as a rare character.

    In real text most characters beyond ASCII are of GB 2312, both of whose bytes are above 0xA0; the second
    byte of misread Latin-1 is an ASCII letter. Half is a guess between about 0.65 (traditional) and near 0.
    """
    beyond = [c.encode("gb18030") for c in text[:100_000] if ord(c) > 127 and c != LOST]
    common = sum(len(b) == 2 and b[0] > 0xA0 and b[1] > 0xA0 for b in beyond)
    return common >= 0.5 * len(beyond)
