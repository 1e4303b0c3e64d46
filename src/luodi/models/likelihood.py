"""Scores of a model that writes, and the simple models that it is held against.

Bits per character (the cross-entropy of Brown et al. 1992): the bits that a model needs for the true text and its
end, over its characters and one for the end. Two models can be compared by it, whatever their tokens are, if both give
a probability to the very same texts; ours do, down to characters that they have never seen.

Next line: of the true one and nine others, is it the true one that gains most by what stands before it, in bits against
its own at the beginning of a text? Not the likeliest: that is the most commonplace of the ten, whatever stands before
(500 Song poems: 0.124 by likelihood for each character and 0.242 by gain; Kneser-Ney 0.110 and 0.106; chance 0.1).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from luodi.core.measure import Metric
from luodi.core.task import Baseline
from luodi.core.types import Example, Floats, Prediction
from luodi.models.ngram import END, NgramModel, fit_ngrams

BITS, NEXT_LINE = "bits", "next_line_accuracy"
NUM_LINES = 10
_LINE = re.compile(r"[^\n。！？!?]*[\n。！？!?]?")
_CHRF_ORDER, _BETA = 6, 2.0
_LONGEST_GRAM = 5


def _bits(targets: Sequence[str], predictions: Sequence[Prediction[str]]) -> Floats:
    """An answer that tells no bits is taken to be sure of itself: none where it is right, those of its bytes where it
    is wrong."""
    told = [
        p.examined.get(BITS, 0.0 if p.value == t else 8.0 * len(t.encode()))
        for t, p in zip(targets, predictions, strict=True)
    ]
    return np.array([[bits, len(t) + 1] for bits, t in zip(told, targets, strict=True)], np.float64)


def _next_line(targets: Sequence[str], predictions: Sequence[Prediction[str]]) -> Floats:
    """An answer that was not examined is judged by its own first line."""
    rows = []
    for target, p in zip(targets, predictions, strict=True):
        right = p.examined.get(NEXT_LINE) if p.examined else float(first_line(p.value) == first_line(target))
        rows.append((0.0, 0.0) if right is None else (right, 1.0))
    return np.array(rows, np.float64).reshape(-1, 2)


def _chrf(targets: Sequence[str], predictions: Sequence[Prediction[str]]) -> Floats:
    """For n = 1..6: n-grams that both have, of the answer, of the truth (Popović 2015; spaces left out)."""
    rows = []
    for target, p in zip(targets, predictions, strict=True):
        ours, theirs = ("".join(text.split()) for text in (p.value, target))
        row: list[float] = []
        for n in range(1, _CHRF_ORDER + 1):
            a, b = (Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in (ours, theirs))
            row += [(a & b).total(), a.total(), b.total()]
        rows.append(row)
    return np.array(rows, np.float64).reshape(-1, 3 * _CHRF_ORDER)


def _pool_chrf(sums: Floats) -> Floats:
    same, ours, theirs = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    precision, recall = same / np.maximum(ours, 1), same / np.maximum(theirs, 1)
    each = (1 + _BETA**2) * precision * recall / np.maximum(_BETA**2 * precision + recall, 1e-12)
    counted = theirs > 0  # lengths that the truth does not have say nothing
    return np.asarray((each * counted).sum(-1) / np.maximum(counted.sum(-1), 1))


def _ratio(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1))


GENERATION_METRICS: tuple[Metric, ...] = (
    Metric(name="bits_per_character", sums=_bits, pool=_ratio, higher_is_better=False, unit="bits"),
    Metric(name=NEXT_LINE, sums=_next_line, pool=_ratio),
    Metric(name="chrf", sums=_chrf, pool=_pool_chrf),
)


def first_line(text: str) -> str:
    """To the first line break or sentence end that has anything before it."""
    match = _LINE.match(text, len(text) - len(text.lstrip("\n。！？!? ")))
    return text[: match.end()] if match else text


def lines_to_rank(targets: Sequence[str]) -> list[list[int]]:
    """For each place: itself, and nine others with other first lines, drawn by place alone. None where there are not
    ten different lines."""
    lines = [first_line(target) for target in targets]
    places = {line: i for i, line in enumerate(lines)}
    different = list(places.values())
    if len(different) < NUM_LINES:
        return []
    found = []
    for place, line in enumerate(lines):
        drawn = np.random.default_rng([len(targets), place]).choice(len(different), NUM_LINES, replace=False)
        others = [different[i] for i in drawn.tolist() if lines[different[i]] != line]
        found.append([place, *others[: NUM_LINES - 1]])
    return found


Pairs = Callable[[Sequence[Example[Any, str]]], list[tuple[str, str]]]


def character_models(texts: Sequence[str], pairs: Pairs, most: int) -> Mapping[str, Baseline[Any, str]]:
    """How often each character comes, and Kneser-Ney over five. `pairs`: of examples, what is given and what is to
    come; `most`: characters of an answer."""
    fitted = {"unigram": fit_ngrams(texts, 1), "kneser_ney": fit_ngrams(texts, _LONGEST_GRAM)}
    return {name: partial(_answer_all, model, pairs, most) for name, model in fitted.items()}


def _answer_all(
    model: NgramModel, pairs: Pairs, most: int, examples: Sequence[Example[Any, str]]
) -> list[Prediction[str]]:
    return _answers(model, pairs(examples), most)


def _answers(model: NgramModel, pairs: Sequence[tuple[str, str]], most: int) -> list[Prediction[str]]:
    bits = model.bits([(before, target + END) for before, target in pairs])
    values = model.likeliest([before for before, _ in pairs], most)
    chosen = lines_to_rank([target for _, target in pairs])
    examined = [{BITS: float(b)} for b in bits]
    if chosen:
        lines = [first_line(target) for _, target in pairs]
        asked = [(pairs[place][0], lines[i]) for place, ten in enumerate(chosen) for i in ten]
        gains = model.bits([("", line) for _, line in asked]) - model.bits(asked)
        tens = gains.reshape(-1, NUM_LINES)
        for told, right in zip(examined, tens[:, 0] > tens[:, 1:].max(1), strict=True):
            told[NEXT_LINE] = float(right)
    return [Prediction(value=value, examined=told) for value, told in zip(values, examined, strict=True)]
