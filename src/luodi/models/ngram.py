"""Characters from the n - 1 before them, smoothed: what a language model must beat.

Interpolated Kneser-Ney (Kneser & Ney 1995, in the form of Chen & Goodman 1999, one discount for each length). Below
the single characters lies a floor that any text can be written with: each known character alike, and for all others
one mark and then their bytes, 8 bits each. So every text has a probability, and those of all add up to 1 at most.

Grams are numbers: a gram is the number of its first n - 1 characters and its last one, so that sorted arrays hold all
counts, and a million characters are fitted in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luodi.core.types import Array, Floats

START, END = "\x02", "\x03"
"""Control characters for both ends; texts that hold them themselves are scored as if they ended there."""
_SPAN = 1 << 21  # more than there are code points


@dataclass(frozen=True, slots=True)
class _Order:
    """Of grams of one length. Below the longest, a count says after how many different characters a gram stood."""

    keys: Array
    """Sorted: number of the context x _SPAN + code point. A gram's number is its place."""
    counts: Floats
    totals: Floats
    """By number of the context: what the counts of all that follows it add up to."""
    kinds: Floats
    """By number of the context: how many different characters follow it."""
    best: Array
    """By number of the context: the character that follows it most often."""
    discount: float

    def find(self, contexts: Array, characters: Array) -> Array:
        """Numbers of grams; -1 where there is none."""
        wanted = contexts * _SPAN + characters
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where((contexts >= 0) & (self.keys[places] == wanted), places, -1)


@dataclass(frozen=True, slots=True)
class NgramModel:
    orders: tuple[_Order, ...]
    """For 1, 2, ... characters."""

    def bits(self, texts: Sequence[tuple[str, str]]) -> Floats:
        """Of (before, text): what it takes to write the text after what stands before. END counts where the text
        holds it."""
        codes = self._joined([before + text for before, text in texts])
        each = -np.log2(self._shares(codes))
        ends = np.cumsum([len(before) + len(text) + self._reach for before, text in texts])
        sums = np.concatenate([[0.0], np.cumsum(each)])
        return np.array([sums[e] - sums[e - len(text)] for e, (_, text) in zip(ends, texts, strict=True)])

    def likeliest(self, befores: Sequence[str], most: int) -> list[str]:
        """Goes on with the commonest character after the longest context that is known, `most` times at most."""
        reach = max(self._reach, 1)
        tails = np.array([_codes((START * reach + text)[-reach:]) for text in befores], np.int64).reshape(-1, reach)
        written = np.full((len(befores), most), ord(END), np.int64)
        for step in range(most):
            following = np.full(len(befores), self.orders[0].best[0])
            for n in range(1, len(self.orders)):
                context = self._gram(tails[:, reach - n :])
                known = (context >= 0) & (self.orders[n].totals[context] > 0)
                following = np.where(known, self.orders[n].best[context], following)
            written[:, step] = following
            tails = np.concatenate([tails[:, 1:], following[:, None]], axis=1)
        return ["".join(map(chr, row)).partition(END)[0] for row in written.tolist()]

    @property
    def _reach(self) -> int:
        return len(self.orders) - 1

    def _joined(self, texts: Sequence[str]) -> Array:
        return _codes("".join(START * self._reach + text for text in texts))

    def _gram(self, characters: Array) -> Array:
        """Number of each row, which is a gram as long as it is wide."""
        found = np.zeros(len(characters), np.int64)
        for order, column in zip(self.orders, characters.T, strict=False):
            found = order.find(found, column)
        return found

    def _shares(self, codes: Array) -> Floats:
        """Probability of each character after those before it."""
        grams = np.zeros(len(codes), np.int64)  # the empty gram, which ends everywhere
        shares: Floats = np.full(len(codes), 1.0)
        for n, order in enumerate(self.orders):
            contexts = np.concatenate([[-1 if n else 0], grams[:-1]])
            grams = order.find(contexts, codes)
            if not n:
                shares = np.where(grams >= 0, 1.0, _byte_shares(codes)) / (len(order.keys) + 1)
            told = (contexts >= 0) & (order.totals[contexts] > 0)
            counts = np.where(grams >= 0, order.counts[grams], 0.0)
            left = order.discount * order.kinds[contexts] * shares
            total = np.where(told, order.totals[contexts], 1.0)
            shares = np.where(told, (np.maximum(counts - order.discount, 0.0) + left) / total, shares)
        return shares


def fit_ngrams(texts: Sequence[str], n: int) -> NgramModel:
    """Each text ends with an END, which is counted too."""
    codes = _codes("".join(START * (n - 1) + text + END for text in texts))
    grams = [np.zeros(len(codes), np.int64)]
    keys, firsts = [], []
    for _ in range(n):
        # The gram that ends at a place is the shorter one that ends before it, and the character.
        contexts = np.concatenate([[0], grams[-1][:-1]])
        told, first, numbers = np.unique(contexts * _SPAN + codes, return_index=True, return_inverse=True)
        grams.append(numbers)
        keys.append(told)
        firsts.append(first)
    counts = np.bincount(grams[n], minlength=len(keys[n - 1])).astype(np.float64)
    orders: list[_Order] = []
    for length in range(n, 0, -1):
        size = len(keys[length - 2]) if length > 1 else 1
        orders.append(_order(keys[length - 1], _without_start(keys[length - 1], counts), size))
        # How many different grams of this length end in each shorter one.
        shorter = grams[length - 1][firsts[length - 1]]
        counts = np.bincount(shorter[counts > 0], minlength=size).astype(np.float64)
    return NgramModel(tuple(reversed(orders)))


def _order(keys: Array, counts: Floats, num_contexts: int) -> _Order:
    contexts = keys // _SPAN
    totals = np.bincount(contexts, counts, num_contexts).astype(np.float64)
    kinds = np.bincount(contexts, counts > 0, num_contexts).astype(np.float64)
    ranked = np.lexsort((-counts, contexts))
    places, first = np.unique(contexts[ranked], return_index=True)
    best = np.zeros(num_contexts, np.int64)
    best[places] = keys[ranked[first]] % _SPAN
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    discount = min(once / (once + 2 * twice), 0.95) if once else 0.5  # Ney, Essen & Kneser 1994
    return _Order(keys, counts, totals, kinds, best, discount)


def _without_start(keys: Array, counts: Floats) -> Floats:
    """Nobody writes a START: it stands in contexts only."""
    return np.where(keys % _SPAN == ord(START), 0.0, counts)


def _codes(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)


def _byte_shares(codes: Array) -> Floats:
    """256 to the power of minus the bytes that a character has in UTF-8."""
    sizes = 1 + (codes >= 0x80).astype(int) + (codes >= 0x800) + (codes >= 0x10000)
    return 256.0 ** -sizes.astype(np.float64)
