"""The cheap classical model that a Transformer must beat: character n-grams, TF-IDF, logistic regression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from luodi.backends import need
from luodi.core.types import Array, Floats, Prediction, X

# Fixed on validation rows of two sets of Chinese reviews, never on a test set. Large, because unit-length TF-IDF
# rows are small numbers; between 5 and 20 the score moves by 0.7 points at most.
INVERSE_PENALTY = 10.0
LARGEST_NGRAM = 3
FEW_ROWS = 200  # below this, n-grams that stand in one row alone are kept
MOST_WEIGHTS = 3_000_000  # n-grams x classes; L-BFGS keeps twenty copies of them: 480 MB


def fit_tfidf(
    inputs: Sequence[str], targets: Sequence[str], *, seed: int
) -> Callable[[Sequence[str]], list[Prediction[str]]]:
    """Fitted on these rows; answers carry a probability for each class. Characters need no word list, so every
    script is served alike; Wang and Manning 2012 show how hard such a model is to beat on short texts."""
    classes = sorted(set(targets))
    if len(classes) == 1 or not any(text.strip() for text in inputs):
        return _constant(max(classes, key=list(targets).count))
    vectorizer = _vectorizer(len(inputs), MOST_WEIGHTS // len(classes))
    features = vectorizer.fit_transform(inputs)
    # Jointly over all classes; one problem a class is as good and, at 150 classes, twice as slow.
    model = need("sklearn.linear_model").LogisticRegression(C=INVERSE_PENALTY, max_iter=1000, random_state=seed)
    model.fit(features, list(targets))

    def predict(texts: Sequence[str]) -> list[Prediction[str]]:
        if not texts:
            return []
        return [_answer(model.classes_, row) for row in model.predict_proba(vectorizer.transform(texts))]

    return predict


NUMBERS_PENALTY = 0.01  # inverse; the best of 0.001, 0.01 and 0.1 on held-out photographs, 0.2 points off on digits


def fit_numbers(
    describe: Callable[[Sequence[X]], Floats], inputs: Sequence[X], targets: Sequence[str], *, seed: int
) -> Callable[[Sequence[X]], list[Prediction[str]]]:
    """Logistic regression on what `describe` says of inputs (n x features), brought to mean 0 and spread 1."""
    classes = sorted(set(targets))
    if len(classes) == 1:
        return _constant(classes[0])
    told = describe(inputs)
    middle, spread = told.mean(0), np.maximum(told.std(0), 1e-6)
    model = need("sklearn.linear_model").LogisticRegression(C=NUMBERS_PENALTY, max_iter=1000, random_state=seed)
    model.fit((told - middle) / spread, list(targets))

    def predict(asked: Sequence[X]) -> list[Prediction[str]]:
        if not asked:
            return []
        return [_answer(model.classes_, row) for row in model.predict_proba((describe(asked) - middle) / spread)]

    return predict


def _answer(classes: Sequence[Any], probabilities: Sequence[float]) -> Prediction[str]:
    scores = {str(c): float(p) for c, p in zip(classes, probabilities, strict=True)}
    best = max(scores, key=lambda c: scores[c])
    return Prediction(value=best, confidence=scores[best], scores=scores)


def _constant(value: str) -> Callable[[Sequence[Any]], list[Prediction[str]]]:
    answer = Prediction(value=value, confidence=1.0, scores={value: 1.0})
    return lambda texts: [answer] * len(texts)


def fit_hashed(
    buckets: Sequence[Array], targets: Sequence[str], weights: Floats, *, seed: int
) -> tuple[Floats, Floats]:
    """Logistic regression on rows of unit length, each the `weights` of its buckets: (buckets x classes, classes).

    Classes in sorted order; of two, the first has only zeros.
    """
    sparse = need("scipy.sparse")
    places = np.concatenate(buckets)
    ends = np.cumsum([0, *(len(row) for row in buckets)])
    values = weights[places]
    norms = np.sqrt(np.add.reduceat(np.append(values**2, 0.0), ends[:-1]))
    lengths = np.repeat(np.maximum(norms, 1e-9), np.diff(ends))
    matrix = sparse.csr_matrix((values / lengths, places, ends), shape=(len(buckets), len(weights)))
    model = need("sklearn.linear_model").LogisticRegression(C=INVERSE_PENALTY, max_iter=1000, random_state=seed)
    model.fit(matrix, list(targets))
    slopes, biases = model.coef_.T, model.intercept_
    if slopes.shape[1] == 1:
        slopes = np.concatenate([np.zeros_like(slopes), slopes], axis=1)
        biases = np.append(0.0, biases)
    return slopes * weights[:, None], biases


TAG_PENALTY = 1e-5  # of the L2 norm; the best of six on the validation part of the Resume corpus
TAG_EPOCHS = 6


def fit_tags(
    features: Array, tags: Array, buckets: int, num_tags: int, *, seed: int
) -> Callable[[Array], Floats]:
    """One logistic regression a tag, by stochastic gradients. `features` are n x k buckets that are on; the function
    returned gives for such rows the logarithm of each tag's probability, n x num_tags."""
    sparse = need("scipy.sparse")

    ends = np.arange(0, features.size + 1, features.shape[1])
    places = features.ravel().astype(np.int64)
    matrix = sparse.csr_matrix((np.ones(features.size), places, ends), shape=(len(features), buckets))
    seen = np.unique(tags)
    weights, biases = np.zeros((buckets, num_tags)), np.full(num_tags, -30.0)  # a tag that was not seen is never given
    if len(seen) == 1:
        biases[seen[0]] = 0.0
    else:
        model = need("sklearn.linear_model").SGDClassifier(
            loss="log_loss", alpha=TAG_PENALTY, max_iter=TAG_EPOCHS, tol=None, average=True, random_state=seed
        )
        model.fit(matrix, tags)
        two = len(seen) == 2  # then the library keeps one row, of the second
        weights[:, seen] = (np.concatenate([-model.coef_, model.coef_]) if two else model.coef_).T
        biases[seen] = np.concatenate([-model.intercept_, model.intercept_]) if two else model.intercept_

    def score(rows: Array) -> Floats:
        reached = weights[rows.astype(np.int64)].sum(1) + biases
        return np.asarray(-np.logaddexp(0.0, -reached))

    return score


