"""Entities as one tag for each unit of a text: cutting, tagging, and the best sequence that tags allow. numpy only.

A unit is the least that an entity can begin or end at: a character where words are written without spaces, a run of
letters, a run of digits, a mark. Of the 97,468 entities of the Resume and MSRA corpora none has a boundary elsewhere.

Tags are BIOES (begin, inside, outside, end, single; Ratinov & Roth 2009 found them better than BIO). Tag 0 is outside;
entity type k has the tags 1 + 4k (begin), 2 + 4k (inside), 3 + 4k (end), 4 + 4k (single).
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence

import numpy as np

from luodi.core.task import IGNORED
from luodi.core.types import Array, Floats
from luodi.modalities.spans import Span

# Thai to Khmer, kana, Han, Hangul: an entity may end within what stands between two spaces.
_ALONE = (
    r"\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNIT = re.compile(rf"[{_ALONE}]|\d+|[^\W\d_{_ALONE}]+|\S")
BEGIN, INSIDE, END, SINGLE = range(4)
_NEVER = -1e9


def units(text: str) -> Array:
    """Begin and end of each, n x 2; what is white lies between them."""
    found = [match.span() for match in _UNIT.finditer(text)]
    return np.array(found, np.int32).reshape(-1, 2)


def place_units(text: str, pieces: Array) -> Array:
    """Which places of the text each piece of a tokenizer answers for: T x 2, -1 where it answers for none.

    `pieces` (T x 2) are the characters that each covers, equal ends for special ones. The last piece of a unit answers
    for it. A piece over several units answers for all of them together, so that nothing is lost with a tokenizer that
    does not stop where units do.
    """
    found = units(text)
    places = np.full((len(pieces), 2), -1, np.int32)
    if not len(found):
        return places
    first = np.searchsorted(found[:, 1], pieces[:, 0], side="right")  # the first unit that ends behind its beginning
    last = np.searchsorted(found[:, 0], pieces[:, 1], side="left") - 1  # the last one that begins before its end
    owner: dict[int, tuple[int, int]] = {}  # the last unit of a piece to the piece, and to the first unit of the group
    newest = -1
    for i in np.flatnonzero((pieces[:, 0] < pieces[:, 1]) & (first <= last)).tolist():
        unit, begun = int(last[i]), int(first[i])
        if unit >= newest:
            newest = unit
            owner[unit] = (i, min(begun, owner[unit][1]) if unit in owner else begun)
    done = -1
    for unit, (i, begun) in owner.items():
        places[i] = found[max(begun, done + 1), 0], found[unit, 1]
        done = unit
    return places


def tags_of(spans: Sequence[Span], places: Array, labels: Sequence[str]) -> Array:
    """One tag for each place (n x 2). An entity that ends within a place takes it whole; one of a type that is not
    among the labels is IGNORED."""
    tags = np.zeros(len(places), np.int64)
    number = {label: k for k, label in enumerate(labels)}
    free = 0
    for span in spans:
        a = max(int(np.searchsorted(places[:, 1], span.start, side="right")), free)
        b = int(np.searchsorted(places[:, 0], span.end, side="left"))
        if b <= a:
            continue
        free = b
        if span.label not in number:
            tags[a:b] = IGNORED
            continue
        base = 1 + 4 * number[span.label]
        tags[a:b] = base + INSIDE
        tags[a], tags[b - 1] = base + BEGIN, base + END
        if b - a == 1:
            tags[a] = base + SINGLE
    return tags


def spans_of(tags: Array, places: Array, labels: Sequence[str], text: str) -> tuple[Span, ...]:
    """Of a sequence that `best_tags` gave."""
    found = []
    begun = 0
    for i in np.flatnonzero(tags).tolist():
        kind, role = divmod(int(tags[i]) - 1, 4)
        if role in (BEGIN, SINGLE):
            begun = i
        if role in (END, SINGLE):
            start, end = int(places[begun, 0]), int(places[i, 1])
            found.append(Span(start, end, labels[kind], text[start:end]))
    return tuple(found)


def best_tags(scores: Floats, lengths: Sequence[int]) -> Array:
    """The best allowed sequences (Viterbi 1967): scores B x T x tags, of which the first `lengths` count. B x T, 0
    behind them.

    Of all pairs of tags only two kinds are allowed: what is closed (outside, end, single) before what opens or stays
    outside, and begin or inside before inside or end of the same type. So a step costs as much as there are tags, not
    their square.
    """
    count, steps, num_tags = scores.shape
    opened = np.arange(1, num_tags, 4)
    closing = np.concatenate([[0], opened + END, opened + SINGLE])
    free = np.concatenate([[0], opened + BEGIN, opened + SINGLE])
    from_closed = np.zeros((steps, count), np.int64)
    from_open = np.zeros((steps, count, len(opened)), bool)  # inside rather than begin
    best = np.full((count, num_tags), _NEVER)
    best[:, 0] = 0.0
    alive = np.asarray(lengths)[:, None] > np.arange(steps)[None, :]
    for t in range(steps):
        closed, begin, inside = best[:, closing], best[:, opened + BEGIN], best[:, opened + INSIDE]
        from_closed[t] = closing[closed.argmax(1)]
        from_open[t] = inside > begin
        within = np.maximum(begin, inside)
        new = np.empty_like(best)
        new[:, free] = closed.max(1)[:, None] + scores[:, t, free]
        new[:, opened + INSIDE] = within + scores[:, t, opened + INSIDE]
        new[:, opened + END] = within + scores[:, t, opened + END]
        best = np.where(alive[:, t, None], new, best)
    return _traced(closing[best[:, closing].argmax(1)], from_closed, from_open, alive)


def _traced(last: Array, from_closed: Array, from_open: Array, alive: Array) -> Array:
    """Back from the last tags along the choices that led to them."""
    count, steps = alive.shape
    rows = np.arange(count)
    tags = np.zeros((count, steps), np.int64)
    now = last
    for t in range(steps - 1, -1, -1):
        tags[:, t] = np.where(alive[:, t], now, 0)
        kind, role = np.divmod(now - 1, 4)
        is_within = (now > 0) & ((role == INSIDE) | (role == END))
        kind = np.where(is_within, kind, 0)
        inner = 1 + 4 * kind + np.where(from_open[t, rows, kind], INSIDE, BEGIN) if from_open.shape[2] else now
        now = np.where(alive[:, t], np.where(is_within, inner, from_closed[t]), now)
    return tags


# --- what a linear model sees -----------------------------------------------------------------------------------------

_WINDOWS = ((-2,), (-1,), (0,), (1,), (2,), (-2, -1), (-1, 0), (0, 1), (1, 2), (-1, 1), (-1, 0, 1))
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio


def window_features(text: str, places: Array, buckets: int) -> Array:
    """Hash buckets of what stands at and around each unit, n x features: itself, its neighbours, pairs, its kind."""
    words = [unicodedata.normalize("NFKC", text[a:b]).casefold() for a, b in places]
    names = np.array([1, 1, *(zlib.crc32(w.encode()) + 2 for w in words), 1, 1], np.uint64)  # two edges on either side
    kinds = np.array([0, 0, *map(_kind, words), 0, 0], np.uint64)
    columns = [_mixed(names, window, salt) for salt, window in enumerate(_WINDOWS)]
    columns += [_mixed(kinds, window, salt) for salt, window in enumerate(((-1, 0, 1), (0,)), len(_WINDOWS))]
    return np.stack(columns, axis=1) % np.uint64(buckets)


def _mixed(values: Array, window: Sequence[int], salt: int) -> Array:
    hashes = np.full(len(values) - 4, salt + 1, np.uint64)
    for offset in window:
        hashes = (hashes + values[2 + offset : len(values) - 2 + offset]) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _kind(word: str) -> int:
    """Letters, digits, marks; one character or several."""
    sort = "LNPS".find(unicodedata.category(word[0])[0]) if word else -1
    return 2 + 2 * sort + min(len(word), 2)
