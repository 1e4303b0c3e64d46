"""The bar of the terminal: what it shows, and how much time it says is left."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable

import pytest

from luodi import screen
from luodi.screen import Screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float, float], str]:
    """What the terminal shows last when so much of so much is done at a second of the clock."""
    terminal, clock = Terminal(), [0.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: clock[0])
    handler = Screen(terminal)

    def draw(second: float, done: float, total: float) -> str:
        clock[0] = second
        record = logging.LogRecord("luodi", logging.INFO, "", 0, "training", (), None)
        record.bar = (done, total, "loss 0.312, 1500 tokens/s, accuracy 0.871")
        handler.emit(record)
        return re.split(r"\r|\n", terminal.getvalue().strip())[-1]

    return draw


def test_it_shows_how_far_it_is_and_what_is_left(drawn: Callable[[float, float, float], str]) -> None:
    drawn(100, 0, 200)
    shown = drawn(150, 100, 200)
    assert "[############............] 100/200" in shown
    assert "0:50" in shown
    assert "loss 0.312, 1500 tokens/s, accuracy 0.871" in shown
    assert "0:25" in drawn(175, 150, 200)


def test_a_run_that_goes_on_does_not_count_what_was_done_before(drawn: Callable[[float, float, float], str]) -> None:
    """From step 900 of 1,000, forty steps take forty seconds: sixty are left, not two."""
    drawn(100, 900, 1000)
    assert "left" not in drawn(101, 901, 1000)  # too few to say
    assert "1:00" in drawn(140, 940, 1000)


def test_a_second_bar_of_the_same_name_begins_anew(drawn: Callable[[float, float, float], str]) -> None:
    """The first one was given up half-way, an hour ago."""
    drawn(100, 0, 100)
    drawn(150, 50, 100)
    drawn(4000, 0, 100)
    assert "0:30" in drawn(4070, 70, 100)
