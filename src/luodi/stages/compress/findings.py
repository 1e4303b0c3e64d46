"""What the numbers say, in sentences: what was chosen and what it costs and saves, what was refused, what cannot be
had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from luodi.core.contract import Contract
from luodi.core.measure import Measure, Metric
from luodi.messages import tr
from luodi.stages.compress.candidates import Made
from luodi.stages.compress.choice import Row
from luodi.stages.compress.plan import Student


def tell_choice(rows: Mapping[str, Row], chosen: str, confirmed: Measure, metric: Metric) -> tuple[str, str]:
    """`confirmed`: its score on the test set."""
    row, trained = rows[chosen], rows["trained"]
    if chosen == "trained":
        first = tr("No candidate may stand for the trained model, so it stays as it is.")
    else:
        first = tr(
            "{name} was chosen: {speedup:.1f} times the speed of the trained model ({p50:.1f} ms, not {slow:.1f} ms), "
            "{size:.1f} MB, not {large:.1f} MB; {metric} {difference:+.4f} [{low:+.4f}, {high:+.4f}] on validation."
        ).format(
            name=chosen, speedup=row.times.speedup.value, p50=row.times.p50_ms.value, slow=trained.times.p50_ms.value,
            size=row.size_mb, large=trained.size_mb, metric=metric.name, difference=row.judged.difference.value + 0.0,
            low=row.judged.difference.low + 0.0, high=row.judged.difference.high + 0.0,  # -0.0 + 0.0 is 0.0
        )  # fmt: skip
    second = tr("Confirmed once on the test set: {metric} {value:.4f} [{low:.4f}, {high:.4f}], n = {n}.").format(
        metric=metric.name, value=confirmed.value, low=confirmed.low, high=confirmed.high, n=confirmed.n
    )
    return first, second


def tell_left_out(rows: Mapping[str, Row], made: Made) -> list[str]:
    refused = {name: row.refused for name, row in rows.items() if row.refused} | dict(made.failed)
    told: list[str] = [tr("{name} was refused: {reason}").format(name=n, reason=r) for n, r in refused.items()]
    groups: dict[str, list[str]] = {}
    for name, reason in made.not_tried.items():
        names = groups.setdefault(reason, [])
        if not any(name.startswith(f"{first}-") for first in names):  # its other forms go without saying
            names.append(name)
    sentence = tr("Not tried: {names}. {reason}")
    told += [sentence.format(names=", ".join(names), reason=reason) for reason, names in groups.items()]
    return told


def tell_unmet(rows: Mapping[str, Row], contract: Contract) -> list[str]:
    """Of each limit that no candidate keeps that may be taken: the best there was, and who would have kept it."""
    told: list[str] = []
    for limit in contract.limits:
        measured = {name: row.numbers[limit.name].value for name, row in rows.items() if limit.name in row.numbers}
        kept = {name for name, value in measured.items() if limit.holds(value)}
        allowed = [name for name in measured if not rows[name].refused]
        if not allowed or limit.at_most is None or kept & set(allowed):
            continue
        best = min(allowed, key=lambda name: measured[name])
        sentence = tr("{limit} cannot be met on this machine: the best was {name} with {value:.3g}.")
        told.append(sentence.format(limit=str(limit), name=best, value=measured[best]))
        if kept:
            sentence = tr("{names} would keep {limit}, but may not be taken: its answers are not good enough.")
            told.append(sentence.format(names=", ".join(sorted(kept)), limit=str(limit)))
    return told


def tell_students(students: Sequence[Student], depth: int) -> list[str]:
    """Of which size those were that the limits led to; `depth`: layers of the trained one."""
    sentence = tr("Student {number}: {layers} of {depth} layers, {width:.0%} as wide.")
    return [
        sentence.format(number=i, layers=student.shape.layers or depth, depth=depth, width=student.shape.width)
        for i, student in enumerate(students, 1) if student.rows
    ]  # fmt: skip
