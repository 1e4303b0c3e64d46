"""What training makes small.

Where the answer is one class (of a text, of a picture, of each place) a loss is a function of logits (N x classes) and
labels (N whole numbers, IGNORED where none counts), and gives the mean or the sum over the labels that count. Where it
is a number: of outputs and labels (N each), and gives the mean.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from luodi.core.task import IGNORED, Objective
from luodi.core.types import Array


def class_loss(
    objective: Objective, logits: Tensor, labels: Tensor, reduction: str = "mean", vectors: Tensor | None = None
) -> Tensor:
    """`reduction`: mean or sum. `vectors`: N x width, what the logits were read from, for the contrastive loss: that of
    a network which does not learn, and shows none, is cross-entropy, for that is how its answers are judged."""
    logits = logits.float()
    if objective.name == "contrastive" and vectors is not None:
        plain = functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction=reduction)
        near = contrast(vectors, labels, objective.closeness, reduction)
        return (1 - objective.contrast) * plain + objective.contrast * near
    if objective.name in ("cross_entropy", "contrastive"):
        return functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction=reduction)
    if objective.name == "label_smoothing":
        return functional.cross_entropy(
            logits, labels, ignore_index=IGNORED, reduction=reduction, label_smoothing=objective.smoothing
        )
    each = functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")
    factors = {"focal": focal_factors, "weighted": weight_factors}[objective.name]
    summed = (factors(objective, each, labels) * each).sum()
    return summed if reduction == "sum" else summed / (labels != IGNORED).sum().clamp(min=1)


def number_loss(objective: Objective, outputs: Tensor, labels: Tensor) -> Tensor:
    """mse: (output - label)^2, least at the mean of what a label may be. huber: half of that up to `delta`, beyond it
    delta x (distance - delta / 2), so that a few wild labels do not decide (Huber 1964,
    doi:10.1214/aoms/1177703732)."""
    if objective.name == "mse":
        return functional.mse_loss(outputs.float(), labels)
    return {"huber": functional.huber_loss}[objective.name](outputs.float(), labels, delta=objective.delta)


def contrast(vectors: Tensor, labels: Tensor, temperature: float, reduction: str = "mean") -> Tensor:
    """Rows of one label shall lie near each other, and far from all others: of each row i

        -1 / |P(i)|  sum over p in P(i) of  log( exp(z_i z_p / t)  /  sum over a in A(i) of exp(z_i z_a / t) )

    where z are the vectors brought to length 1, A(i) all other rows of the batch, P(i) those of them with i's label
    (supervised contrastive learning, Khosla et al. 2020, arXiv:2004.11362, equation 2). A row whose label no other row
    of the batch has adds 0."""
    known = labels != IGNORED
    labels, unit = labels[known], functional.normalize(vectors[known].float(), dim=-1)
    if len(labels) < 2:
        return unit.sum() * 0.0
    is_self = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    likeness = (unit @ unit.T / temperature).masked_fill(is_self, float("-inf"))
    is_partner = (labels[:, None] == labels[None, :]) & ~is_self
    partners = is_partner.sum(1)
    logs = torch.where(is_partner, likeness, 0.0).sum(1) - partners * likeness.logsumexp(1)
    summed = -(logs / partners.clamp(min=1)).sum()
    return summed if reduction == "sum" else summed / len(labels)


def focal_factors(objective: Objective, each: Tensor, labels: Tensor) -> Tensor:
    """(1 - p)^gamma of the right class's probability p: what is known already counts little (Lin et al. 2017,
    arXiv:1708.02002)."""
    return (1 - torch.exp(-each)) ** objective.gamma


def weight_factors(objective: Objective, each: Tensor, labels: Tensor) -> Tensor:
    """The weight of each label's class; 1 for a class that training rows do not have."""
    weights = each.new_tensor((*objective.weights, 1.0))
    return weights[labels.clamp(min=0, max=len(objective.weights))]


def inverse_frequencies(labels: Iterable[Array]) -> tuple[float, ...]:
    """n / (classes x count) of each class: all classes weigh the same together, and the mean weight of a label is 1. 1
    for numbers that do not occur."""
    told = np.concatenate([np.ravel(each) for each in labels])
    counts = np.bincount(told[told != IGNORED])
    weights = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return tuple(np.where(counts > 0, weights, 1.0).tolist())
