"""The cheap classical model that a Transformer must beat: character n-grams, TF-IDF, logistic regression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from luodi.backends import need
from luodi.core.types import Array, Floats, Prediction

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
    vectorizer = need("sklearn.feature_extraction.text").TfidfVectorizer(
        analyzer="char", ngram_range=(1, LARGEST_NGRAM), sublinear_tf=True, min_df=1 if len(inputs) < FEW_ROWS else 2,
        max_features=MOST_WEIGHTS // len(classes),
    )  # fmt: skip
    features = vectorizer.fit_transform(inputs)
    # Jointly over all classes; one problem a class is as good and, at 150 classes, twice as slow.
    model = need("sklearn.linear_model").LogisticRegression(C=INVERSE_PENALTY, max_iter=1000, random_state=seed)
    model.fit(features, list(targets))

    def predict(texts: Sequence[str]) -> list[Prediction[str]]:
        if not texts:
            return []
        return [_answer(model.classes_, row) for row in model.predict_proba(vectorizer.transform(texts))]

    return predict


def _answer(classes: Sequence[Any], probabilities: Sequence[float]) -> Prediction[str]:
    scores = {str(c): float(p) for c, p in zip(classes, probabilities, strict=True)}
    best = max(scores, key=lambda c: scores[c])
    return Prediction(value=best, confidence=scores[best], scores=scores)


def _constant(value: str) -> Callable[[Sequence[str]], list[Prediction[str]]]:
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
