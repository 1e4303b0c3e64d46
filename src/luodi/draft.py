"""`luodi understand FILE --need 3 --new FOLDER`: a need becomes a project that `luodi run` works on."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import msgspec

from luodi.core.config import FILE
from luodi.core.measure import Measure
from luodi.core.report import Report, Verdict, read_report
from luodi.core.store import write_atomically
from luodi.errors import InputError
from luodi.messages import language, tr
from luodi.propose import propose, write_project
from luodi.stages.understand.checks import FILE as CHECKS
from luodi.stages.understand.checks import meant, read_checks
from luodi.stages.understand.config import UnderstandSettings
from luodi.stages.understand.draft import DraftRow, Spec, draft_rows, spec_of, word
from luodi.stages.understand.needs import Need
from luodi.understanding import REPORT, feedback_of, load_assigned, newest, read_source

DATA, SPEC = "messages.csv", "need.json"


def draft_project(source: str, settings: UnderstandSettings, out: Path, number: int, folder: Path) -> Report:
    """A project in `folder` that tells the messages of a need from others, and need.json: what would meet the need.
    `out`: what `understand` has written. Raises InputError where there is a project already, or no such need."""
    if (folder / FILE).exists():
        message = tr("{file} is there already.").format(file=folder / FILE)
        raise InputError(message, code="new.exists", hint=tr("Delete it, or name another folder with --new."))
    result = newest(out)
    told = read_report(result.path / REPORT)
    needs = msgspec.convert(told.details["needs"], list[Need])
    need = _chosen(needs, number)
    read = feedback_of(read_source(source, settings.query), settings)
    checks = read_checks(out / CHECKS)
    fits = checks is not None and checks.stamp == told.details["stamp"]
    checked = meant(checks, [n.id for n in needs]) if checks and fits else {}
    assigned = load_assigned(result)
    rows = draft_rows(need, read.feedback, assigned, checked, settings.seed)
    spec = spec_of(need, [f for f in read.feedback if assigned[f.row].need == need.id])
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / DATA, _csv(rows))
    write_atomically(folder / SPEC, _spec(need, spec, rows))
    goal = tr("Find the messages about: {name}").format(name=need.name(language()))
    proposal = propose(folder / DATA, "text", "label", seed=settings.seed)
    if proposal.is_easy:  # words alone tell the need, since by words it was found: to beat them would prove nothing
        kept = tuple(limit for limit in proposal.limits if limit.name != "beats_baseline")
        proposal = replace(proposal, limits=kept)
    write_project(replace(proposal, goal=goal, group="user" if _knows_users(rows) else ""), folder)
    return Report(
        verb="understand", verdict=Verdict.DONE, numbers={"rows": Measure.exact(len(rows))},
        findings=(*_say(spec, rows, len(checked)), *proposal.notes), next=f"luodi run {folder}",
    )  # fmt: skip


def _chosen(needs: Sequence[Need], number: int) -> Need:
    found = next((need for need in needs if need.id == number), None)
    if found is None:
        message = tr("There is no need {number}; there are 1 to {last}.").format(number=number, last=len(needs))
        raise InputError(message, code="understand.need")
    if not found.is_shown:
        message = tr("Too few people speak of need {number} for their messages to be taken out.").format(number=number)
        raise InputError(message, code="understand.few", hint=tr("Set fewest_users= lower, if you may."))
    return found


def _knows_users(rows: Sequence[DraftRow]) -> bool:
    return all(row.user for row in rows)


def _csv(rows: Sequence[DraftRow]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ("text", "label", "user") if _knows_users(rows) else ("text", "label")
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in rows)
    return out.getvalue()


def _spec(need: Need, spec: Spec, rows: Sequence[DraftRow]) -> str:
    told = {
        "need": {"id": need.id, "names": need.names, "share": asdict(need.share), "stability": need.stability},
        "model": {**asdict(spec), "reasons": [str(reason) for reason in spec.reasons]},
        "rows": Counter(row.why for row in rows),
        "quotes": [quote.text for quote in need.quotes],
    }  # fmt: skip
    return json.dumps(told, ensure_ascii=False, indent=1, default=str)


def _say(spec: Spec, rows: Sequence[DraftRow], checked: int) -> Iterator[str]:
    counts = Counter(row.why for row in rows)
    yield tr("{ours} messages of the need, {near} of its neighbours, {other} others; {checked} were checked.").format(
        ours=counts["need"], near=counts["neighbour"], other=counts["other"], checked=counts["checked"]
    )  # fmt: skip
    yield tr("What would meet it: {family}; from {modalities}.").format(
        family=word(spec.family), modalities=" + ".join(map(word, spec.modalities))
    )
    yield from spec.reasons
    if spec.task and spec.task != "text_classification":
        yield tr("Luodi's task for {family} is {task}.").format(family=word(spec.family), task=spec.task)
    elif not spec.task:
        yield tr("Luodi has no task for {family} yet.").format(family=word(spec.family))
    if spec.task != "text_classification":
        yield tr("This project finds the messages of the need, so that they reach who can meet it.")
    if not checked:
        yield tr("Its labels are how the messages were divided; nobody has checked them: look at messages.csv.")
