"""What a search has found: the best settings, how far they are above the default, and which of them mattered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luodi.backends.optuna import Value, importances
from luodi.core.bundle import open_bundle
from luodi.core.measure import Measure
from luodi.core.scoring import against
from luodi.messages import tr
from luodi.stages.train.search import Fit, Search
from luodi.stages.train.space import differing, lay_settings
from luodi.stages.train.trials import Study, page_rows, say_value, say_values


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    best: str
    """Key of the best trial's result."""
    numbers: dict[str, Measure]
    findings: tuple[str, ...]
    details: dict[str, Any]
    """`overrides`: what to lay over the page to have the best settings."""


def explain(made: Search, study: Study, fit: Fit) -> Found:
    best, metric = study.best, made.metric
    changed = differing(made.knobs, best.values)
    _, default_report = fit(made.settings, None)  # both are there, unless somebody has removed them
    key, report = fit(lay_settings(made.settings, made.knobs, best.values), None)
    gain, p = (None, 1.0) if best.number == 1 else _gain(made, Path(default_report.bundle), Path(report.bundle))
    shares = importances(made.knobs, [t.tried for t in study.trials])
    assert best.measure is not None
    numbers = {
        f"validation_{metric.name}": best.measure, "trials": Measure.exact(len(study.trials)),
        "pruned": Measure.exact(sum(t.state == "pruned" for t in study.trials)),
        "training_seconds": Measure.exact(sum(t.seconds for t in study.trials), unit="s"),
        **({"gain": gain} if gain else {}),
    }  # fmt: skip
    told = {t.number: say_values(differing(made.knobs, t.values)) or tr("as they stand") for t in study.trials}
    findings = (
        _say_best(study, metric.name),
        *(_say_gain(changed, gain, p) if gain else (tr("No other settings did better than those as they stand."),)),
        _say_shares(shares, study),
    )
    details = {
        "metric": metric.name, "trials": page_rows(study.trials, told), "best": best.number, "importances": shares,
        "settings": changed, "overrides": [f"train.{name}={say_value(value)}" for name, value in changed.items()],
        "block": "\n  ".join(["train:", *_lines(changed)]) if changed else "",
        "defaults": {k.name: k.default for k in made.knobs},
    }  # fmt: skip
    return Found(best=key, numbers=numbers, findings=findings, details=details)


def _gain(made: Search, default: Path, best: Path) -> tuple[Measure, float]:
    """How far the best is above the default on the same validation rows, and the paired p."""
    label, metric = tr("scoring {name}").format(name=tr("validation set")), made.metric
    answers = [open_bundle(b).examine(made.held_back, [metric], label) for b in (default, best)]
    return against(made.held_back, answers[1], {"default": answers[0]}, metric)["default"]


def _say_best(study: Study, metric: str) -> str:
    measure = study.best.measure
    assert measure is not None
    sentence = tr(
        "Trial {best} is the best of {count}: {metric} {value:.4f} [{low:.4f}, {high:.4f}] on {n} validation rows; "
        "{pruned} were pruned."
    )
    return sentence.format(
        best=study.best.number, count=len(study.trials), metric=metric, value=measure.value, low=measure.low,
        high=measure.high, n=measure.n, pruned=sum(t.state == "pruned" for t in study.trials),
    )  # fmt: skip


def _say_gain(changed: dict[str, Value], gain: Measure, p: float) -> tuple[str, ...]:
    sentence = tr(
        "With {settings} it is {gap:+.4f} [{low:+.4f}, {high:+.4f}] from the default on the same rows, p = {p:.2g}."
    )
    told = sentence.format(settings=say_values(changed), gap=gain.value, low=gain.low, high=gain.high, p=p)
    chosen = (
        tr("The best of many is partly the luckiest, on the rows that it was chosen on: expect less on the test rows.")
        if gain.low > 0
        else tr("That is within what chance does: the default would serve as well.")
    )
    keep = tr("To keep them, write into luodi.yaml, under train: {block}.")
    return told, chosen, keep.format(block=", ".join(_lines(changed)))


def _lines(changed: dict[str, Value]) -> list[str]:
    """As luodi.yaml has them."""
    return [f"{name}: {say_value(value)}" for name, value in changed.items()]


def _say_shares(shares: dict[str, float], study: Study) -> str:
    if not shares:
        return tr("There are too few trials to tell which settings mattered.")
    listed = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return tr("What mattered, by PED-ANOVA over {n} trials: {shares}.").format(n=len(study.trials), shares=listed)
