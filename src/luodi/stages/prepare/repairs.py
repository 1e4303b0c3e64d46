"""What is put right while a file is read, and the sentences that say so."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from luodi.core.types import Row
from luodi.messages import tr
from luodi.stages.prepare.encoding import Decoded

_NAMES = {"gb18030": "GB 18030 (GBK)", "utf-16": "UTF-16", "utf-32": "UTF-32", "utf-8-sig": "UTF-8"}
_NUMBER = re.compile(r"\s*[-+]?(\d+([.]\d*)?|[.]\d+)([eE][-+]?\d+)?\s*")
_WIDE_DIGIT = re.compile(r"[\uff10-\uff19]")
_WIDE = re.compile(r"[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]")
_NARROW = {code: code - 0xFEE0 for code in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))}


def is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def is_wide(text: str) -> bool:
    """Whether a digit or Latin letter in it is as wide as a Chinese character."""
    return _WIDE.search(text) is not None


def narrow(text: str) -> str:
    """Full-width digits and Latin letters as ordinary ones; marks stay, for in Chinese they are wide by right."""
    return text.translate(_NARROW)


def narrow_numbers(rows: Sequence[Row], file: str) -> tuple[list[Row], tuple[str, ...]]:
    """Cells that are numbers in full-width digits as ordinary numbers; a sentence where there were any."""
    changed: dict[str, str] = {}
    count = 0
    found: list[Row] = []
    for row in rows:
        wide = {name: better for name, cell in row.items() if (better := _narrow_number(cell)) is not None}
        changed |= {str(row[name]): better for name, better in wide.items() if not changed}
        count += len(wide)
        found.append({**row, **wide} if wide else row)
    message = tr("{file}: {count} numbers in full-width digits were read as ordinary ones ({old} as {new}).")
    told = [message.format(file=file, count=count, old=old, new=new) for old, new in changed.items()]
    return found, tuple(told)


def one_line_end(text: str) -> str:
    """Windows ends lines with two characters, and old Macintosh with another one."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def line_end_notes(text: str, file: str) -> Iterator[str]:
    if "\r\n" in text:
        yield tr("{file}: Windows line ends were read as line ends.").format(file=file)
    elif "\r" in text and "\n" not in text:
        yield tr("{file}: old Macintosh line ends were read as line ends.").format(file=file)


def line_break_notes(records: Sequence[tuple[int, Sequence[str]]], file: str) -> Iterator[str]:
    """`records`: (line, cells)."""
    lines = [line for line, cells in records if any("\n" in cell for cell in cells)]
    if lines:
        message = tr(
            "{file}: {count} rows hold line breaks in quotes (the first one begins on line {line}) and were each read "
            "as one."
        )
        yield message.format(file=file, count=len(lines), line=lines[0])


def encoding_notes(decoded: Decoded, file: str) -> Iterator[str]:
    if decoded.encoding == "utf-8-sig":
        yield tr("{file}: the byte order mark at its beginning was left out.").format(file=file)
    elif decoded.encoding != "utf-8":
        yield tr("{file} was read as {encoding}.").format(file=file, encoding=encoding_name(decoded.encoding))
    if decoded.damaged:
        message = tr("{file}: {count} damaged characters were read as \ufffd.")
        yield message.format(file=file, count=decoded.damaged)


def encoding_name(encoding: str) -> str:
    return _NAMES.get(encoding, encoding)


def input_notes(rows: Sequence[Row], columns: Sequence[str], target: str | None, file: str) -> Iterator[str]:
    """What is to be said of the cells that a model reads, and of the answers."""
    wide = [cell for row in rows for name in columns if isinstance(cell := row.get(name), str) and is_wide(cell)]
    if wide:
        message = tr("{file}: {count} texts have full-width digits or letters ({example}); they are read as they are.")
        match = re.search(f"{_WIDE.pattern}+", wide[0])
        yield message.format(file=file, count=len(wide), example=match[0] if match else "")
    padded = [cell for row in rows if target and isinstance(cell := row.get(target), str) and cell != cell.strip()]
    if padded:
        message = tr("{file}: spaces around {count} answers were removed ({example!r}).")
        yield message.format(file=file, count=len(padded), example=padded[0])


def _narrow_number(cell: object) -> str | None:
    if not isinstance(cell, str) or not _WIDE_DIGIT.search(cell):
        return None
    better = unicodedata.normalize("NFKC", cell)
    return better if is_number(better) else None


def notes_of_wide_answers(changed: Mapping[str, str], count: int) -> Iterator[str]:
    """`changed`: an answer as it was written to how it is read."""
    if changed:
        old, new = next(iter(changed.items()))
        message = tr("{count} answers in full-width characters were read as ordinary ones ({old} as {new}).")
        yield message.format(count=count, old=old, new=new)
