"""Chinese words: jieba's dictionary and hidden Markov model, as compiled code without a cache file on the disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from luodi.backends import need


def cut(text: str) -> list[str]:
    """Words, spaces and marks; joined they are the text again."""
    return _cutter()(text)


@cache
def _cutter() -> Callable[[str], list[str]]:
    """Looked up once: it is called for every text."""
    cutter: Callable[[str], list[str]] = need("rjieba").cut
    return cutter
