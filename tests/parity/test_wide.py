"""The wide part against scikit-learn, and that it is left out where it does not help."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from torch import nn

from luodi.backends.sklearn import INVERSE_PENALTY
from luodi.backends.tokenizers import train_processor
from luodi.modalities.text import ngram_buckets
from luodi.models.wide import WideAndDeep, _wide_logits, add_wide_part

BUCKETS = 2**12
KNOWN = [38420, 104265, 238315]
WORDS = {0: ("好吃", "不错", "满意", "great"), 1: ("难吃", "太差", "失望", "bad"), 2: ("几点", "在哪", "多少", "when")}


def texts(count: int, seed: int, classes: int) -> tuple[list[str], list[int]]:
    rng = random.Random(seed)
    targets = [rng.randrange(classes) for _ in range(count)]
    said = [" ".join(rng.sample(WORDS[t], 2) + [rng.choice(WORDS[rng.randrange(classes)])]) for t in targets]
    return [f"{text}{i % 7}" for i, text in enumerate(said)], targets


def fitted(
    classes: int, deep_logits: np.ndarray, seed: int = 0
) -> tuple[WideAndDeep | None, list[np.ndarray], list[int]]:
    rows, targets = texts(300, seed, classes)
    held, truth = texts(100, seed + 1, classes)
    hashed = [[ngram_buckets(t, BUCKETS) for t in part] for part in (rows, held)]
    made = add_wide_part(nn.Identity(), deep_logits, hashed, [targets, truth], BUCKETS)
    return made, hashed[0], targets


@pytest.mark.parametrize("classes", [2, 3])
def test_it_is_scikit_learns_tfidf_and_logistic_regression(classes: int) -> None:
    made, hashed, targets = fitted(classes, np.zeros((100, classes)))
    assert made is not None
    ends = np.cumsum([0, *(len(row) for row in hashed)])
    counts = csr_matrix((np.ones(ends[-1]), np.concatenate(hashed), ends), shape=(len(hashed), BUCKETS))
    features = TfidfTransformer().fit_transform(counts)
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(features, targets)
    theirs = model.predict_proba(features)
    ours = torch.softmax(_wide_logits(made, hashed), -1).numpy()
    assert np.abs(ours - theirs).max() < 1e-3


def test_padding_changes_nothing() -> None:
    made, hashed, _ = fitted(2, np.zeros((100, 2)))
    assert made is not None
    made.deep = _Constant()
    row = torch.from_numpy(hashed[0])[None]
    padded = torch.nn.functional.pad(row, (0, 9))
    ids = torch.ones(1, 3, dtype=torch.int64)
    with torch.no_grad():
        alone, filled = (made(ids, ids, ngrams)["logits"] for ngrams in (row, padded))
    assert torch.allclose(alone, filled, atol=1e-6)


class _Constant(nn.Module):
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": torch.zeros(len(input_ids), 2)}


def test_left_out_where_the_network_knows_better() -> None:
    """Beside a network that is right nine times in ten, n-grams that say nothing are left out."""
    _, truth = texts(100, 1, 2)
    chance = random.Random(5)
    said = [t if chance.random() < 0.9 else 1 - t for t in truth]
    sure = np.log(np.where(np.eye(2)[said] > 0, 0.9, 0.1))
    rows, targets = texts(300, 0, 2)
    rng = np.random.default_rng(0)
    noise = [rng.integers(1, BUCKETS, 5) for _ in rows]
    held = [rng.integers(1, BUCKETS, 5) for _ in truth]
    assert add_wide_part(nn.Identity(), sure, [noise, held], [targets, truth], BUCKETS) is None


@given(st.text(max_size=80))
def test_buckets_are_places_and_width_does_not_matter(text: str) -> None:
    found = ngram_buckets(text, BUCKETS)
    assert found.dtype == np.int64
    assert len(found)
    assert found.max() < BUCKETS
    assert list(found) == sorted(set(found.tolist()))
    assert found.min() > 0 or not text.strip()
    assert np.array_equal(found, ngram_buckets(f" {text} ", BUCKETS))


def test_buckets_are_the_same_everywhere() -> None:
    """Written down once: a Bundle made on one machine is opened on another."""
    assert ngram_buckets("好吃", 2**18).tolist() == KNOWN
    assert ngram_buckets("ＡＢＣ", 2**18).tolist() == ngram_buckets("abc", 2**18).tolist()


def test_a_trained_tokenizer_is_the_same_every_time() -> None:
    rows, _ = texts(200, 3, 3)
    made = {train_processor(rows, vocabulary=300).tokenizer.to_str() for _ in range(5)}
    assert len(made) == 1
