"""check.csv: messages drawn by chance that a person puts where they belong, so that sizes can be put right."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luodi.core.types import Array, Floats
from luodi.errors import DataError
from luodi.messages import tr
from luodi.stages.understand.feedback import Feedback
from luodi.stages.understand.sizes import NONE

FILE = "check.csv"
COLUMNS = ("row", "text", "need", "name", "right_need")
FEWEST = 50
"""Checked rows; fewer put nothing right."""
_YES = frozenset(("y", "yes", "ok", "right", "true", "x", "✓", "√", "是", "对", "正确"))
_NONE = frozenset(("none", "no", "0", "-", "n", "无", "没有", "否", "不是", "都不是"))
_FORMULA = ("=", "+", "-", "@")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a person has written beside a message."""

    row: int
    proposed: int
    said: str
    where: str
    """File and line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checks:
    answers: tuple[Answer, ...]
    stamp: str
    """Of the needs that the numbers mean."""


def stamp_of(labels: Array) -> str:
    return hashlib.blake2b(np.ascontiguousarray(labels, np.int64).tobytes(), digest_size=5).hexdigest()


def draw_checks(weights: Floats, count: int, seed: int) -> Array:
    """Places, as they were drawn: those that somebody fills in from the top are drawn by chance, too. A message that
    stands for several is drawn as likely as they are."""
    rng = np.random.default_rng(seed + 3)
    size = min(count, len(weights))
    return rng.choice(len(weights), size, replace=False, p=weights / weights.sum())


def write_checks(
    feedback: Sequence[Feedback], places: Array, needs: Sequence[int], names: Mapping[int, str], stamp: str
) -> str:
    """CSV with a mark that spreadsheets know UTF-8 by. `needs`: of each message, the number that the report gives it;
    `stamp` as `stamp_of` gives it: numbers of other needs mean nothing."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow((*COLUMNS[:-1], f"{COLUMNS[-1]} ({stamp})"))
    for place in places.tolist():
        message = feedback[place]
        writer.writerow((message.row, _plain(message.text), needs[place], _plain(names[needs[place]]), ""))
    return "\ufeff" + out.getvalue()


def read_checks(path: Path) -> Checks | None:
    """None where there is no file, or nothing is filled in. Raises DataError where it is not that file any more."""
    if not path.is_file():
        return None
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("gb18030", "replace")  # as a Chinese spreadsheet saves it
    first = text.partition("\n")[0]
    sign = max(",;\t", key=first.count)  # as a spreadsheet of another language saves it
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=sign))
    header = rows[0] if rows else []
    answers = next((i for i, name in enumerate(header) if name.startswith(COLUMNS[-1])), None)
    if answers is None or not {"row", "need"} <= set(header):
        message = tr("{file} lacks one of the columns {names}.").format(file=path.name, names=", ".join(COLUMNS))
        hint = tr("Put its first line back, or move it away: it is written anew, to be filled in.")
        raise DataError(message, code="feedback.checks", hint=hint)
    row, need = header.index("row"), header.index("need")
    found = [
        _answer(cells[row], cells[need], cells[answers].strip(), f"{path.name}:{line}")
        for line, cells in enumerate(rows[1:], 2)
        if len(cells) > answers and cells[answers].strip()
    ]  # fmt: skip
    stamp = header[answers].partition("(")[2].rstrip(")")
    return Checks(answers=tuple(found), stamp=stamp) if found else None


def _answer(row: str, proposed: str, said: str, where: str) -> Answer:
    try:
        return Answer(row=int(row), proposed=int(proposed), said=said, where=where)
    except ValueError as error:
        message = tr("{where}: row and need must be the numbers that were written there.").format(where=where)
        raise DataError(message, code="feedback.checks", hint=tr("Change only the last column.")) from error


def meant(checks: Checks, known: Sequence[int]) -> dict[int, int]:
    """Row of the file to the number of the need that it belongs to (NONE: none). Raises DataError for what cannot be
    meant."""
    return {answer.row: _meant(answer, known) for answer in checks.answers}


def _meant(answer: Answer, known: Sequence[int]) -> int:
    folded = answer.said.casefold()
    if folded in _YES:
        return answer.proposed
    if folded in _NONE:
        return NONE
    if folded.isdigit() and int(folded) in known:
        return int(folded)
    message = tr("{where}: {said} is no need.").format(where=answer.where, said=answer.said)
    hint = tr("Write the number of a need, yes where the proposed one is right, or none.")
    raise DataError(message, code="feedback.check", hint=hint)


def _plain(text: str) -> str:
    """A spreadsheet would run what begins like a formula."""
    line = " ".join(text.split())
    return f"'{line}" if line.startswith(_FORMULA) else line
