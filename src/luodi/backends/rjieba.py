"""Chinese words: jieba's dictionary and hidden Markov model, as compiled code without a cache file on the disk."""

from __future__ import annotations

from luodi.backends import need


def cut(text: str) -> list[str]:
    """Words, spaces and marks; joined they are the text again."""
    words: list[str] = need("rjieba").cut(text)
    return words
