"""Which candidate wins: of those not refused, within the contract's p95_ms and size_mb and with the score that it asks
for, the fastest; of those within 5 % of it, the smallest. Where none is within the limits, the same of all not refused,
and the contract refuses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from luodi.core.contract import Contract
from luodi.core.measure import Measure
from luodi.stages.compress.gate import Judged
from luodi.stages.compress.timing import Timing

TIE = 1.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One candidate with all that is known of it."""

    name: str
    made_by: tuple[str, ...]
    size_mb: float
    judged: Judged
    times: Timing
    refused: str = ""
    chosen: bool = False
    memory_mb: float | None = None
    """At its peak, in a process of its own."""
    cost_per_million: float | None = None
    """Answers, at the price of the machine and the throughput in batches."""
    pareto: bool = False
    """No other one, itself not refused, is as small, as fast and as good, and better in one of the three."""

    @property
    def numbers(self) -> dict[str, Measure]:
        """Those that limits are written for, and their kin."""
        exact = {"size_mb": self.size_mb, "memory_mb": self.memory_mb, "cost_per_million": self.cost_per_million}
        return {
            "p50_ms": self.times.p50_ms, "p95_ms": self.times.p95_ms, "speedup": self.times.speedup,
            **{
                name: Measure.exact(value, unit="MB" if name.endswith("_mb") else "")
                for name, value in exact.items() if value is not None
            },
        }  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        times, judged = self.times, self.judged
        return {
            "name": self.name, "made_by": list(self.made_by), "size_mb": self.size_mb,
            "p50_ms": times.p50_ms.value, "p95_ms": times.p95_ms.value, "cpu_ms": times.cpu_ms.value,
            "batch_p50_ms": times.batch_p50_ms.value, "batch_p95_ms": times.batch_p95_ms.value,
            "memory_mb": self.memory_mb, "cost_per_million": self.cost_per_million,
            "throughput_per_s": times.throughput_per_s.value, "speedup": times.speedup.value,
            "speedup_low": times.speedup.low, "speedup_high": times.speedup.high,
            "score": _interval(judged.score), "difference": _interval(judged.difference),
            "agreement": judged.agreement, "refused": self.refused or None, "chosen": self.chosen,
            "pareto": self.pareto,
        }  # fmt: skip


def choose(rows: Mapping[str, Row], contract: Contract, metric: str) -> str:
    """Name of the winner; "trained" where all others are refused. Where some keep the contract's limit on `metric`,
    by which they were scored on validation rows, it is one of these: the fastest would be refused in the end."""
    kept = [row for row in rows.values() if not row.refused and row.name != "trained"]
    if not kept:
        return "trained"
    within = [row for row in kept if _is_within(row, contract)] or kept
    within = [row for row in within if _is_good(row, contract, metric)] or within
    fastest = min(row.times.p50_ms.value for row in within)
    tied = [row for row in within if row.times.p50_ms.value <= TIE * fastest]
    return min(tied, key=lambda row: (row.size_mb, row.times.p50_ms.value)).name


def any_within(rows: Mapping[str, Row], contract: Contract) -> bool:
    """Whether a candidate that was not refused keeps the contract's latency and size."""
    return any(_is_within(row, contract) for row in rows.values() if not row.refused)


def mark(rows: Mapping[str, Row], chosen: str) -> dict[str, Row]:
    """With `chosen` and `pareto` set."""
    return {
        name: replace(row, chosen=name == chosen, pareto=not row.refused and not _is_beaten(row, rows))
        for name, row in rows.items()
    }


def _is_within(row: Row, contract: Contract) -> bool:
    numbers = row.numbers
    return all(limit.holds(numbers[limit.name].value) for limit in contract.limits if limit.name in numbers)


def _is_good(row: Row, contract: Contract, metric: str) -> bool:
    return all(limit.holds(row.judged.score.value) for limit in contract.limits if limit.name == metric)


def _is_beaten(row: Row, rows: Mapping[str, Row]) -> bool:
    ours = _goods(row)
    others = [_goods(other) for other in rows.values() if not other.refused and other is not row]
    return any(theirs != ours and all(t >= o for t, o in zip(theirs, ours, strict=True)) for theirs in others)


def _goods(row: Row) -> tuple[float, float, float]:
    """Larger is better in each."""
    return (-row.size_mb, -row.times.p50_ms.value, row.judged.difference.value)


def _interval(measure: Measure) -> dict[str, float]:
    return {"value": measure.value, "low": measure.low, "high": measure.high}
