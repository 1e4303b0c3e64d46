"""Exporters talk a great deal, to programmers. What they print and warn goes to the log, not onto the user's screen."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

_log = logging.getLogger("luodi.exporters")


@contextmanager
def quiet() -> Iterator[None]:
    """Within it, prints, warnings and log records up to WARNING of all libraries become debug lines of
    `luodi.exporters`. Not for several threads at once: Python has one standard output and one warning filter."""
    spoken = io.StringIO()
    level, handlers = logging.root.manager.disable, logging.root.handlers[:]
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(record=True) as caught, redirect_stdout(spoken), redirect_stderr(spoken):
            warnings.simplefilter("default")
            yield
    finally:
        logging.disable(level)
        # logging.warning() of a library, on the root logger, would leave a handler of its own there for good.
        logging.root.handlers[:] = handlers
        for warning in caught:
            _log.debug("%s: %s", warning.category.__name__, warning.message)
        for line in spoken.getvalue().splitlines():
            _log.debug("%s", line)
