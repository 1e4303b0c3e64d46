"""The command line without a process of its own: what it says and how it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from luodi.cli import main


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """All that stands on standard error, which must be one line."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


Command = Callable[..., Said]


def command(capsys: pytest.CaptureFixture[str], *words: str, language: str) -> Said:
    """`main` as the installed command calls it."""
    log = logging.getLogger("luodi")
    log.handlers.clear()  # the screen of the last run writes to what pytest has closed
    capsys.readouterr()
    code: Any
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUODI_LANG", language)
        try:
            code = main(words)
        except SystemExit as stopped:  # argparse
            code = stopped.code
    log.handlers.clear()
    told = capsys.readouterr()
    return Said(int(code or 0), told.out, told.err)
