"""The character models are distributions, and Kneser-Ney as published."""

from __future__ import annotations

import random
from collections import Counter
from math import log2

import pytest

from luodi.models.ngram import END, START, fit_ngrams

TEXTS = ["abab", "abc", "b", "春风春", "cab"]


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("before", ["", "a", "ab", "zz", "春"])
def test_what_may_follow_adds_up_to_one_at_most(n: int, before: str) -> None:
    model = fit_ngrams(TEXTS, n)
    known = sorted(set("".join(TEXTS))) + [END]
    total = sum(2 ** -float(model.bits([(before, c)])[0]) for c in known)
    # What is left is the floor's: one mark and bytes for all that was never seen, START among it.
    assert 0.8 < total < 1.0
    assert 2 ** -float(model.bits([(before, "鿿")])[0]) < (1 - total) * 256**-3 * 1.001 + 1e-12


def by_hand(context: str, character: str) -> float:
    """Interpolated Kneser-Ney over two characters, from counts in dictionaries."""
    pairs = Counter(w[i : i + 2] for t in TEXTS for w in [START + t + END] for i in range(len(w) - 1))
    ends = Counter(pair[1] for pair in pairs)

    def discount(counts: Counter[str]) -> float:
        once, twice = (sum(c == k for c in counts.values()) for k in (1, 2))
        return min(once / (once + 2 * twice), 0.95)

    kinds = len(ends) + 1  # START has a number too, and never comes
    single = (max(ends[character] - discount(ends), 0) + discount(ends) * len(ends) / (kinds + 1)) / ends.total()
    following = {pair: count for pair, count in pairs.items() if pair[0] == context}
    if not following:
        return single
    left = discount(pairs) * len(following) * single
    return (max(pairs[context + character] - discount(pairs), 0) + left) / sum(following.values())


def test_it_is_kneser_ney() -> None:
    model = fit_ngrams(TEXTS, 2)
    for context in ("a", "b", "春"):
        for character in ("a", "b", "c", "风", END):
            assert model.bits([(context, character)])[0] == pytest.approx(-log2(by_hand(context, character)))


def test_bits_add_up_and_do_not_depend_on_company() -> None:
    model = fit_ngrams(TEXTS, 3)
    pairs = [("a", "bab" + END), ("", "春风"), ("cc", "xyz")]
    alone = [float(model.bits([pair])[0]) for pair in pairs]
    assert model.bits(pairs) == pytest.approx(alone)
    assert alone[0] == pytest.approx(sum(model.bits([("a", "b"), ("ab", "a"), ("aba", "b"), ("abab", END)])))


def test_longer_memory_tells_more_and_goes_on_as_was_learned() -> None:
    rng = random.Random(0)
    texts = ["".join(rng.choice(["春风又绿", "明月何时", "轻舟已过"]) for _ in range(5)) for _ in range(200)]
    held = [("", text + END) for text in texts[150:]]
    bits = [fit_ngrams(texts[:150], n).bits(held).sum() for n in (1, 2, 5)]
    assert bits[0] > 1.5 * bits[1] > bits[2]
    assert fit_ngrams(texts, 3).likeliest(["春", "明", "轻"], 3) == ["风又绿", "月何时", "舟已过"]
    assert fit_ngrams(["ab"], 5).likeliest(["a", "zz"], 9)[0] == "b"
