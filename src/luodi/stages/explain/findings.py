"""What reasons come to, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from luodi.core.measure import Measure
from luodi.messages import one_line, tr
from luodi.stages.explain.explain import COMPLETE

OTHER = 0.3
"""Rank agreement below which shuffled weights give other reasons."""
NEAR = 0.7
"""Likeness from which on a training row is nearly the same: one slip of the finger leaves a short text so much."""
ALIKE = 0.7
"""Rank agreement from which on a compressed Bundle gives the same reasons."""


def find(row: Mapping[str, Any]) -> list[str]:
    """Of one explained answer."""
    return [*_faithful(row), *_complete(row), *_sensitive(row), *_compressed(row), *_attention(row),
            *_contradicted(row)]


def find_in_rows(numbers: Mapping[str, Measure], believed: int, asked: int) -> list[str]:
    """Of a sample of validation rows: `believed` of `asked` reasons are clearly better than chance."""
    return [*_above_random(numbers.get("above_random"), believed, asked), *_same(numbers.get("same_reasons"))]


def _faithful(row: Mapping[str, Any]) -> Iterator[str]:
    told = row["faithful"]
    if told is None:
        yield tr("The input has too few parts to check these reasons.")
        return
    sentence = (
        tr("Believable: hiding what they name makes the answer fall by {own:.3g} on average, parts at random by "
           "{random:.3g}, the reasons turned round by {reversed:.3g}.") if row["is_believed"]
        else tr("No better than chance: hiding what they name makes the answer fall by {own:.3g} on average, parts "
                "at random by {random:.3g} (give or take {spread:.3g}). Read nothing into them.")
    )  # fmt: skip
    yield sentence.format(
        own=told["comprehensiveness"], random=told["random"], reversed=told["reversed"], spread=told["spread"]
    )
    if told["normalised"] is not None:
        sentence = tr(
            "From the worst order of the parts (0) to the best (1): these reasons {own:.2f}, random ones {random:.2f}. "
            "With the named parts alone the answer falls by {kept:.3g}."
        )
        yield sentence.format(
            own=told["normalised"], random=told["normalised_random"], kept=told["sufficiency"]
        )  # fmt: skip


def _complete(row: Mapping[str, Any]) -> Iterator[str]:
    if row["missing"] is None:
        return
    if row["missing"] <= COMPLETE:
        sentence = (
            tr("The parts add up to what the input adds, within {share:.2%}.") if abs(row["outside"]) <= COMPLETE
            else tr("The parts and the marks around them add up to what the input adds, within {share:.2%}; the marks "
                    "alone are {outside:+.0%} of it.")
        )  # fmt: skip
        yield sentence.format(share=row["missing"], outside=row["outside"])
    else:
        sentence = tr("The parts miss what the input adds by {share:.1%}: raise explain.steps.")
        yield sentence.format(share=row["missing"])


def _sensitive(row: Mapping[str, Any]) -> Iterator[str]:
    if row["shuffled"] is None:
        return
    sentence = (
        tr("With shuffled weights the reasons are others (rank agreement {tau:.2f}): they come from what was learned.")
        if row["shuffled"] < OTHER
        else tr("Even with shuffled weights the reasons stay alike (rank agreement {tau:.2f}): they say more of the "
                "input than of the model.")
    )  # fmt: skip
    yield sentence.format(tau=row["shuffled"])


def _compressed(row: Mapping[str, Any]) -> Iterator[str]:
    if row.get("agreement") is None:
        return
    sentence = (
        tr("Before compression the reasons were the same (rank agreement {tau:.2f}).") if row["agreement"] >= ALIKE
        else tr("Before compression the reasons were others (rank agreement {tau:.2f}).")
    )  # fmt: skip
    yield sentence.format(tau=row["agreement"])


def _attention(row: Mapping[str, Any]) -> Iterator[str]:
    told = row.get("attention")
    if not told:
        return
    order = sorted(range(len(row["units"])), key=lambda i: -told["rollout"][i])[:3]
    names = ", ".join(f"{one_line(row['units'][i]['name'])} {told['rollout'][i]:.0%}" for i in order)
    sentence = (
        tr("Attention arrives most from: {names}. Hiding that lowers the answer more than chance would.")
        if told["is_believed"]
        else tr("Attention arrives most from: {names}. Hiding that lowers the answer no more than chance would: where "
                "it looks is not what decides.")
    )  # fmt: skip
    yield sentence.format(names=names)


def _contradicted(row: Mapping[str, Any]) -> Iterator[str]:
    """A near copy in the training rows with another answer: one of the two labels is likely wrong."""
    if not row["is_choice"]:
        return
    near = [n for n in row.get("nearest", ()) if n["alike"] >= NEAR and not n["is_same"]]
    for known in near[:1]:
        yield tr("Training row {id} is nearly the same ({alike:.0%}) and says {target}: check its label.").format(
            id=known["id"], alike=known["alike"], target=one_line(known["target"])
        )


def _above_random(above: Measure | None, believed: int, asked: int) -> Sequence[str]:
    if above is None:
        return [tr("The rows have too few parts to check reasons.")]
    sentence = (
        tr("Reasons can be believed: on {n} validation rows, hiding what they name lowers the answer by {gap:.3g} "
           "[{low:.3g}, {high:.3g}] more than hiding at random; clearly in {believed} of {n}.") if above.low > 0
        else tr("Reasons are no better than chance: on {n} validation rows, hiding what they name lowers the answer by "
                "{gap:.3g} [{low:.3g}, {high:.3g}] more than hiding at random; clearly in {believed} of {n}.")
    )  # fmt: skip
    return [sentence.format(n=asked, gap=above.value, low=above.low, high=above.high, believed=believed)]


def _same(same: Measure | None) -> Iterator[str]:
    if same is None:
        return
    sentence = (
        tr("The compressed model gives the same reasons: rank agreement {tau:.2f} [{low:.2f}, {high:.2f}], {n} rows.")
        if same.value >= ALIKE
        else tr("The compressed model gives other reasons: rank agreement {tau:.2f} [{low:.2f}, {high:.2f}], {n} rows.")
    )  # fmt: skip
    yield sentence.format(tau=same.value, low=same.low, high=same.high, n=same.n)
