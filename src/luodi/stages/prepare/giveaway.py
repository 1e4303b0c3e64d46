"""Inputs that give the answer away: a model would learn the mark, score near 100 %, and fail on rows without it.

Suspects: the answer's own words in the text; a mark at a fixed place (the first or last few characters, one of the
first or last few words); a whole column, where there are several inputs. Each is read off one half of the rows and held
against the other. Only what the model reads is looked at, and only marks of few kinds count: a thousand different first
words would "explain" any answers.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

import numpy as np

from luodi.core.types import Array
from luodi.messages import Sentence, tr
from luodi.stages.prepare.clean import folded

ROWS = 6000
"""Drawn at random: a mark that stands in all rows stands in these."""
LEAST_OTHERS = 20
"""Rows of other answers than the commonest; with fewer, a coincidence looks like a mark."""
LONGEST_MARK, WORDS = 12, 4
MOSTLY_SILENT = 0.5
"""Share of an answer's rows below which its own words do not count as its mark."""
MARK_ERROR, WORD_ERROR = 0.005, 0.05
"""Share of rows that a mark may tell wrongly; the answer's own words are suspect long before."""
BETTER = 0.1
"""Share of the mistakes of always giving the commonest answer that a mark may still make."""
KINDS = 2
"""Most kinds of marks for each answer."""
ROWS_OF_A_NUMBER = 20
"""Marks with digits (orders, dates) may be of more kinds, if so many rows share each."""
MOST_ANSWERS = 500
"""Whose words are looked for: each one in each row."""
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Texts of one input column, their answers, and in which half each stands."""

    texts: Sequence[str]
    answers: Sequence[str]
    half: Array

    @property
    def error(self) -> float:
        """Of always giving the commonest answer."""
        return 1 - Counter(self.answers).most_common(1)[0][1] / len(self.answers)


def find_giveaway(
    inputs: Sequence[Any], answers: Sequence[str], columns: Sequence[str] = (), *, seed: int = 0
) -> Sentence | None:
    """The plainest mark that tells the answer, in words; None where there is none. `columns` name the inputs' parts."""
    if len(answers) - Counter(answers).most_common(1)[0][1] < LEAST_OTHERS:
        return None
    rng = np.random.default_rng(seed)
    drawn = sorted(rng.permutation(len(answers))[:ROWS].tolist())
    half = rng.permutation(len(drawn)) % 2 == 0
    parts = [_texts(inputs[i]) for i in drawn]
    for place in range(min(map(len, parts))):
        sample = Sample(texts=[p[place] for p in parts], answers=[answers[i] for i in drawn], half=half)
        for where, keys in _suspects(sample, whole=len(parts[0]) > 1):
            if share := _tells(keys, sample):
                name = columns[place] if len(columns) == len(parts[0]) > 1 else ""
                told = tr("{where} in the column {column}").format(where=where, column=name) if name else where
                return _sentence(told, share, _examples(keys, sample))
        if share := _own_words(sample):
            return _sentence(tr("the mention of the answer itself"), share, dict.fromkeys(sorted(set(answers))[:3], ""))
    return None


def _sentence(where: Sentence, share: float, marks: Mapping[str, str]) -> Sentence:
    sentence = tr(
        "The answer is given away: {where} alone tells it in {share:.1%} of the rows ({marks}). A model would learn "
        "that and nothing else. Take it out of the data, or say prepare.giveaways: keep where new rows will have it "
        "too."
    )
    told = ", ".join(f"{mark!r} → {answer!r}" if answer else repr(mark) for mark, answer in marks.items())
    return sentence.format(where=where, share=share, marks=told)


def _texts(value: Any) -> tuple[str, ...]:
    """The parts of an input that people could read; none of a picture or a sound."""
    parts = value if isinstance(value, (tuple, list)) else (value,)
    return tuple(str(p) for p in parts) if all(isinstance(p, (str, int, float)) for p in parts) else ()


