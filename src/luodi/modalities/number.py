"""One number, and the scores that the field uses for it."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luodi.core.measure import Metric
from luodi.core.modality import Codec
from luodi.core.types import Floats, Prediction
from luodi.errors import DataError
from luodi.messages import tr

# 3, -3.5, .5, 1e-4, 1,299.00; a comma stands between thousands alone: 3,5 may mean either and is not guessed.
_WRITTEN = re.compile(r"[+-]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_MINUS = "\u2212"


class Number(Codec[float]):
    def decode(self, wire: Any) -> float:
        number = float("nan")
        if isinstance(wire, str):
            text = unicodedata.normalize("NFKC", wire).strip().replace(_MINUS, "-")
            number = float(text.replace(",", "")) if _WRITTEN.fullmatch(text) else number
        elif isinstance(wire, (int, float)) and not isinstance(wire, bool) and abs(wire) < 1e300:
            number = float(wire)
        if not math.isfinite(number):
            message = tr("{cell} is not a number.").format(cell=repr(wire)[:60])
            raise DataError(message, code="data.number", hint=tr("Write it like 4.5, -3 or 1,299.00, without a unit."))
        return number + 0.0  # -0.0 + 0.0 is 0.0

    def encode(self, value: float) -> float:
        return value

    def caption(self, value: float) -> str:
        return f"{value:.12g}"

    def schema(self) -> Mapping[str, Any]:
        return {"type": "number"}

    def fingerprint(self, value: float) -> str:
        return hashlib.sha256(repr(value).encode()).hexdigest()

    def feature_names(self) -> tuple[str, ...]:
        return ("number",)

    def features(self, value: float) -> Floats:
        return np.array([value])


def middle_and_spread(numbers: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (of n), the same in any order of the numbers."""
    middle = math.fsum(numbers) / len(numbers)
    return middle, math.sqrt(math.fsum((number - middle) ** 2 for number in numbers) / len(numbers))


def readable(number: float, spread: float) -> float:
    """Rounded to a ten-thousandth of `spread` or less: more figures would say nothing."""
    return round(number, 4 - math.floor(math.log10(spread)))


def _both(targets: Sequence[float], predictions: Sequence[Prediction[float]]) -> tuple[Floats, Floats]:
    return np.asarray(targets, np.float64), np.array([p.value for p in predictions], np.float64)


def _ones_beside(*columns: Floats) -> Floats:
    return np.stack([*columns, np.ones(len(columns[0]))], axis=1)


def _off_by(targets: Sequence[float], predictions: Sequence[Prediction[float]]) -> Floats:
    truth, given = _both(targets, predictions)
    return _ones_beside(np.abs(truth - given))


def _squares(targets: Sequence[float], predictions: Sequence[Prediction[float]]) -> Floats:
    truth, given = _both(targets, predictions)
    return _ones_beside((truth - given) ** 2)


def _explained(targets: Sequence[float], predictions: Sequence[Prediction[float]]) -> Floats:
    """Squared error, truth, its square, 1. The truth is taken from its mean: a square of 2026 would drown the rest."""
    truth, given = _both(targets, predictions)
    centred = truth - truth.mean() if len(truth) else truth
    return _ones_beside((truth - given) ** 2, centred, centred**2)


def _ranked(targets: Sequence[float], predictions: Sequence[Prediction[float]]) -> Floats:
    """Ranks of truth and answer among these rows, from their mean, their squares and product, 1. Draws keep the ranks
    that the whole set gives."""
    truth, given = (_ranks(numbers) for numbers in _both(targets, predictions))
    return _ones_beside(truth, given, truth**2, given**2, truth * given)


def _ranks(numbers: Floats) -> Floats:
    """0 in the middle; equal numbers share the mean of their ranks."""
    _, places, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places] - (len(numbers) + 1) / 2)


def _mean(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1))


def _root_of_mean(sums: Floats) -> Floats:
    return np.asarray(np.sqrt(_mean(sums)))


def _share_explained(sums: Floats) -> Floats:
    """1 - squared error / squared distance from the mean. Where all truths are one: 1 without any error, else 0, as
    scikit-learn has it."""
    error, total, square, n = np.moveaxis(sums, -1, 0)
    whole = square - total**2 / np.maximum(n, 1)
    varies = whole > 1e-12 * np.maximum(square, 1e-300)
    return np.asarray(np.where(varies, 1 - error / np.where(varies, whole, 1), np.where(error > 0, 0.0, 1.0)))


def _correlation(sums: Floats) -> Floats:
    """Of the ranks. 0 where one side is the same everywhere, of which nothing can be said."""
    truth, given, truths, givens, product, n = np.moveaxis(sums, -1, 0)
    n = np.maximum(n, 1)
    spread = np.maximum(truths - truth**2 / n, 0) * np.maximum(givens - given**2 / n, 0)
    varies = spread > 1e-12
    return np.asarray(np.where(varies, (product - truth * given / n) / np.sqrt(np.where(varies, spread, 1)), 0.0))


def _minus_error(sums: Floats) -> Floats:
    return np.asarray(-sums[:, 0])


def _minus_places(sums: Floats) -> Floats:
    return np.asarray(-np.abs(sums[:, 0] - sums[:, 1]))


R2 = Metric(name="r2", sums=_explained, pool=_share_explained, alone=_minus_error)
MAE = Metric(name="mae", sums=_off_by, pool=_mean, higher_is_better=False, unit="units", is_scaled=True)
RMSE = Metric(name="rmse", sums=_squares, pool=_root_of_mean, higher_is_better=False, unit="units", is_scaled=True)
SPEARMAN = Metric(name="spearman", sums=_ranked, pool=_correlation, alone=_minus_places)
NUMBER_METRICS = (R2, MAE, RMSE, SPEARMAN)
"""R2 decides: it is a share, so limits on it and losses of it mean the same whatever the numbers are of."""
