"""Parquet tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luodi.backends import need
from luodi.errors import DataError
from luodi.messages import tr


def read_parquet(path: Path, name: str) -> tuple[tuple[str, ...], list[Mapping[str, Any]]]:
    """Column names and rows. Raises DataError where the file is no Parquet."""
    pyarrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(tr("{file} is not a Parquet file.").format(file=name), code="data.parquet") from error
    return tuple(table.column_names), table.to_pylist()


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """At least one row; columns in the order of the first."""
    pyarrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
