"""The rate of each step: a rise from nothing to the peak, and what comes after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from luodi.stages.train.plan import Plan

DECAY_SHARE = 0.2  # of all steps: enough for what a longer fall gives (Hägele et al. 2024, arXiv:2405.18392)


def rate_at(plan: Plan, step: int) -> float:
    """Of step 1, 2, ... `plan.steps`, times the peak rate."""
    if step <= plan.warmup_steps:
        return plan.learning_rate * step / max(plan.warmup_steps, 1)
    return plan.learning_rate * _SHARES[plan.schedule](plan, step)


def _linear(plan: Plan, step: int) -> float:
    """A straight fall that ends at 0 (Devlin et al. 2019)."""
    return max(0.0, (plan.steps - step + 1) / max(plan.steps - plan.warmup_steps, 1))


def _cosine(plan: Plan, step: int) -> float:
    """Half a wave down to 0 (Loshchilov and Hutter 2017, arXiv:1608.03983), without restarts."""
    return (1 - math.cos(math.pi * _linear(plan, step))) / 2


def _constant(plan: Plan, step: int) -> float:
    return 1.0


def _wsd(plan: Plan, step: int) -> float:
    """Warm-up, stable, decay (Hu et al. 2024, arXiv:2404.06395). The fall has the form 1 - sqrt, which Hägele et al.
    found better than a straight one."""
    falling = max(1.0, plan.steps * DECAY_SHARE)
    left = min(1.0, max(0.0, (plan.steps - step + 1) / falling))
    return 1 - math.sqrt(1 - left)


_SHARES: Mapping[str, Callable[[Plan, int], float]] = {
    "linear": _linear, "cosine": _cosine, "constant": _constant, "wsd": _wsd,
}  # fmt: skip
