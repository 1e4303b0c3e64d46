"""From gradients to steps: which weights are learned together, and by what rule."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import nn

from luodi.models.layers import depths, stacks
from luodi.stages.train.plan import Plan

Groups = list[dict[str, Any]]

# Peak rates where none is said: from pretrained weights, from random ones.
RATES: Mapping[str, tuple[float, float]] = {
    "adamw": (1e-4, 1e-3),
    "adam": (1e-4, 1e-3),
    # He et al. 2016 (arXiv:1512.03385) begin at 0.1; for fine-tuning Kornblith et al. 2019 (arXiv:1805.08974) tried
    # rates from 1e-4 to 0.1.
    "sgd": (1e-2, 1e-1),
    # A share of each weight's own size. 0.01: Shazeer and Stern 2018 (arXiv:1804.04235); 0.001 for fine-tuning: Raffel
    # et al. 2020 (arXiv:1910.10683).
    "adafactor": (1e-3, 1e-2),
    # "3-10 times smaller than AdamW's" (Chen et al. 2023, arXiv:2302.06675): its steps are all of full size.
    "lion": (3e-5, 3e-4),
    # Steps are brought to the size that AdamW's have, so that its rates hold (Liu et al. 2025, arXiv:2502.16982).
    # Jordan's own scale, with rates about 0.02, would want a second rate for all that is no matrix.
    "muon": (1e-4, 1e-3),
}


ADAPTED = 5.0
"""Adapters learn so many times faster than the weights that they stand beside. 5e-4 with AdamW is what Hu et al. 2022
(arXiv:2106.09685, table 9) took for RoBERTa base; GPT-2 and GPT-3 had 2e-4 there, whole networks of these sizes 1e-5 to
1e-4."""


def default_rate(optimizer: str, *, is_pretrained: bool, is_adapted: bool = False) -> float:
    return RATES[optimizer][0 if is_pretrained else 1] * (ADAPTED if is_adapted else 1.0)


def make_optimizer(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Each group says in `factor` how much faster than the schedule it learns."""
    return _MAKERS[plan.optimizer](model, plan)


def _adamw(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Loshchilov and Hutter 2019 (arXiv:1711.05101)."""
    return torch.optim.AdamW(_groups(model, plan, _learning(model)), lr=plan.learning_rate, fused=True)


def _adam(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Kingma and Ba 2015 (arXiv:1412.6980); the decay is part of the gradient."""
    return torch.optim.Adam(_groups(model, plan, _learning(model)), lr=plan.learning_rate, fused=True)


def _sgd(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """With Nesterov's momentum (Sutskever et al. 2013)."""
    groups = _groups(model, plan, _learning(model))
    return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=0.9, nesterov=True)


def _adafactor(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Shazeer and Stern 2018: of a matrix's second moments only the means of rows and columns are kept."""
    return torch.optim.Adafactor(_groups(model, plan, _learning(model)), lr=plan.learning_rate)


def _lion(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    return Lion(_groups(model, plan, _learning(model)), {"lr": plan.learning_rate, "betas": (0.9, 0.99)})


def _muon(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Muon for the matrices between layers (Jordan et al. 2024), AdamW for what is left: tables, vectors, the head."""
    names = _learning(model)
    tables = {id(w) for m in model.modules() if isinstance(m, nn.Embedding) for w in m.parameters(recurse=False)}
    lists = stacks(model)
    matrices = [
        name for name, p in model.named_parameters()
        if name in names and p.ndim == 2 and id(p) not in tables and any(name.startswith(f"{s}.") for s in lists)
    ]  # fmt: skip
    parts: list[torch.optim.Optimizer] = []
    if matrices:
        groups = _groups(model, plan, matrices)
        parts.append(torch.optim.Muon(groups, lr=plan.learning_rate, adjust_lr_fn="match_rms_adamw"))
    if others := [name for name in names if name not in matrices]:
        parts.append(torch.optim.AdamW(_groups(model, plan, others), lr=plan.learning_rate, fused=True))
    return Together(parts)


_MAKERS: Mapping[str, Callable[[nn.Module, Plan], torch.optim.Optimizer]] = {
    "adamw": _adamw, "adam": _adam, "sgd": _sgd, "adafactor": _adafactor, "lion": _lion, "muon": _muon,
}  # fmt: skip


def _learning(model: nn.Module) -> list[str]:
    return [name for name, p in model.named_parameters() if p.requires_grad]


def _groups(model: nn.Module, plan: Plan, names: Collection[str]) -> Groups:
    """Biases and norms are not decayed, as in BERT; the head learns faster, lower layers more slowly."""
    below = depths(model) if plan.layer_decay != 1 else {}
    found: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
    for name, p in model.named_parameters():
        if name in names:
            is_head = name.startswith("head.")
            factor = (plan.head_factor if is_head else 1.0) * plan.layer_decay ** below.get(name, 0)
            found.setdefault((is_head, p.ndim <= 1, factor), []).append(p)
    return [
        {"params": found[key], "weight_decay": 0.0 if key[1] else plan.weight_decay, "factor": key[2]}
        for key in sorted(found)
    ]


class Lion(torch.optim.Optimizer):
    """The sign of a mean of gradients (Chen et al. 2023, arXiv:2302.06675, algorithm 2). One moment: half of AdamW's
    memory.

    c = b1 m + (1 - b1) g;  w <- w - rate (sign(c) + decay w);  m <- b2 m + (1 - b2) g
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # the loop gives none
        for group in self.param_groups:
            rate, (b1, b2) = group["lr"], group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["exp_avg"] = torch.zeros_like(p)
                mean = state["exp_avg"]
                direction = mean.lerp(p.grad, 1 - b1).sign_()
                p.mul_(1 - rate * group["weight_decay"]).add_(direction, alpha=-rate)
                mean.lerp_(p.grad, 1 - b2)


class Together(torch.optim.Optimizer):
    """Several rules, each for its own weights, in one optimiser: one list of groups, one book of states."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        groups = [group for part in parts for group in part.param_groups]
        super().__init__(groups, {})
        self.parts = parts
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What `load_state_dict` ends with; it puts new lists in the place of those that the parts hold."""
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        start = 0
        for part in self.parts:
            end = start + len(part.param_groups)
            part.state, part.param_groups = self.state, self.param_groups[start:end]
            start = end

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # the loop gives none
        for part in self.parts:
            part.step()
