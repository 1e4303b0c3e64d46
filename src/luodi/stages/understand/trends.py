"""Which needs are talked of more than before, and which of that is more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from luodi.core.chance import false_discovery_rates, share_ratio
from luodi.core.types import Array, Floats
from luodi.stages.understand.needs import Period, Trend

FEWEST_PERIODS, MOST_PERIODS = 6, 60
FEWEST = 10
"""Messages of a need with a time, without which its trend is not looked at."""
_LEAST_EXCESS, _MOST_EXCESS = 0.05, 0.5
"""Of the needs' variances above what chance gives, relative: needs are never thought to be quite the same."""
DAY, WEEK = "day", "week"
MONTH = "month"


@dataclass(frozen=True, kw_only=True, slots=True)
class Calendar:
    """Periods without a gap, from the first message to the last."""

    step: str
    starts: tuple[datetime, ...]
    period_of: Array
    """n: of each message its period, -1 where its time is not known."""


def calendar_of(times: Sequence[datetime | None]) -> Calendar | None:
    """The longest of month, week and day that gives enough periods; None where the messages span too short a time."""
    known = [t.astimezone(UTC) for t in times if t is not None]
    if not known:
        return None
    for step in (MONTH, WEEK, DAY):
        starts = _starts(min(known), max(known), step)
        if len(starts) >= FEWEST_PERIODS:
            starts = starts[-MOST_PERIODS:]
            edges = np.array([s.timestamp() for s in starts])
            stamps = np.array([-np.inf if t is None else t.timestamp() for t in times])
            return Calendar(step=step, starts=starts, period_of=np.searchsorted(edges, stamps, side="right") - 1)
    return None


def find_trends(calendar: Calendar | None, labels: Array, count: int, weights: Floats) -> list[Trend | None]:
    """Of each need, its share of the messages in the newer half of the periods over that in the older half. Counts of
    weeks scatter more than independent ones would: by how much, is seen in the periods (a quasi-likelihood: McCullagh
    and Nelder 1989, 4.5). All needs are tested, so their p are corrected together."""
    if calendar is None:
        return [None] * count
    told = calendar.period_of >= 0
    periods = len(calendar.starts)
    cells = labels[told] * periods + calendar.period_of[told]
    counted: Floats = np.bincount(cells, weights[told], minlength=count * periods).astype(np.float64)
    counts = counted.reshape(count, periods)
    totals = counts.sum(0)
    newer = np.arange(periods) >= periods // 2
    tested = [need for need in range(count) if counts[need].sum() >= FEWEST and totals[newer].any()]
    found: list[Trend | None] = [None] * count
    ratios = {}
    for need, (spread, freedom) in zip(tested, _spreads(counts[tested], totals), strict=True):
        hits, others = counts[need][newer].sum(), counts[need][~newer].sum()
        ratios[need] = share_ratio(
            float(hits), float(totals[newer].sum()), float(others), float(totals[~newer].sum()),
            spread=spread, freedom=freedom,
        )  # fmt: skip
    for need, q in zip(tested, false_discovery_rates([ratios[n][1] for n in tested]), strict=True):
        rows = zip(calendar.starts, counts[need], totals, strict=True)
        listed = tuple(Period(start=f"{s:%Y-%m-%d}", count=round(float(c)), total=round(float(t))) for s, c, t in rows)
        found[need] = Trend(ratio=ratios[need][0], q=q, periods=listed)
    return found


def _spreads(counts: Floats, totals: Floats) -> list[tuple[float, float]]:
    """Of each need how many times the variance of independent messages it is, and the degrees of freedom that this is
    known with. Seen in the differences of neighbouring periods (von Neumann 1941), which a steady trend hardly touches;
    since these are few, each need's is drawn towards that of all, the more so the less the needs differ in it
    (moderated variances: Smyth 2004, here by moments)."""
    told = totals > 0
    k, n = counts[:, told], totals[told]
    if len(n) < 3 or not len(k):
        return [(1.0, 1.0)] * len(k)
    share = (k[:, 1:] + k[:, :-1] + 0.5) / (n[1:] + n[:-1] + 1.0)
    gaps = k[:, 1:] / n[1:] - k[:, :-1] / n[:-1]
    own = (gaps**2 / (share * (1 - share) * (1 / n[1:] + 1 / n[:-1]))).mean(1)
    freedom, middle = 2 * (len(n) - 1) / 3, float(own.mean())
    excess = float(own.var(ddof=1)) / middle**2 - 2 / freedom if len(own) > 2 and middle > 0 else 2 / freedom
    prior = 2 / min(max(excess, _LEAST_EXCESS), _MOST_EXCESS)
    drawn = (prior * middle + freedom * own) / (prior + freedom)
    return [(max(float(one), 1.0), prior + freedom) for one in drawn]


def _starts(first: datetime, last: datetime, step: str) -> tuple[datetime, ...]:
    place = first.replace(hour=0, minute=0, second=0, microsecond=0)
    if step == WEEK:
        place -= timedelta(days=place.weekday())
    elif step == MONTH:
        place = place.replace(day=1)
    found = []
    while place <= last:
        found.append(place)
        place = _next_month(place) if step == MONTH else place + timedelta(days=7 if step == WEEK else 1)
    return tuple(found)


def _next_month(day: datetime) -> datetime:
    return (day + timedelta(days=32)).replace(day=1)
