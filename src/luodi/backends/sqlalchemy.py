"""Tables of a database, by its address: sqlite:///file.db, postgresql://..., read and never written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from luodi.backends import need
from luodi.core.config import did_you_mean
from luodi.errors import DataError
from luodi.messages import tr


def read_database(address: str, query: str) -> dict[str, list[Any]]:
    """Column to values. `query`: a table's name or a SELECT; empty: the only table that there is. Raises DataError in
    one line; what it says never holds the password of the address."""
    sql = need("sqlalchemy")
    try:
        engine = sql.create_engine(address)
    except (sql.exc.ArgumentError, ModuleNotFoundError) as error:
        message = tr("The database cannot be opened: {reason}.").format(reason=_plain(error))
        raise DataError(message, code="feedback.database", hint=tr("Write it like sqlite:///feedback.db")) from error
    file = engine.url.database if engine.url.get_backend_name() == "sqlite" else None
    if file and file != ":memory:" and not file.startswith("file:") and not Path(file).is_file():
        raise DataError(tr("There is no file {path}.").format(path=file), code="data.missing")
    try:
        with engine.connect() as connection:
            statement = _statement(sql, connection, query)
            found = connection.execute(statement)
            names, rows = list(found.keys()), found.fetchall()
    except sql.exc.SQLAlchemyError as error:
        message = tr("The database cannot be read: {reason}.").format(reason=_plain(error))
        raise DataError(message, code="feedback.database") from error
    finally:
        engine.dispose()
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _statement(sql: Any, connection: Any, query: str) -> Any:
    if query.lstrip()[:6].casefold() in ("select", "with c"):
        return sql.text(query)
    tables = sorted(sql.inspect(connection).get_table_names() + sql.inspect(connection).get_view_names())
    if not query and len(tables) == 1:
        query = tables[0]
    if query not in tables:
        message, hint = tr("There is no table {query} in it."), did_you_mean(query, tables)
        if not query:
            message = tr("It has several tables: {names}.")
            hint = tr("Name one: luodi understand ADDRESS query=TABLE")
        raise DataError(message.format(names=", ".join(tables), query=query), code="feedback.table", hint=hint)
    return sql.select(sql.table(query, *(sql.column(c["name"]) for c in sql.inspect(connection).get_columns(query))))


def without_password(address: str) -> str:
    """What may be shown of an address."""
    shown = re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", address)
    return re.sub(r"(?i)([?&](?:password|pwd|passwd|token|secret)=)[^&\s]*", r"\1***", shown)


def _plain(error: Exception) -> str:
    """The driver's own words, without the address and the statement."""
    told = getattr(error, "orig", None) or error
    return str(told).strip().partition("\n")[0].rstrip(".")[:200]
