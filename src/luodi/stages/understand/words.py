"""Messages as words, each with its place, so that what is said of them can be quoted as it was written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from luodi.backends.rjieba import cut
from luodi.core.personal import MARKS
from luodi.modalities.text import HAN, fold
from luodi.stages.understand import cues

LONGEST_PHRASE = 3
"""Words."""
_REMEMBERED = 100_000
"""Words of which it is known what they are; most come again and again."""
_HAN = re.compile(f"[{HAN}]")
_OTHER = re.compile(rf"[^\W_{HAN}]+(?:['’][^\W_{HAN}]+)?")
_NO_WORDS = re.compile("|".join([*(re.escape(mark) for mark in MARKS), r"(?:https?://|www\.)[!-~]+"]))
"""What stands for personal data, and addresses of pages."""


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    """Folded: width and case."""
    start: int
    end: int


def words_of(text: str) -> list[Word]:
    """In the order in which they stand. What stands for personal data is no word, nor is what an
    address of a page consists of."""
    masked = [match.span() for match in _NO_WORDS.finditer(text)]
    found = sorted(_split(text), key=lambda word: (word.start, word.end))
    return [word for word in found if not any(start < word.end and word.start < end for start, end in masked)]


def _split(text: str) -> Iterator[Word]:
    place = 0
    for part in cut(text):
        if _HAN.search(part):
            yield Word(_folded(part), place, place + len(part))
        place += len(part)
    for match in _OTHER.finditer(text):
        yield Word(_folded(match.group()), *match.span())


def phrases_of(text: str, words: Sequence[Word], longest: int = LONGEST_PHRASE) -> dict[str, tuple[int, int]]:
    """Runs of one to `longest` words with nothing between them but spaces, none of them empty at an end; each with the
    place where it first stands."""
    found: dict[str, tuple[int, int]] = {}
    for first, begin in enumerate(words):
        if begin.text in cues.EMPTY:
            continue
        run, end = begin.text, begin
        letters = _num_letters(run)
        if letters > 1:  # not a number, and not a single letter or sign
            found.setdefault(run, (begin.start, begin.end))
        for word in words[first + 1 : first + longest]:
            if text[end.end : word.start].strip(" "):
                break
            run, end = _joined(run, word.text), word
            letters += _num_letters(word.text)
            if letters and word.text not in cues.EMPTY:
                found.setdefault(run, (begin.start, word.end))
    return found


def _joined(text: str, word: str) -> str:
    """Chinese words stand beside one another, others apart."""
    return text + word if is_chinese(text[-1]) and is_chinese(word[0]) else f"{text} {word}"


def is_chinese(text: str) -> bool:
    return _HAN.search(text) is not None


@lru_cache(_REMEMBERED)
def _num_letters(word: str) -> int:
    return sum(c.isalpha() for c in word)


_folded = lru_cache(_REMEMBERED)(fold)
