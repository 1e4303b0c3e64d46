"""What was found, in sentences: whether it is anything, what comes first, what changed, what to know of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from luodi.core.chance import LEVEL
from luodi.messages import language, tr
from luodi.stages.understand.describe import Described
from luodi.stages.understand.earlier import APPEARED, GREW, LESS, SHRANK, tell_names
from luodi.stages.understand.messages import Messages
from luodi.stages.understand.needs import Change, Need

TOLD_NEEDS = 3
_NEW = 20.0
"""Times as often; of more, nobody knows how many times."""


def tell(messages: Messages, described: Described, lost: Sequence[Change], told: Iterable[str]) -> Iterator[str]:
    yield _first(messages, described)
    rest = 1 - sum(need.share.value for need in described.needs)
    if any(need.is_corrected for need in described.needs) and rest > 0.005:
        yield tr("By your answers {share:.0%} of the messages belong to none of these needs.").format(share=rest)
    yield from _honesty(messages)
    if messages.grouping.is_stable:
        for need in described.needs[:TOLD_NEEDS]:
            if need.is_confirmed and need.is_shown:
                yield _say_need(need)
    yield from _changes(described, lost)
    yield from told


def _first(messages: Messages, described: Described) -> str:
    confirmed = [need for need in described.needs if need.is_confirmed]
    whole = float(messages.weights.sum())
    return tr(
        "{messages} messages, {needs} needs: {confirmed} confirmed ({share:.0%} of the messages), {rest} unconfirmed."
    ).format(
        messages=round(whole), needs=len(described.needs), confirmed=len(confirmed), share=described.confirmed_share,
        rest=len(described.needs) - len(confirmed),
    )  # fmt: skip


def _honesty(messages: Messages) -> Iterator[str]:
    agreed = messages.grouping.agreement
    yield tr(
        "Two halves of the messages, each divided alone, agree by {value:.2f} [{low:.2f}, {high:.2f}] (adjusted Rand "
        "index; 1: the same, shuffled: {floor:.2f})."
    ).format(value=agreed.value, low=agreed.low, high=agreed.high, floor=agreed.floor)
    if not messages.grouping.is_stable:
        yield tr("Nothing stable here: another sample of such messages would be divided otherwise. Do not act on it.")


def _say_need(need: Need) -> str:
    told = tr("Need {id}, {name}: {share:.1%} [{low:.1%}, {high:.1%}] of the messages, {bad:.0%} of them pressing.")
    sentence: str = told.format(
        id=need.id, name=need.name(language()), share=need.share.value, low=need.share.low, high=need.share.high,
        bad=need.urgency.value,
    )  # fmt: skip
    if need.trend is None or need.trend.q > LEVEL:
        return sentence
    ratio, q = need.trend.ratio, f"= {need.trend.q:.3f}" if need.trend.q >= 0.001 else "< 0.001"
    if ratio.value >= _NEW:
        return tr("{before} Before, it was hardly spoken of, q {q}.").format(before=sentence, q=q)
    more = tr("{before} It is spoken of {ratio:.1f} times as often as before [{low:.1f}, {high:.1f}], q {q}.")
    return more.format(before=sentence, ratio=ratio.value, low=ratio.low, high=ratio.high, q=q)


def _changes(described: Described, lost: Sequence[Change]) -> Iterator[str]:
    kinds = [need.change.kind for need in described.needs if need.change and need.is_confirmed]
    if not kinds and not lost:
        return
    told = tr(
        "Against the earlier run: {grew} confirmed needs grew, {shrank} shrank, {new} appeared, {met} were perhaps met."
    )
    yield told.format(
        grew=kinds.count(GREW), shrank=kinds.count(SHRANK), new=kinds.count(APPEARED),
        met=kinds.count(LESS) + sum(change.kind == LESS for change in lost),
    )  # fmt: skip
    gone = [change for change in lost if change.kind == LESS]
    if gone:
        yield tr("Hardly spoken of any more: {names}.").format(names="; ".join(tell_names(gone, language())[:5]))
