"""Texts with holes: which pieces are hidden, how well they are found again, and simple models of the same question.

Devlin et al. 2019 (arXiv:1810.04805, section 3.1 and appendix A.1): 15 % of the pieces are to be found. While a network
learns, of these 80 % are hidden, 10 % replaced by a piece drawn at random and 10 % left, so that it cannot trust what
stands there either. Where it is judged all of them are hidden, and always the same ones.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from luodi.core.measure import Metric
from luodi.core.types import Array, Floats, Prediction

SHARE, HIDDEN, REPLACED = 0.15, 0.8, 0.1
BITS, HITS, HOLES = "bits", "hits", "holes"


def draw_places(ids: Array, special: Array, rng: np.random.Generator) -> Array:
    """Places of 15 % of the pieces, one at the least, in order; none where all are special."""
    places = np.flatnonzero(~np.isin(ids, special))
    count = min(len(places), max(1, round(SHARE * len(places))))
    return np.sort(rng.choice(places, count, replace=False)) if count else places


def fixed_rng(ids: Array) -> np.random.Generator:
    """The same for the same pieces, wherever they come from."""
    return np.random.default_rng(zlib.crc32(np.ascontiguousarray(ids, np.int64).tobytes()))


def disturbed(ids: Array, places: Array, mask: int, size: int, rng: np.random.Generator) -> Array:
    """`ids` with 80 % of the places hidden and 10 % replaced by one of `size` pieces."""
    told = ids.copy()
    chance = rng.random(len(places))
    told[places[chance < HIDDEN]] = mask
    replaced = places[(chance >= HIDDEN) & (chance < HIDDEN + REPLACED)]
    told[replaced] = rng.integers(0, size, len(replaced))
    return told


# --- scores -----------------------------------------------------------------------------------------------------------


def _sums(name: str, targets: Sequence[str], predictions: Sequence[Prediction[str]]) -> Floats:
    """Rows of (sum, holes). An answer that was not examined counts as one hole, found or missed by 8 bits a byte."""
    rows = []
    for target, p in zip(targets, predictions, strict=True):
        is_right = p.value == target
        plain = {BITS: 0.0 if is_right else 8.0 * len(target.encode()), HITS: float(is_right), HOLES: 1.0}
        told = p.examined or plain
        rows.append((told[name], told[HOLES]))
    return np.array(rows, np.float64).reshape(-1, 2)


def _ratio(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1))


CLOZE_METRICS: tuple[Metric, ...] = (
    Metric(
        name="bits_per_token", sums=lambda targets, answers: _sums(BITS, targets, answers), pool=_ratio,
        higher_is_better=False, unit="bits",
    ),
    Metric(name="masked_accuracy", sums=lambda targets, answers: _sums(HITS, targets, answers), pool=_ratio),
)  # fmt: skip


def examined(probabilities: Floats, truth: Array) -> dict[str, float]:
    """What the metrics ask for; probabilities: holes x pieces, truth: the piece that stood in each."""
    right = probabilities[np.arange(len(truth)), truth]
    bits = -np.log2(np.maximum(right, 1e-30)).sum()
    hits = (probabilities.argmax(-1) == truth).sum()
    return {BITS: float(bits), HITS: float(hits), HOLES: float(len(truth))}


# --- simple models ----------------------------------------------------------------------------------------------------


class Neighbours:
    """How often each piece stands between these two neighbours, after this one, before that one; at all.

    Shares of a context are mixed with those of the wider one as much as new pieces still come in it (Witten and Bell
    1991, method C): p = (count + kinds * p_wider) / (all + kinds).
    """

    def __init__(self, texts: Iterable[Array], special: Array, size: int, *, looks: bool = True) -> None:
        """Pieces of the training texts; `size`: of the vocabulary. `looks`: at neighbours at all."""
        self.counts: dict[Hashable, Counter[int]] = defaultdict(Counter)
        self.size = size
        marks = set(special.tolist())
        for ids in texts:
            pieces = ids.tolist()
            for place, piece in enumerate(pieces):
                if piece not in marks:
                    for context in _contexts(pieces, place) if looks else [()]:
                        self.counts[context][piece] += 1
        self.looks = looks

    def probabilities(self, ids: Array, places: Array) -> Floats:
        """holes x pieces."""
        pieces = ids.tolist()
        found = [self._at(pieces, place) for place in places.tolist()]
        return np.stack(found) if found else np.zeros((0, self.size))

    def _at(self, pieces: Sequence[int], place: int) -> Floats:
        everywhere = self._mixed((), np.full(self.size, 1 / self.size))
        if not self.looks:
            return everywhere
        _, after, before, between = _contexts(pieces, place)
        return self._mixed(between, (self._mixed(after, everywhere) + self._mixed(before, everywhere)) / 2)

    def _mixed(self, context: Hashable, wider: Floats) -> Floats:
        counts = self.counts.get(context)
        if not counts:
            return wider
        kinds, total = len(counts), counts.total()
        mixed = wider * (kinds / (total + kinds))
        mixed[list(counts)] += np.array(list(counts.values())) / (total + kinds)
        return mixed


def _contexts(pieces: Sequence[int], place: int) -> list[Hashable]:
    """From the widest to the narrowest: nothing, what stands before it, what stands after it, both."""
    left = pieces[place - 1] if place else -1
    right = pieces[place + 1] if place + 1 < len(pieces) else -1
    return [(), ("after", left), ("before", right), (left, right)]


# --- words ------------------------------------------------------------------------------------------------------------


def filled(text: str, spans: Array, words: Sequence[str]) -> str:
    """The text with these words where the spans (first character, end) are, in order."""
    parts, end = [], 0
    for (start, stop), word in zip(spans.tolist(), words, strict=True):
        parts += [text[end:start], word]
        end = stop
    return "".join([*parts, text[end:]])


def likeliest(probabilities: Floats, words: Mapping[int, str], count: int) -> Iterator[tuple[str, float]]:
    """Of one hole, the likeliest first; pieces that are one word to the eye are told once."""
    seen: set[str] = set()
    for place in np.argsort(-probabilities, kind="stable")[: 4 * count].tolist():
        if words[place] not in seen and len(seen) < count:
            seen.add(words[place])
            yield words[place], float(probabilities[place])
