"""How the next token is drawn from a network's logits. numpy only: services have no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luodi.core.types import Floats
from luodi.errors import DataError
from luodi.messages import tr


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """Settings of a decoding loop. As they stand: the likeliest token each time, so that answers can be repeated."""

    temperature: float = 0.0
    """0: the likeliest token. Above: logits are divided by it before they become probabilities."""
    top_k: int = 0
    """Only the k likeliest tokens; 0: all."""
    top_p: float = 1.0
    """Only the likeliest tokens that hold so much of the probability (Holtzman et al. 2020, arXiv:1904.09751)."""
    repetition_penalty: float = 1.0
    """Above 1: what has been written is less likely to come again (Keskar et al. 2019, arXiv:1909.05858)."""
    seed: int = 0
    """The same seed and input give the same answer, whatever else is in the batch."""
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these."""


def check_sampling(sampling: Sampling) -> None:
    """Raises DataError in one line where a setting is out of range."""
    wrong = [
        name for name, holds in (
            ("temperature", 0 <= sampling.temperature <= 100), ("top_k", sampling.top_k >= 0),
            ("top_p", 0 < sampling.top_p <= 1), ("repetition_penalty", 0.01 <= sampling.repetition_penalty <= 100),
            ("seed", sampling.seed >= 0), ("max_new_tokens", sampling.max_new_tokens >= 1),
            ("stop", len(sampling.stop) <= 16 and all(0 < len(word) <= 200 for word in sampling.stop)),
        ) if not holds
    ]  # fmt: skip
    if wrong:
        message = tr("The sampling setting {name} is out of range.").format(name=wrong[0])
        hint = tr("0 <= temperature <= 100, 0 < top_p <= 1, at most 16 stop words of at most 200 characters.")
        raise DataError(message, code="data.sampling", hint=hint)


def log_softmax(logits: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> Floats:
    """Over the last axis, as float64 sums of whatever comes."""
    shifted = logits - logits.max(-1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return found


def distribution(logits: Floats, sampling: Sampling, written: Sequence[int] = ()) -> Floats:
    """Probabilities of the next token: one row of logits; `written` are the tokens that a penalty is for."""
    scores = np.array(logits, np.float64)
    if sampling.repetition_penalty != 1 and len(written):
        places = np.unique(np.asarray(written, np.int64))
        told = scores[places]
        scores[places] = np.where(told > 0, told / sampling.repetition_penalty, told * sampling.repetition_penalty)
    if sampling.temperature == 0:
        best = np.zeros_like(scores)
        best[int(scores.argmax())] = 1.0
        return best
    scores /= sampling.temperature
    order = np.argsort(-scores, kind="stable")  # of equals the first
    if sampling.top_k:
        order = order[: sampling.top_k]
    shares = np.exp(scores[order] - scores[order[0]])
    shares /= shares.sum()
    if sampling.top_p < 1:
        kept = int(np.searchsorted(np.cumsum(shares), sampling.top_p - 1e-12)) + 1
        order, shares = order[:kept], shares[:kept] / shares[:kept].sum()
    found = np.zeros_like(scores)
    found[order] = shares
    return found


def draw(logits: Floats, sampling: Sampling, written: Sequence[int], rng: np.random.Generator) -> int:
    """The next token."""
    if sampling.temperature == 0 and sampling.repetition_penalty == 1:
        return int(logits.argmax())
    shares = distribution(logits, sampling, written)
    if sampling.temperature == 0:
        return int(shares.argmax())
    return min(int(np.searchsorted(np.cumsum(shares), rng.random() * shares.sum(), side="right")), len(shares) - 1)
