"""Messages as words, each with its place, so that what is said of them can be quoted as it was written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from luodi.backends.rjieba import cut
from luodi.core.personal import MARKS
from luodi.modalities.text import HAN, fold
from luodi.stages.understand import cues

LONGEST_PHRASE = 3
"""Words."""
_HAN = re.compile(f"[{HAN}]")
_OTHER = re.compile(rf"[^\W_{HAN}]+(?:['’][^\W_{HAN}]+)?")
_MARKS = re.compile("|".join(re.escape(mark) for mark in MARKS))


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    """Folded: width and case."""
    start: int
    end: int


def words_of(text: str) -> list[Word]:
    """In the order in which they stand. What stands for personal data is no word."""
    masked = [match.span() for match in _MARKS.finditer(text)]
    found = sorted(_split(text), key=lambda word: (word.start, word.end))
    return [word for word in found if not any(start < word.end and word.start < end for start, end in masked)]


def _split(text: str) -> Iterator[Word]:
    place = 0
    for part in cut(text):
        if _HAN.search(part):
            yield Word(fold(part), place, place + len(part))
        place += len(part)
    for match in _OTHER.finditer(text):
        yield Word(fold(match.group()), *match.span())


def phrases_of(text: str, words: Sequence[Word], longest: int = LONGEST_PHRASE) -> dict[str, tuple[int, int]]:
    """Runs of one to `longest` words with nothing between them but spaces, none of them empty at an end; each with the
    place where it first stands."""
    found: dict[str, tuple[int, int]] = {}
    for first in range(len(words)):
        for last in range(first, min(first + longest, len(words))):
            if last > first and text[words[last - 1].end : words[last].start].strip(" "):
                break
            run = words[first : last + 1]
            if run[0].text in cues.EMPTY or run[-1].text in cues.EMPTY or not _is_telling(run):
                continue
            found.setdefault(joined([word.text for word in run]), (run[0].start, run[-1].end))
    return found


def joined(words: Sequence[str]) -> str:
    """Chinese words stand beside one another, others apart."""
    text = words[0]
    for word in words[1:]:
        both_han = _HAN.search(text[-1]) and _HAN.search(word[0])
        text += word if both_han else f" {word}"
    return text


def is_chinese(text: str) -> bool:
    return _HAN.search(text) is not None


def _is_telling(run: Sequence[Word]) -> bool:
    """Not a number, and not a single letter or sign."""
    letters = sum(c.isalpha() for word in run for c in word.text)
    return letters >= (1 if len(run) > 1 else 2)
