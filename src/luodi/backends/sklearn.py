"""The cheap classical model that a Transformer must beat: character n-grams, TF-IDF, logistic regression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from luodi.backends import need
from luodi.core.types import Prediction

# Fixed from experience with short reviews and intents, never tuned on anybody's test set. Large, because unit-length TF-IDF
# rows are small numbers; between 4 and 30 the score moves by less than half a point.
INVERSE_PENALTY = 10.0
LARGEST_NGRAM = 3
FEW_ROWS = 200  # below this, n-grams that stand in one row alone are kept


def fit_tfidf(
    inputs: Sequence[str], targets: Sequence[str], *, seed: int
) -> Callable[[Sequence[str]], list[Prediction[str]]]:
    """Fitted on these rows; its answers carry a probability for each class. Characters need no word list, so any
    script is served alike (Wang and Manning 2012 say why such a model is hard to beat)."""
    classes = sorted(set(targets))
    if len(classes) == 1 or not any(text.strip() for text in inputs):
        return _constant(max(classes, key=list(targets).count))
    vectorizer = need("sklearn.feature_extraction.text").TfidfVectorizer(
        analyzer="char", ngram_range=(1, LARGEST_NGRAM), sublinear_tf=True, min_df=1 if len(inputs) < FEW_ROWS else 2
    )
    features = vectorizer.fit_transform(inputs)
    model = _linear(len(classes), seed).fit(features, list(targets))

    def predict(texts: Sequence[str]) -> list[Prediction[str]]:
        if not texts:
            return []
        return [_answer(model.classes_, row) for row in model.predict_proba(vectorizer.transform(texts))]

    return predict


def _linear(num_classes: int, seed: int) -> Any:
    """One problem a class where there are more than two: the joint one over 150 classes takes minutes, these seconds."""
    model = need("sklearn.linear_model").LogisticRegression(
        C=INVERSE_PENALTY, solver="liblinear", max_iter=1000, random_state=seed
    )
    return model if num_classes == 2 else need("sklearn.multiclass").OneVsRestClassifier(model)


def _answer(classes: Sequence[Any], probabilities: Sequence[float]) -> Prediction[str]:
    scores = {str(c): float(p) for c, p in zip(classes, probabilities, strict=True)}
    best = max(scores, key=lambda c: scores[c])
    return Prediction(value=best, confidence=scores[best], scores=scores)


def _constant(value: str) -> Callable[[Sequence[str]], list[Prediction[str]]]:
    answer = Prediction(value=value, confidence=1.0, scores={value: 1.0})
    return lambda texts: [answer] * len(texts)
