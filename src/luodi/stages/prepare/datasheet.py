"""What a reader must know before believing a number made from this data; and when to believe none."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luodi.core.measure import Measure
from luodi.core.scoring import parts_of
from luodi.core.store import hash_file
from luodi.core.task import Task
from luodi.core.types import SPLITS, Datasheet, Example, SplitName, X, Y
from luodi.messages import tr
from luodi.stages.prepare import clean

LEAST_ROWS = 30
LEAST_GROUPS = len(SPLITS)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFacts:
    name: str
    paths: tuple[Path, ...]
    encoding: str
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What was found out on the way. The first three stand beside the examples, place by place."""

    groups: tuple[int, ...]
    strata: tuple[str, ...]
    """Answers as text; empty where answers are no choices."""
    splits: tuple[SplitName, ...]
    dropped: tuple[clean.DroppedRow, ...]
    sources: tuple[SourceFacts, ...]
    notes: tuple[str, ...]
    closed: bool
    keeps_leaks: bool = False
    """The user wants given splits as they came, copies and all."""
    giveaway: str | None = None
    """What in the input gives the answer away, in words."""


def make_datasheet(task: Task[X, Y], examples: Sequence[Example[X, Y]], facts: Facts) -> Datasheet:
    slices: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        for family, name in parts_of(task, example).items():
            slices[family][name] += 1
    dropped = Counter(row.reason for row in facts.dropped)
    counted = [task.output.counted(e.target) for e in examples]
    targets: dict[str, Counter[str]] = {name: Counter() for name in SPLITS}
    for parts, split in zip(counted, facts.splits, strict=True):
        targets[split].update(label for label, _ in parts or ())
    leaked = leak_share(task, examples, facts)
    return Datasheet(
        rows_read=sum(source.rows for source in facts.sources),
        rows_kept=len(examples),
        dropped=dict(dropped.most_common()),
        splits={name: facts.splits.count(name) for name in SPLITS},
        targets={name: dict(found.most_common()) for name, found in targets.items()} if None not in counted else {},
        slices={family: dict(found.most_common()) for family, found in slices.items()},
        sources={source.name: _told(source) for source in facts.sources},
        leak_share=leaked,
        notes=(*facts.notes, *_notes_on_drops(dropped), *_notes_on_leaks(leaked, facts)),
    )


def leak_share(task: Task[X, Y], examples: Sequence[Example[X, Y]], facts: Facts) -> float:
    """Share of test examples with a copy or near copy in train, looked for anew in the finished splits."""
    prints = [task.input.fingerprint(e.input) for e in examples]
    seen = {key for p, g, s in zip(prints, facts.groups, facts.splits, strict=True) if s == "train" for key in (p, g)}
    test = [p in seen or g in seen for p, g, s in zip(prints, facts.groups, facts.splits, strict=True) if s == "test"]
    return sum(test) / len(test) if test else 0.0


def _notes_on_leaks(leaked: float, facts: Facts) -> Iterator[str]:
    if leaked > 0 and facts.keeps_leaks:
        message = tr(
            "{share:.1%} of the test rows have a copy among the training rows, and prepare.leaks keeps them: "
            "scores are higher than on new rows."
        )
        yield message.format(share=leaked)


def refusals_of(facts: Facts, sheet: Datasheet) -> Iterator[str]:
    """Sentences; each one alone makes the verdict REFUSED."""
    if sheet.rows_kept < LEAST_ROWS:
        message = tr("{count} usable rows; at least {least} are needed.")
        yield message.format(count=sheet.rows_kept, least=LEAST_ROWS)
        return  # all else that could be said follows from that
    if facts.closed:
        yield from _refusals_of_answers(facts)
        if facts.giveaway:
            yield facts.giveaway
    if sheet.targets and not any(sheet.targets["train"].values()):
        yield tr("All answers are empty: there is nothing to learn.")
    for name, count in sheet.splits.items():
        if not count:
            message = tr("No row is left for {split}: the groups are too few or too large.")
            yield message.format(split=name)
    if sheet.leak_share > 0 and not facts.keeps_leaks:
        message = tr("{share:.1%} of the test rows have a copy or near copy among the training rows.")
        yield message.format(share=sheet.leak_share)


def _refusals_of_answers(facts: Facts) -> Iterator[str]:
    groups: dict[str, set[int]] = defaultdict(set)
    found_in: dict[str, set[str]] = defaultdict(set)
    for stratum, group, split in zip(facts.strata, facts.groups, facts.splits, strict=True):
        groups[stratum].add(group)
        found_in[stratum].add(split)
    if len(groups) == 1:
        message = tr("All rows have the same answer, {answer!r}: there is nothing to learn.")
        yield message.format(answer=next(iter(groups)))
    for stratum, found in sorted(groups.items()):
        if len(found) < LEAST_GROUPS:
            message = tr("Too few independent rows have the answer {answer!r}: {count}; at least {least} are needed.")
            yield message.format(answer=stratum, count=len(found), least=LEAST_GROUPS)
        elif "train" not in found_in[stratum]:
            yield tr("The answer {answer!r} is tested but never shown in training.").format(answer=stratum)


def _told(source: SourceFacts) -> Mapping[str, Any]:
    """sha256 of the file; of all files' hashes, in order, where the source is a folder."""
    stamps = [hash_file(path) for path in source.paths]
    whole = stamps[0] if len(stamps) == 1 else hashlib.sha256("".join(stamps).encode()).hexdigest()
    return {"encoding": source.encoding, "rows": source.rows, "sha256": whole}


def _notes_on_drops(dropped: Mapping[str, int]) -> Iterator[str]:
    sentences = {
        clean.DUPLICATE: tr("{count} rows were dropped: the same text had come before."),
        clean.CONTRADICTORY: tr("{count} rows were dropped: copies of one text disagree on the answer."),
        clean.UNREADABLE: tr("{count} rows were dropped: a cell is missing or cannot be read."),
        clean.LEAK: tr("{count} rows were dropped from training or validation: a copy of them is held out."),
        clean.NOT_DRAWN: tr("{count} rows were left out: only a sample was asked for."),
    }
    for reason, count in dropped.items():
        yield sentences[reason].format(count=count)


def count_rows(sheet: Datasheet) -> dict[str, Measure]:
    dropped = {f"dropped.{reason}": Measure.exact(count) for reason, count in sheet.dropped.items()}
    rows = {"rows_read": Measure.exact(sheet.rows_read), "rows_kept": Measure.exact(sheet.rows_kept)}
    leak = Measure.exact(sheet.leak_share, n=sheet.splits.get("test", 0))
    return {**rows, **dropped, "leak_share": leak}


def tell_rows(sheet: Datasheet) -> tuple[str, ...]:
    kept = tr("{kept} of {read} rows are kept: {train} to train, {validation} to choose, {test} to test.")
    return (
        kept.format(kept=sheet.rows_kept, read=sheet.rows_read, **sheet.splits),
        tr("Share of test rows with a copy in training: {share:.1%}.").format(share=sheet.leak_share),
    )
