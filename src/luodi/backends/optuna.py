"""What to try next, whether a trial is hopeless, which settings mattered: Optuna (Akiba et al. 2019, arXiv:1907.10902).

Each question is answered from the list of trials alone, by a study in memory that is made for it, with random numbers
that hang on the seed and the trial's number: so a search that was killed goes on exactly as if it had not been. None of
Optuna's own storages can do that, since none keeps the state of the sampler; and after a kill its journal may end in
half a line, and stays locked for 30 s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from luodi.backends import need

Value = float | int | str
Scores = Sequence[tuple[float, float]]
"""(share of its plan that a run had done, its score then; higher is better), in order."""

TENTHS = 10
"""Runs are compared at tenths of their own plans: the rate has then fallen as far, however many steps each has."""
FIRST_TRIALS = 4
"""Nothing is pruned before so many are done: a median of fewer is nobody's."""
FIRST_TENTHS = 3
"""Nothing is pruned before so many tenths of its plan: a slow start is no bad setting."""
RANDOM_TRIALS = 6
"""Drawn at random before what did well is imitated. Optuna's 10 would be half of a search of 20."""
FEWEST_TOLD = 10
"""Trials from which it can be told what mattered. Of six settings, one of which mattered, in 20 made-up searches,
that one was named in 14 with 8 trials, in 17 with 12, in 19 with 20."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Knob:
    """A setting that is searched: between `low` and `high` on a logarithmic scale, or among `choices`."""

    name: str
    default: Value
    """What it is where nobody says anything."""
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Value, ...] = ()
    dearest: Value | None = None
    """The value with which training takes longest, where it makes a difference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """A trial that is over, as Optuna has to know it."""

    values: Mapping[str, Value]
    """Of every knob."""
    score: float | None
    """Higher is better; None where it was pruned or came to no number."""
    scores: tuple[tuple[float, float], ...] = ()


def require() -> None:
    """Raises ResourceError where Optuna is not installed: better now than after the first training."""
    need("optuna")


def next_values(knobs: Sequence[Knob], trials: Sequence[Tried], seed: int) -> dict[str, Value]:
    """By TPE (Bergstra et al. 2011; Watanabe 2023, arXiv:2304.11127). Floats are rounded to two figures."""
    optuna = need("optuna")
    sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed * 100_003 + len(trials))
    asked = _study(knobs, trials, sampler).ask(fixed_distributions=_distributions(knobs))
    return {k.name: asked.params[k.name] if k.choices else _rounded(k, asked.params[k.name]) for k in knobs}


def is_hopeless(trials: Sequence[Tried], bounds: Scores) -> bool:
    """Whether even the best of these upper ends of a run's scores lies below the median of what done trials had at the
    same share of their plans (the median rule of Golovin et al. 2017, which takes the scores themselves: of 12 trials
    with 288 rows to score on it then pruned 8, one for want of a single row)."""
    optuna = need("optuna")
    pruner = optuna.pruners.MedianPruner(n_startup_trials=FIRST_TRIALS, n_warmup_steps=FIRST_TENTHS)
    told = _at_tenths(bounds, bounds[-1][0])
    running = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, intermediate_values=told)
    pruned: bool = bool(told) and pruner.prune(_study((), trials), running)
    return pruned


def importances(knobs: Sequence[Knob], trials: Sequence[Tried]) -> dict[str, float]:
    """Share that each knob has in a trial's being among the best third, the largest first: PED-ANOVA (Watanabe et al.
    2023, arXiv:2304.10255), which asks nothing but which those are; so what was pruned, in the worse half, counts among
    the others. Empty where there are too few trials to tell."""
    worst = min((t.score for t in trials if t.score is not None), default=0.0)
    done = [replace(t, score=worst - 1) if t.score is None else t for t in trials]
    if len(done) < FEWEST_TOLD:
        return {}
    optuna = need("optuna")
    by = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=1 / 3)
    told: dict[str, float] = optuna.importance.get_param_importances(_study(knobs, done), evaluator=by)
    return told


def _study(knobs: Sequence[Knob], trials: Sequence[Tried], sampler: Any = None) -> Any:
    """Without knobs, only what the trials scored."""
    optuna = need("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=sampler or optuna.samplers.RandomSampler(seed=0))
    states = optuna.trial.TrialState
    for trial in trials:
        # What came to no number has no scores that count: Optuna ranks it below all others.
        study.add_trial(optuna.trial.create_trial(
            state=states.PRUNED if trial.score is None else states.COMPLETE, value=trial.score,
            params={k.name: trial.values[k.name] for k in knobs}, distributions=_distributions(knobs),
            intermediate_values=_at_tenths(trial.scores, 1.0 if trial.score is not None else _last(trial.scores)),
        ))  # fmt: skip
    return study


def _distributions(knobs: Sequence[Knob]) -> dict[str, Any]:
    made = need("optuna").distributions
    return {
        k.name: made.CategoricalDistribution(k.choices) if k.choices
        else made.FloatDistribution(k.low, k.high, log=True)
        for k in knobs
    }  # fmt: skip


def _at_tenths(scores: Scores, until: float) -> dict[int, float]:
    """Tenth of the plan to the best score up to there: runs are scored at different shares of their plans."""
    found = {}
    for tenth in range(1, math.floor(TENTHS * until + 1e-9) + 1):
        if told := [value for share, value in scores if TENTHS * share <= tenth + 1e-9]:
            found[tenth] = max(told)
    return found


def _last(scores: Scores) -> float:
    return scores[-1][0] if scores else 0.0


def _rounded(knob: Knob, value: float) -> float:
    return min(max(float(f"{value:.2g}"), knob.low), knob.high)
