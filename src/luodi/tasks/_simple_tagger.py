"""What a network that finds entities must beat: the entities of the training texts looked up, and a linear model of the
characters around each place."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from luodi.backends.sklearn import fit_tags
from luodi.core.batching import pad
from luodi.core.task import Baseline
from luodi.core.types import Array, Example, Prediction
from luodi.modalities.spans import Span
from luodi.tasks._tagging import best_tags, spans_of, tags_of, units, window_features

Entities = tuple[Span, ...]
BUCKETS = 2**17
MOST_UNITS = 300_000
"""More are not learned from, so that the fit stays below a minute; texts are taken evenly from all."""


def fit_dictionary(examples: Sequence[Example[str, Entities]]) -> Baseline[str, Entities]:
    """The longest known entity at each place, left to right, with its commonest type. Words that are more often no
    entity are not taken for one."""
    known: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        for span in example.target:
            known[example.input[span.start : span.end]][span.label] += 1
    longest = max(map(len, known), default=0)
    seen = Counter(w for e in examples for _, _, w in _words(e.input, longest) if w in known)
    kept = {w: n.most_common(1)[0][0] for w, n in known.items() if 2 * n.total() >= seen[w]}

    def predict(asked: Sequence[Example[str, Entities]]) -> list[Prediction[Entities]]:
        return [Prediction(value=_looked_up(e.input, kept, longest)) for e in asked]

    return predict


def fit_windows(examples: Sequence[Example[str, Entities]], *, seed: int) -> Baseline[str, Entities]:
    """Logistic regression over hashed windows of two units on either side, then the best sequence that tags allow."""
    labels = tuple(sorted({s.label for e in examples for s in e.target}))
    places = [units(e.input) for e in examples]
    step = -(-sum(map(len, places)) // MOST_UNITS) or 1
    used = range(0, len(examples), step)
    features = [_features(examples[i].input, places[i]) for i in used]
    tags = [tags_of(examples[i].target, places[i], labels) for i in used]
    score = fit_tags(np.concatenate(features), np.concatenate(tags), BUCKETS, 1 + 4 * len(labels), seed=seed)

    def predict(asked: Sequence[Example[str, Entities]]) -> list[Prediction[Entities]]:
        found = [units(e.input) for e in asked]
        scores = [score(_features(e.input, p)) for e, p in zip(asked, found, strict=True)]
        if not scores:
            return []
        rows = best_tags(pad(scores), [len(p) for p in found])
        return [
            Prediction(value=spans_of(row[: len(p)], p, labels, e.input))
            for e, p, row in zip(asked, found, rows, strict=True)
        ]

    return predict


def _features(text: str, places: Array) -> Array:
    return window_features(text, places, BUCKETS)


def _words(text: str, longest: int) -> list[tuple[int, int, str]]:
    """All stretches of whole units, at most so many characters long."""
    places = units(text).tolist()
    return [
        (start, end, text[start:end])
        for i, (start, _) in enumerate(places)
        for _, end in places[i : i + longest]
        if end - start <= longest
    ]


def _looked_up(text: str, known: dict[str, str], longest: int) -> Entities:
    best: dict[int, int] = {}
    for start, end, word in _words(text, longest):
        if word in known:
            best[start] = max(end, best.get(start, 0))
    found: list[Span] = []
    for start, end in sorted(best.items()):
        if not found or start >= found[-1].end:
            found.append(Span(start, end, known[text[start:end]], text[start:end]))
    return tuple(found)
