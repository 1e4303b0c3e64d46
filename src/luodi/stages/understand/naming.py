"""Names for needs out of the users' own words: the phrases that are commoner in a need than chance explains."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luodi.core.types import Array, Floats
from luodi.stages.understand.feedback import Feedback
from luodi.stages.understand.needs import Phrase
from luodi.stages.understand.words import Word, is_chinese, phrases_of

MOST_PHRASES, IN_NAME = 12, 3
_PRIOR = 50.0
"""Messages' worth of the whole that each need is held against: what few messages hold, proves little."""
_FEWEST = 3
_MOST_SHARE = 0.5
"""Of all messages; what half of them say names none."""
_SURE = 2.0
"""Standard errors."""
_ENDING = 2
"""Letters."""
_TAKES_IN = 0.5
"""A longer phrase stands for a shorter one in it that it makes up so much of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Phrases:
    """Which messages hold which phrases."""

    texts: tuple[str, ...]
    messages: Array
    """m places of messages ..."""
    numbers: Array
    """... and m numbers of phrases that stand there."""
    written: tuple[str, ...]
    """As it was written most often."""

    @property
    def count(self) -> int:
        return len(self.texts)


def find_phrases(feedback: Sequence[Feedback], words: Sequence[Sequence[Word]]) -> Phrases:
    """`words`: of each message. Those of at least a few messages and not of half of all."""
    held: dict[str, list[int]] = defaultdict(list)
    spelled: dict[str, Counter[str]] = defaultdict(Counter)
    for place, (message, said) in enumerate(zip(feedback, words, strict=True)):
        for phrase, (start, end) in phrases_of(message.text, said).items():
            held[phrase].append(place)
            if len(held[phrase]) <= 50:
                spelled[phrase][message.text[start:end]] += 1
    kept = sorted(p for p, places in held.items() if _FEWEST <= len(places) <= max(_MOST_SHARE * len(feedback), 3))
    places = [np.array(held[p]) for p in kept]
    none = np.zeros(0, np.int64)
    return Phrases(
        texts=tuple(kept),
        messages=np.concatenate([*places, none]).astype(np.int64),
        numbers=np.repeat(np.arange(len(kept)), [len(p) for p in places]),
        written=tuple(max(spelled[p].items(), key=lambda pair: (pair[1], pair[0]))[0] for p in kept),
    )


def name_needs(
    phrases: Phrases, feedback: Sequence[Feedback], labels: Array, fewest_users: int
) -> list[tuple[Phrase, ...]]:
    """Of each need its phrases, the most telling first; none that fewer than `fewest_users` have said."""
    count = int(labels.max()) + 1
    weights = np.array([f.weight for f in feedback], np.float64)
    speakers = _speakers(feedback)
    sizes: Floats = np.bincount(labels, weights, minlength=count).astype(np.float64)
    whole = _counted(phrases, weights, np.arange(len(phrases.numbers)))
    spoken_in = labels[phrases.messages]
    by_need = np.split(np.argsort(spoken_in, kind="stable"), np.cumsum(np.bincount(spoken_in, minlength=count))[:-1])
    found = []
    for need, spoken in enumerate(by_need):
        inside = _counted(phrases, weights, spoken)
        scores = _log_odds(inside, whole, sizes[need], sizes.sum())
        likely = np.flatnonzero((scores > _SURE) & (inside >= _FEWEST))
        order = likely[np.lexsort((likely, -scores[likely]))][: 8 * MOST_PHRASES]
        said = _said_by(phrases, order, labels, need, speakers)
        told = [
            Phrase(text=phrases.written[p], language="zh" if is_chinese(phrases.texts[p]) else "en",
                   count=round(float(inside[p])), log_odds=float(scores[p]))
            for p in order if said[p] >= fewest_users
        ]  # fmt: skip
        found.append(tuple(_without_parts(told)[:MOST_PHRASES]))
    return found


def names_of(phrases: Sequence[Phrase]) -> dict[str, str]:
    """For each language that is spoken there: up to three phrases that share no word."""
    names = {}
    for language, sign in (("zh", "、"), ("en", ", ")):
        chosen: list[str] = []
        for phrase in phrases:
            fits = phrase.language == language and not any(_share_word(phrase.text, other) for other in chosen)
            if fits and len(chosen) < IN_NAME:
                chosen.append(phrase.text)
        if chosen:
            names[language] = sign.join(chosen)
    return names


def _speakers(feedback: Sequence[Feedback]) -> Array:
    """A number for each user; who is not known is one by themselves."""
    names = [f.user or f"\0{i}" for i, f in enumerate(feedback)]
    return np.unique(names, return_inverse=True)[1]


def _said_by(phrases: Phrases, wanted: Array, labels: Array, need: int, speakers: Array) -> dict[int, int]:
    """Users of this need who said each phrase."""
    begins, ends = (np.searchsorted(phrases.numbers, wanted, side) for side in ("left", "right"))
    found = {}
    for phrase, begin, end in zip(wanted.tolist(), begins, ends, strict=True):
        places = phrases.messages[begin:end]
        found[phrase] = len(np.unique(speakers[places[labels[places] == need]]))
    return found


def _counted(phrases: Phrases, weights: Floats, spoken: Array) -> Floats:
    """Of each phrase the messages, as far as they are among those at `spoken`."""
    counted = np.bincount(phrases.numbers[spoken], weights[phrases.messages[spoken]], minlength=phrases.count)
    return counted.astype(np.float64)


def _log_odds(inside: Floats, whole: Floats, size: float, total: float) -> Floats:
    """Of each phrase its log-odds in a need of `size` messages against all others, in standard errors, with what is
    said on the whole as the prior (informative Dirichlet: Monroe, Colaresi and Quinn 2008)."""
    prior = _PRIOR * whole / total
    ours = inside + prior
    theirs = whole - inside + prior
    ours_rest = np.maximum(size + _PRIOR - ours, 0.5)
    theirs_rest = np.maximum(total - size + _PRIOR - theirs, 0.5)
    gap = np.log(ours / ours_rest) - np.log(theirs / theirs_rest)
    found: Floats = gap / np.sqrt(1 / ours + 1 / theirs)
    return found


def _without_parts(phrases: Sequence[Phrase]) -> list[Phrase]:
    """Of a phrase and a longer one around it, the longer where it makes up most of the shorter, else the shorter."""
    kept: list[Phrase] = []
    for phrase in phrases:
        longer = [p for p in phrases if p is not phrase and _is_in(phrase.text, p.text)]
        shorter = [p for p in phrases if p is not phrase and _is_in(p.text, phrase.text)]
        if any(p.count >= _TAKES_IN * phrase.count for p in longer):
            continue
        if any(phrase.count < _TAKES_IN * p.count for p in shorter):
            continue
        kept.append(phrase)
    return kept


def _is_in(short: str, long: str) -> bool:
    short, long = short.casefold(), long.casefold()
    if short == long:
        return False
    return short in long if is_chinese(short) else f" {short} " in f" {long} "


def _share_word(one: str, other: str) -> bool:
    """Also where one is the other with an ending: product, products."""
    if is_chinese(one) or is_chinese(other):
        return bool(_parts(one) & _parts(other))
    return any(
        long.startswith(short) and len(long) - len(short) <= _ENDING
        for a in _parts(one) for b in _parts(other) for short, long in [sorted((a, b), key=len)]
    )  # fmt: skip


def _parts(text: str) -> frozenset[str]:
    """Words; of Chinese, characters."""
    folded = text.casefold()
    return frozenset(folded.replace(" ", "")) if is_chinese(folded) else frozenset(folded.split())