RIDGE_PENALTY = 1.0
"""Of rows of unit length."""


def fit_tfidf_ridge(inputs: Sequence[str], targets: Sequence[float]) -> Callable[[Sequence[str]], Floats]:
    """Character n-grams, TF-IDF, least squares with a penalty (Hoerl and Kennard 1970)."""
    middle = float(np.mean(targets))
    if not any(text.strip() for text in inputs):
        return lambda texts: np.full(len(texts), middle)
    vectorizer = _vectorizer(len(inputs), MOST_WEIGHTS)
    features = vectorizer.fit_transform(inputs)
    model = need("sklearn.linear_model").Ridge(alpha=RIDGE_PENALTY, solver="sparse_cg", random_state=0)
    model.fit(features, np.asarray(targets, np.float64) - middle)

    def predict(texts: Sequence[str]) -> Floats:
        return np.asarray(model.predict(vectorizer.transform(texts)) + middle) if len(texts) else np.zeros(0)

    return predict


def _vectorizer(count: int, most: int) -> Any:
    """`count`: how many texts there are; `most`: n-grams that are kept at most."""
    return need("sklearn.feature_extraction.text").TfidfVectorizer(
        analyzer="char", ngram_range=(1, LARGEST_NGRAM), sublinear_tf=True, min_df=1 if count < FEW_ROWS else 2,
        max_features=most,
    )  # fmt: skip


SVD_TURNS = 2
"""Of the power method; five give the same groups of texts and take twice the time."""


def word_vectors(words: Sequence[Sequence[str]], width: int) -> Floats:
    """n x d, d at most `width`: TF-IDF of the words that stand in two texts or more, and its largest directions (latent
    semantic analysis: Deerwester et al. 1990); zeros where a text holds none of them."""
    vectorizer = need("sklearn.feature_extraction.text").TfidfVectorizer(
        analyzer=list, sublinear_tf=True, min_df=2 if len(words) >= FEW_ROWS else 1, dtype=np.float32
    )
    try:
        found = vectorizer.fit_transform(words)
    except ValueError:  # no word is in two of them
        return np.zeros((len(words), 1))
    size = min(width, found.shape[0] - 1, found.shape[1] - 1)
    if size < 1:
        return np.asarray(found.toarray(), np.float64)
    made = need("sklearn.decomposition").TruncatedSVD(size, n_iter=SVD_TURNS, random_state=0).fit_transform(found)
    return np.asarray(made, np.float64)
