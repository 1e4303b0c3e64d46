"""What each message feels like, how pressing it is and what kind of message it is."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np

from luodi.backends.sklearn import fit_tfidf_ridge
from luodi.core.types import Floats
from luodi.messages import tr
from luodi.stages.understand import cues
from luodi.stages.understand.feedback import Feedback
from luodi.stages.understand.words import Word

KINDS = ("bug", "wish", "question", "praise", "other")
FEWEST_RATED, FEWEST_EACH = 200, 40
"""Messages with a rating from which words are learned, and of those on either side of the middle."""
_REACH = 3
"""Words between which a negation turns the next one round."""
_CLEAR = 0.2
"""Of a feeling from -1 to 1: less is neither good nor bad."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Feelings:
    """Of n messages."""

    sentiment: Floats
    """From -1 to 1."""
    pressing: Floats
    """0 or 1."""
    kinds: tuple[str, ...]
    told: str
    """Where the sentiment is from, in words."""

    @property
    def is_bad(self) -> Floats:
        return (self.sentiment < -_CLEAR).astype(np.float64)

    @property
    def is_good(self) -> Floats:
        return (self.sentiment > _CLEAR).astype(np.float64)


def feel(feedback: Sequence[Feedback], spoken: Sequence[Sequence[Word]]) -> Feelings:
    """`spoken`: the words of each message. Ratings where people gave them; where enough did, the others by what words
    go with which rating; else by words alone."""
    words = [[word.text for word in row] for row in spoken]
    by_words = np.array([_of_words(w) for w in words])
    rated = np.array([f.rating is not None for f in feedback])
    given = np.array([2 * (f.rating or 0.0) - 1 for f in feedback])
    if not rated.any():
        sentiment, told = by_words, tr("Feelings were told by words alone, since there are no ratings.")
    elif rated.all():
        sentiment, told = given, tr("Feelings are the ratings that people gave.")
    elif _teaches(given[rated]):
        predict = fit_tfidf_ridge([f.text for f in feedback if f.rating is not None], given[rated].tolist())
        others = np.flatnonzero(~rated).tolist()
        sentiment = given.copy()
        sentiment[others] = np.clip(predict([feedback[i].text for i in others]), -1, 1)
        told = tr("Feelings are the ratings; of {count} messages without one, what words go with which rating.").format(
            count=len(others)
        )
    else:
        sentiment = np.where(rated, given, by_words)
        told = tr("Feelings are the ratings, and words where there is none: too few ratings to learn from.")
    told_in = [_terms(row) for row in words]
    kinds = tuple(
        _kind(f.text, w, t, s) for f, w, t, s in zip(feedback, words, told_in, sentiment, strict=True)
    )
    pressing = np.array([float(not cues.PRESSING.isdisjoint(terms)) for terms in told_in])
    return Feelings(sentiment=sentiment, pressing=pressing, kinds=kinds, told=told)


def _teaches(given: Floats) -> bool:
    return len(given) >= FEWEST_RATED and min((given < 0).sum(), (given > 0).sum()) >= FEWEST_EACH


def _of_words(words: Sequence[str]) -> float:
    """Good words less bad ones, over all of both; a negation shortly before turns one round."""
    good = bad = 0
    turned = -_REACH - 1
    for place, word in enumerate(words):
        if word in cues.NOT:
            turned = place
            continue
        is_turned = place - turned <= _REACH
        good += (word in cues.GOOD and not is_turned) or (word in cues.BAD and is_turned)
        bad += (word in cues.BAD and not is_turned) or (word in cues.GOOD and is_turned)
        if word in cues.GOOD or word in cues.BAD:
            turned = -_REACH - 1
    return (good - bad) / (good + bad) if good + bad else 0.0


def _kind(text: str, words: Sequence[str], terms: Set[str], sentiment: float) -> str:
    """A fault outweighs a wish, a wish a question: who asks for a cure has the illness."""
    asks = _is_question(text, words, terms)
    if not cues.FAULT.isdisjoint(terms) and sentiment <= _CLEAR:
        return "bug"
    if not cues.WISH.isdisjoint(terms) and not (asks and words[:1] and words[0] in cues.ASK):
        return "wish"
    if asks:
        return "question"
    return "praise" if sentiment > _CLEAR else "other"


def _is_question(text: str, words: Sequence[str], terms: Set[str]) -> bool:
    if text.rstrip()[-1:] in ("?", "？") or not cues.ASKS_ANYWHERE.isdisjoint(terms):
        return True
    return bool(words) and (words[0] in cues.ASK or words[-1] in ("吗", "呢"))


def _terms(words: Sequence[str]) -> Set[str]:
    """The words, and each two that stand together (太慢, 打不开 may be cut in two)."""
    return {*words, *(a + b for a, b in zip(words, words[1:], strict=False))}
