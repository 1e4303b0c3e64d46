"""The rate of each step: a rise from nothing to the peak, and what comes after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from luodi.stages.train.plan import Plan, place_of

DECAY_SHARE = 0.2  # of all steps: enough for what a longer fall gives (Hägele et al. 2024, arXiv:2405.18392)


def rate_at(plan: Plan, step: int) -> float:
    """Of step 1, 2, ... `plan.steps`."""
    steps = plan.turns[0].before if plan.turns else plan.steps
    place = place_of(plan, step)
    if place <= plan.warmup_steps:
        return plan.learning_rate * place / max(plan.warmup_steps, 1)
    return plan.learning_rate * _SHARES[plan.schedule](place, steps, plan.warmup_steps)


def _linear(place: float, steps: int, warmup: int) -> float:
    """A straight fall that ends at 0 (Devlin et al. 2019)."""
    return max(0.0, (steps - place + 1) / max(steps - warmup, 1))


def _cosine(place: float, steps: int, warmup: int) -> float:
    """Half a wave down to 0 (Loshchilov and Hutter 2017, arXiv:1608.03983), without restarts."""
    return (1 - math.cos(math.pi * _linear(place, steps, warmup))) / 2


def _constant(place: float, steps: int, warmup: int) -> float:
    return 1.0


def _wsd(place: float, steps: int, warmup: int) -> float:
    """Warm-up, stable, decay (Hu et al. 2024, arXiv:2404.06395). The fall has the form 1 - sqrt, which Hägele et al.
    found better than a straight one."""
    falling = max(1.0, steps * DECAY_SHARE)
    left = min(1.0, max(0.0, (steps - place + 1) / falling))
    return 1 - math.sqrt(1 - left)


_SHARES: Mapping[str, Callable[[float, int, int], float]] = {
    "linear": _linear, "cosine": _cosine, "constant": _constant, "wsd": _wsd,
}  # fmt: skip
