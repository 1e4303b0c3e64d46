"""Sheets of Excel's files (.xlsx), without their formulas: what was last computed stands there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from luodi.backends import need
from luodi.errors import DataError
from luodi.messages import tr


def read_sheet(path: Path, name: str) -> tuple[str, tuple[Any, ...], list[Mapping[int, Any]], int]:
    """The first sheet with something in it: its name, the cells of its first row, the others by place of their column,
    and how many more sheets there are. Raises DataError where the file is none of Excel's."""
    openpyxl = need("openpyxl")
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (BadZipFile, KeyError, OSError, ValueError, openpyxl.utils.exceptions.InvalidFileException) as error:
        raise DataError(tr("{file} is not an Excel file.").format(file=name), code="data.xlsx") from error
    try:
        for sheet in book.worksheets:
            rows = [row for row in sheet.iter_rows(values_only=True) if any(cell not in (None, "") for cell in row)]
            if rows:
                return sheet.title, rows[0], [_given(row) for row in rows[1:]], len(book.worksheets) - 1
    finally:
        book.close()
    raise DataError(tr("{file} is empty.").format(file=name), code="data.empty")


def _given(row: Sequence[Any]) -> Mapping[int, Any]:
    return {place: cell for place, cell in enumerate(row) if cell is not None}
