"""What people of a need said, word for word: near its middle, unlike one another, from different users."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from luodi.core.types import Array
from luodi.stages.understand.feedback import Feedback
from luodi.stages.understand.needs import Phrase, Quote

MOST = 5
_CANDIDATES = 40
_LONGEST = 180
"""Characters; of a longer message the sentence that says most is quoted."""
_SAME = 0.5
"""What likeness to a quote that was taken already costs, against nearness to the middle."""
_SENTENCE = re.compile(r"[^。！？!?\n.]+(?:[。！？!?.]+|\n|$)")


def choose_quotes(
    feedback: Sequence[Feedback], core: Array, members: Array, points: Array, phrases: Sequence[Phrase]
) -> tuple[Quote, ...]:
    """`core`: places of those that a need is sure of, which are quoted first; `members`: of all; `points`: all as
    vectors of length 1. Maximal marginal relevance (Carbonell and Goldstein 1998). Fewer than MOST where not so many
    users have spoken."""
    centre = points[core].mean(0)
    near = points[members] @ centre
    order = members[np.lexsort((members, -near, ~np.isin(members, core)))]
    likely = _one_a_user(feedback, order)
    sure = np.isin(likely, core).sum()
    likely = likely[: max(min(int(sure), _CANDIDATES), MOST)]
    alike = points[likely] @ points[likely].T
    nearness = points[likely] @ centre
    chosen: list[int] = []
    while len(chosen) < min(MOST, len(likely)):
        taken = alike[:, chosen].max(1) if chosen else np.zeros(len(likely))
        worth = nearness - _SAME * taken
        worth[chosen] = -np.inf
        chosen.append(int(worth.argmax()))
    return tuple(_quote(feedback[likely[i]], phrases) for i in chosen)


def _one_a_user(feedback: Sequence[Feedback], order: Array) -> list[int]:
    seen: set[str] = set()
    found = []
    for place in order.tolist():
        user = feedback[place].user
        if user and user in seen:
            continue
        seen.add(user)
        found.append(place)
    return found


def _quote(message: Feedback, phrases: Sequence[Phrase]) -> Quote:
    return Quote(row=message.row, text=excerpt(message.text, phrases), user=message.user)


def excerpt(text: str, phrases: Sequence[Phrase]) -> str:
    """The whole text, or of a long one the sentence with most of the phrases; a stretch of the text in either case."""
    if len(text) <= _LONGEST:
        return text
    spans = [match.span() for match in _SENTENCE.finditer(text) if match.group().strip()] or [(0, len(text))]
    held = [sum(p.text in text[start:end] for p in phrases) for start, end in spans]
    best = max(range(len(spans)), key=lambda i: (held[i], -i))
    start, end = spans[best]
    while best + 1 < len(spans) and spans[best + 1][1] - start <= _LONGEST:
        best += 1
        end = spans[best][1]
    return text[start : min(end, start + _LONGEST)].strip()
