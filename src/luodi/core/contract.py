"""The contract: the `accept:` block, the only thing that decides anything, anywhere.

Each limit has a verb at which it first falls due. Not yet due: open. Due and kept: kept. Due and broken,
or due and not measured: broken, and a broken limit REFUSES.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any

from luodi.core.measure import Measure
from luodi.core.report import Verdict
from luodi.errors import ConfigError
from luodi.messages import tr

_LIMIT = re.compile(r"^\s*(>=|<=)\s*([0-9]+(?:\.[0-9]+)?)\s*(%?)\s*$")

VERBS = (
    "understand", "prepare", "train", "evaluate", "explain", "secure", "compress", "serve", "monitor", "promote",
)  # fmt: skip
_DUE = {
    "robustness": "secure", "p95_ms": "compress", "size_mb": "compress", "memory_mb": "compress",
    "cost_per_million": "compress",
}  # fmt: skip


@cache
def stage_names() -> frozenset[str]:
    """The verbs that this version has: the folders of `stages/`."""
    folder = importlib.import_module("luodi.stages").__path__
    return frozenset(m.name for m in pkgutil.iter_modules(folder))


class State(StrEnum):
    KEPT = "kept"
    BROKEN = "broken"
    OPEN = "open"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """`accuracy >= 0.9`, `slices.* >= 0.8`, `p95_ms <= 30`, `beats_baseline`."""

    name: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def due(self) -> str:
        """The verb that measures it first; quality is measured by `evaluate`."""
        return _DUE.get(self.name, "evaluate")

    def holds(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )

    def __str__(self) -> str:
        if self.name == "beats_baseline":
            return self.name
        sign, number = (">=", self.at_least) if self.at_least is not None else ("<=", self.at_most)
        return f"{self.name} {sign} {number:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    limit: Limit
    state: State
    measured: Measure | None
    where: str = ""
    """Which slice was the worst, which baseline was not beaten."""

    def as_row(self) -> Mapping[str, Any]:
        """For reports: JSON types."""
        number = self.measured
        return {
            "limit": str(self.limit), "state": str(self.state), "where": self.where, "due": self.limit.due,
            "value": number and number.value, "low": number and number.low,
            "high": number and number.high, "n": number and number.n,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    limits: tuple[Limit, ...] = ()

    @property
    def quality(self) -> tuple[Limit, ...]:
        """Limits on scores of the whole set; the first one names the metric to optimise and stop on."""
        other = (*_DUE, "beats_baseline")
        return tuple(li for li in self.limits if li.name not in other and not li.name.startswith("slices."))

    def aimed(self, targets: Mapping[str, float]) -> Contract:
        """With these limits from above in place of its own of the same names."""
        kept = [limit for limit in self.limits if limit.name not in targets]
        return replace(self, limits=(*kept, *(Limit(name=n, at_most=most) for n, most in targets.items())))

    def judge(self, verb: str, numbers: Mapping[str, Measure]) -> tuple[Judgement, ...]:
        """Hold `numbers` of this and earlier verbs against every limit."""
        return tuple(_judge(limit, verb, numbers) for limit in self.limits)


def parse_contract(accept: Mapping[str, Any], known_metrics: Sequence[str]) -> Contract:
    """The `accept:` block in its user's form. Raises ConfigError on a word that is no limit."""
    return Contract(limits=tuple(_parse(k, v, known_metrics) for k, v in accept.items() if v is not False))


def verdict_of(judgements: Sequence[Judgement]) -> Verdict:
    """REFUSED by one broken limit; DONE where no limit was due."""
    states = {j.state for j in judgements}
    if State.BROKEN in states:
        return Verdict.REFUSED
    return Verdict.ACCEPTED if State.KEPT in states else Verdict.DONE


def explain_judgement(judgement: Judgement) -> str:
    """One sentence."""
    limit, number = judgement.limit, judgement.measured
    if judgement.state is State.OPEN and limit.due not in stage_names():
        return tr("{limit}: open, since this version has no verb that measures it.").format(limit=limit)
    if judgement.state is State.OPEN:
        return tr("{limit}: open until {verb}.").format(limit=limit, verb=limit.due)
    if number is None:
        return tr("{limit}: not measured, so it counts as broken.").format(limit=limit)
    if limit.name == "beats_baseline":
        sentence = tr("beats the baseline {where} by {value:+.3f} [{low:+.3f}, {high:+.3f}], n = {n}: {state}.")
    elif judgement.where:
        sentence = tr("{limit}: {value:.4g} [{low:.4g}, {high:.4g}] in {where}, n = {n}: {state}.")
    else:
        sentence = tr("{limit}: {value:.4g} [{low:.4g}, {high:.4g}], n = {n}: {state}.")
    state = {State.KEPT: tr("kept"), State.BROKEN: tr("broken")}[judgement.state]
    return sentence.format(
        limit=limit, value=number.value, low=number.low, high=number.high, n=number.n,
        where=judgement.where, state=state,
    )  # fmt: skip


def _parse(name: str, wanted: Any, known_metrics: Sequence[str]) -> Limit:
    if name == "beats_baseline":
        if wanted is not True:
            raise ConfigError(tr("accept.beats_baseline takes yes or no."), code="config.limit")
        return Limit(name=name)
    known = (*known_metrics, *_DUE)
    if name not in known and not name.startswith("slices."):
        from luodi.core.config import did_you_mean  # here: config imports this module

        message = tr("accept has no limit called {name}.").format(name=name)
        raise ConfigError(message, code="config.limit", hint=did_you_mean(name, (*known, "beats_baseline", "slices.*")))
    match = _LIMIT.match(str(wanted))
    if not match:
        message = tr('accept.{name} is {wanted!r}; write it like ">= 0.90" or "<= 30".')
        raise ConfigError(message.format(name=name, wanted=wanted), code="config.limit")
    number = float(match[2]) / (100 if match[3] else 1)
    return Limit(name=name, at_least=number if match[1] == ">=" else None, at_most=number if match[1] == "<=" else None)


def _judge(limit: Limit, verb: str, numbers: Mapping[str, Measure]) -> Judgement:
    is_early = VERBS.index(verb) < VERBS.index(limit.due)
    if is_early or limit.due not in stage_names():
        return Judgement(limit=limit, state=State.OPEN, measured=None)
    found = _measured(limit, numbers)
    if not found:
        return Judgement(limit=limit, state=State.BROKEN, measured=None)
    if limit.name == "beats_baseline":
        # Better than the baseline by chance is not better: the whole interval must lie above 0.
        worst = min(found, key=lambda where: found[where].low)
        kept = found[worst].low > 0
    else:
        worst = min(found, key=lambda w: found[w].value if limit.at_least is not None else -found[w].value)
        kept = limit.holds(found[worst].value)
    return Judgement(
        limit=limit, state=State.KEPT if kept else State.BROKEN, measured=found[worst], where=worst
    )


def _measured(limit: Limit, numbers: Mapping[str, Measure]) -> Mapping[str, Measure]:
    """Where to number. `slices.*` means every slice, `slices.language.*` a family, `slices.language.zh` one;
    `beats_baseline` means every baseline."""
    family = {"beats_baseline": "beats_baseline."}.get(limit.name, limit.name.removesuffix("*"))
    if family != limit.name:
        root = family.partition(".")[0] + "."
        return {k.removeprefix(root): m for k, m in numbers.items() if k.startswith(family)}
    found = numbers.get(limit.name)
    return {limit.name.partition(".")[2]: found} if found else {}