def _suspects(sample: Sample, *, whole: bool) -> Iterator[tuple[Sentence, list[str]]]:
    """Where a mark could stand, and what stands there in each row; shorter marks first."""
    if whole:
        yield tr("the value"), list(sample.texts)
    start, end = len(commonprefix(sample.texts)), len(commonprefix([t[::-1] for t in sample.texts]))
    words = [_WORD.findall(text) for text in sample.texts]
    turned = [found[::-1] for found in words]
    for n in range(1, LONGEST_MARK + 1):
        yield tr("the beginning of the text"), [t[: start + n] for t in sample.texts]
        yield tr("the end of the text"), [t[-end - n :] for t in sample.texts]
    for n in range(WORDS):
        yield tr("word {n} of the text").format(n=n + 1), [w[n] if n < len(w) else "" for w in words]
        yield tr("word {n} from the end").format(n=n + 1), [w[n] if n < len(w) else "" for w in turned]


def _tells(keys: Sequence[str], sample: Sample) -> float:
    """Share of rows whose answer their key tells, read off the other half; 0 where that is too little, or where the
    keys are so many that they are no marks."""
    most = min(MARK_ERROR, BETTER * sample.error)
    if not _are_few(keys, len(set(sample.answers)), most):
        return 0.0
    right = 0
    for half in (True, False):
        seen: dict[str, Counter[str]] = defaultdict(Counter)
        for key, answer, here in zip(keys, sample.answers, sample.half, strict=True):
            if here == half:
                seen[key][answer] += 1
        best = {key: counts.most_common(1)[0][0] for key, counts in seen.items()}
        rows = zip(keys, sample.answers, sample.half, strict=True)
        right += sum(best.get(key) == answer for key, answer, here in rows if here != half)
    share = right / len(keys)
    return share if 1 - share <= most else 0.0


def _are_few(keys: Sequence[str], answers: int, most_others: float) -> bool:
    """Whether all keys but that share of the rows are of few kinds."""
    left = (1 - most_others) * len(keys)
    kinds = 0
    has_digits = True
    for key, count in Counter(keys).most_common():
        if left <= 0:
            break
        left -= count
        kinds += 1
        has_digits = has_digits and any(c.isdigit() for c in key)
    return kinds <= (max(KINDS * answers, len(keys) // ROWS_OF_A_NUMBER) if has_digits else KINDS * answers)


def _examples(keys: Sequence[str], sample: Sample) -> dict[str, str]:
    """The commonest mark of each of the three commonest answers."""
    marks: dict[str, str] = {}
    for answer, _ in Counter(sample.answers).most_common(3):
        key = Counter(k for k, a in zip(keys, sample.answers, strict=True) if a == answer).most_common(1)[0][0]
        marks[key] = answer
    return marks


def _own_words(sample: Sample) -> float:
    """Share of rows in which the words of their answer stand, and of no other; one answer may be told by silence."""
    words = {answer: folded(answer) for answer in set(sample.answers)}
    if len(words) > MOST_ANSWERS:
        return 0.0
    patterns = {answer: re.compile(rf"(?<![0-9a-z]){re.escape(w)}(?![0-9a-z])") for answer, w in words.items() if w}
    found: list[frozenset[str]] = []
    for text in map(folded, sample.texts):
        here = [a for a, pattern in patterns.items() if words[a] in text and pattern.search(text)]
        found.append(frozenset(a for a in here if not any(words[a] in words[b] and a != b for b in here)))
    rows = Counter(sample.answers)
    named = Counter(a for a, told in zip(sample.answers, found, strict=True) if a in told)
    silent = [a for a in rows if named[a] < MOSTLY_SILENT * rows[a]]
    silence = silent[0] if len(silent) == 1 else None
    right = [told == {a} or (not told and a == silence) for a, told in zip(sample.answers, found, strict=True)]
    share = sum(right) / len(right)
    return share if 1 - share <= min(WORD_ERROR, 2 * BETTER * sample.error) else 0.0
