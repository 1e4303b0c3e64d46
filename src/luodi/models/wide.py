"""A wide part beside a deep one (Cheng et al. 2016, arXiv:1606.07792): what a linear model knows of character n-grams
and the network has not learned from as few rows.

Fitted after the network, not with it: the linear problem is convex and done in seconds, while a few hundred steps of
Adam leave rare n-grams where they started. How much each side counts is fitted on held-back rows, which sets the
temperature of the probabilities as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from luodi.core.progress import say
from luodi.core.types import Array, Floats
from luodi.messages import tr

_FOLDS = 5
_LEAST_GAIN = 0.01
"""Of the held-back loss: less is within what chance gives one more number to fit."""


class WideAndDeep(nn.Module):
    """logits = deep scale * deep logits + wide scale * wide logits + bias."""

    def __init__(self, deep: nn.Module, buckets: int, num_labels: int) -> None:
        super().__init__()
        self.deep = deep
        # A row for each bucket: its weight for each label and, last, the square of its idf. Row 0 is padding.
        # In float16, which holds three digits of each: half of what is shipped of it.
        self.wide = nn.Embedding(buckets, num_labels + 1, dtype=torch.float16)
        self.wide_bias = nn.Parameter(torch.zeros(num_labels))
        self.scales = nn.Parameter(torch.ones(2))
        self.bias = nn.Parameter(torch.zeros(num_labels))

    @property
    def encoder(self) -> Any:
        return self.deep.encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor, ngrams: Tensor) -> dict[str, Tensor]:
        """ngrams: B x N buckets, 0 for none."""
        deep = self.deep(input_ids=input_ids, attention_mask=attention_mask)["logits"]
        sums = self.wide(ngrams).float().sum(1)  # B x (labels + 1)
        wide = sums[:, :-1] / sums[:, -1:].clamp(min=1e-12).sqrt() + self.wide_bias
        return {"logits": self.scales[0] * deep.log_softmax(-1) + self.scales[1] * wide + self.bias}


def add_wide_part(
    deep: nn.Module, deep_logits: Floats, hashed: Sequence[Sequence[Array]], targets: Sequence[Sequence[int]],
    buckets: int,
) -> WideAndDeep | None:  # fmt: skip
    """None where the wide part does not help. `hashed` and `targets`: training rows, held-back rows;
    `deep_logits`: of the held-back rows, n x labels."""
    from luodi.backends.sklearn import fit_hashed

    num_labels = deep_logits.shape[1]
    if len(set(targets[0])) < num_labels or len(targets[1]) < 10 * _FOLDS:
        return None
    idf = _idf(hashed[0], buckets)
    # Padded to one width, so that text order is number order.
    slopes, biases = fit_hashed(hashed[0], [f"{t:06d}" for t in targets[0]], idf, seed=0)
    module = WideAndDeep(deep, buckets, num_labels)
    with torch.no_grad():
        module.wide.weight.copy_(torch.from_numpy(np.concatenate([slopes, idf[:, None] ** 2], axis=1)))
        module.wide.weight[0] = 0
        module.wide_bias.copy_(torch.from_numpy(biases))
    wide_logits = _wide_logits(module, hashed[1])
    truth = torch.tensor(targets[1])
    logits = torch.stack([torch.from_numpy(deep_logits), wide_logits])  # 2 x n x labels
    alone, together = (_held_out_loss(logits[:count], truth) for count in (1, 2))
    sentence = tr("Character n-grams beside the network: held-back loss {together:.4f}, without them {alone:.4f}.")
    say(sentence.format(together=together, alone=alone))
    if together > alone * (1 - _LEAST_GAIN):
        return None
    scales, bias = _fit_mix(logits, truth)
    with torch.no_grad():
        module.scales.copy_(scales)
        module.bias.copy_(bias)
    return module.eval()


def _idf(rows: Sequence[Array], buckets: int) -> Floats:
    """Smoothed inverse document frequency, as scikit-learn has it; 0 for buckets that no row has."""
    counts = np.bincount(np.concatenate(rows), minlength=buckets)
    return np.where(counts > 0, np.log((1 + len(rows)) / (1 + counts)) + 1, 0.0)


def _wide_logits(module: WideAndDeep, rows: Sequence[Array]) -> Tensor:
    with torch.no_grad():
        sums = torch.stack([module.wide(torch.from_numpy(row)).float().sum(0) for row in rows])
        return (sums[:, :-1] / sums[:, -1:].clamp(min=1e-12).sqrt() + module.wide_bias).double()


def _fit_mix(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Scales and biases of least cross-entropy, a convex problem: parts x n x labels -> (parts, labels)."""
    scales = torch.full((len(logits),), 1 / len(logits), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(logits.shape[-1], dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([scales, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        loss = nn.functional.cross_entropy(_mixed(logits, scales, bias), truth) + 1e-4 * (bias**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    return scales.detach(), bias.detach()


def _mixed(logits: Tensor, scales: Tensor, bias: Tensor) -> Tensor:
    return (scales[:, None, None] * logits).sum(0) + bias


def _held_out_loss(logits: Tensor, truth: Tensor) -> float:
    """Cross-entropy of rows that the mix was not fitted on."""
    fold = torch.arange(len(truth)) % _FOLDS
    losses = []
    for k in range(_FOLDS):
        scales, bias = _fit_mix(logits[:, fold != k], truth[fold != k])
        mixed = _mixed(logits[:, fold == k], scales, bias)
        losses.append(nn.functional.cross_entropy(mixed, truth[fold == k], reduction="sum").item())
    return sum(losses) / len(truth)
