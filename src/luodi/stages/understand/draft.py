"""From a need to what a model for it would be: which kind of data and of task, why, and rows to begin with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from luodi.errors import DataError
from luodi.messages import tr
from luodi.stages.understand import cues
from luodi.stages.understand.feedback import Feedback
from luodi.stages.understand.needs import Need
from luodi.stages.understand.understand import CORE, MEMBER, Assigned
from luodi.stages.understand.words import words_of

FEWEST_ROWS = 20
"""Of the need; fewer teach nothing."""
NEGATIVES = 2.0
"""For each message of the need, half of them from its neighbours."""
HELD = 0.15
"""Share of a need's messages from which a hint is believed."""
_SUFFIXES: Mapping[str, str] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".heic"), "picture"),
    **dict.fromkeys((".wav", ".mp3", ".m4a", ".flac", ".ogg", ".amr"), "sound"),
    **dict.fromkeys((".py", ".js", ".ts", ".java", ".c", ".cpp", ".go", ".rs", ".sql", ".log", ".ipynb"), "code"),
    **dict.fromkeys((".csv", ".xlsx", ".xls", ".parquet", ".tsv"), "table"),
}  # fmt: skip
_OURS: Mapping[str, str] = {
    "generation": "text_generation", "extraction": "token_classification", "prediction of a number": "text_regression",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """What would meet a need, as far as its messages tell."""

    modalities: tuple[str, ...]
    """"text" and what else goes in; several where several are spoken of."""
    family: str
    """The kind of task; "routing" where nothing more is told."""
    task: str
    """The task of Luodi's that this is; empty: none yet."""
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DraftRow:
    text: str
    label: str
    user: str
    why: str
    """"need", "neighbour" (a hard negative), "other", "checked" (a person has said so)."""


def spec_of(need: Need, feedback: Sequence[Feedback]) -> Spec:
    """`feedback`: the messages of the need."""
    words = [{word.text for word in words_of(f.text)} for f in feedback]
    attached = [_SUFFIXES.get(PurePath(f.attachment).suffix.lower(), "") for f in feedback]
    told: list[str] = []
    found = ["text"]
    for kind, known in cues.MODALITIES.items():
        share = float(np.mean([a == kind or bool(w & known) for a, w in zip(attached, words, strict=True)]))
        if share >= HELD:
            found.append(kind)
            told.append(tr("{kind}: {share:.0%} of its messages come with one or speak of one.").format(
                kind=word(kind), share=share
            ))  # fmt: skip
    shares = {family: float(np.mean([bool(w & known) for w in words])) for family, known in cues.FAMILIES.items()}
    family = max(shares, key=lambda name: shares[name])
    if shares[family] >= HELD:
        told.append(tr("{family}: asked for in {share:.0%} of its messages.").format(
            family=word(family), share=shares[family]
        ))  # fmt: skip
    elif need.kinds.get("question", 0.0) >= 0.5:
        family = "question answering"
        told.append(tr("Question answering: {share:.0%} of its messages ask something.").format(
            share=need.kinds["question"]
        ))  # fmt: skip
    else:
        family = "routing"
        told.append(tr("Its messages name no task that is known by its words: tell them from others, and route them."))
    task = _OURS.get(family, "text_classification" if family == "routing" else "")
    return Spec(modalities=tuple(found), family=family, task=task, reasons=tuple(told))


def word(key: str) -> str:
    """A kind of data or of task, as people say it."""
    return {
        "text": tr("text"), "picture": tr("pictures"), "sound": tr("sound"), "code": tr("code"), "table": tr("tables"),
        "translation": tr("translation"), "summarisation": tr("summarisation"), "generation": tr("generation"),
        "retrieval": tr("retrieval"), "extraction": tr("extraction"), "recommendation": tr("recommendation"),
        "prediction of a number": tr("prediction of a number"), "question answering": tr("question answering"),
        "routing": tr("routing"),
    }[key]  # fmt: skip


def draft_rows(
    need: Need, feedback: Sequence[Feedback], assigned: Mapping[int, Assigned], checked: Mapping[int, int], seed: int
) -> tuple[DraftRow, ...]:
    """The core of the need against its neighbours and others; what a person has checked is as they said. `assigned` by
    row of the file, `checked` as `checks.Checks.right`. Raises DataError where the need has too few messages."""
    name, other = need.name("zh" if need.languages.get("zh", 0) > 0.5 else "en"), tr("other")
    ours = [f for f in feedback if _belongs(f, need, assigned, checked)]
    if len(ours) < FEWEST_ROWS:
        message = tr("Need {id} has {count} messages that stand for it; {least} are the least to learn from.")
        raise DataError(
            message.format(id=need.id, count=len(ours), least=FEWEST_ROWS), code="feedback.need_small",
            hint=tr("Name a larger need, or gather more feedback."),
        )  # fmt: skip
    taken = {f.row for f in ours}
    rest = [f for f in feedback if f.row not in taken and _is_sure(f, assigned, checked, need.id)]
    near = [f for f in rest if assigned[f.row].need in need.neighbours]
    count = round(NEGATIVES * len(ours))
    rng = np.random.default_rng(seed)
    hard = _drawn(near, count // 2, rng)
    hard_rows = {f.row for f in hard}
    easy = _drawn([f for f in rest if f.row not in hard_rows], count - len(hard), rng)
    rows = [*_rows(ours, name, "need", checked), *_rows(hard, other, "neighbour", checked)]
    rows += _rows(easy, other, "other", checked)
    return tuple(rows)


def _belongs(f: Feedback, need: Need, assigned: Mapping[int, Assigned], checked: Mapping[int, int]) -> bool:
    if f.row in checked:
        return checked[f.row] == need.id
    told = assigned[f.row]
    return told.need == need.id and told.set in (CORE, MEMBER)


def _is_sure(f: Feedback, assigned: Mapping[int, Assigned], checked: Mapping[int, int], need: int) -> bool:
    """Surely of another need: neither one of this need's tail, nor loosely in the other."""
    if f.row in checked:
        return checked[f.row] != need
    told = assigned[f.row]
    return told.need != need and told.set == CORE


def _drawn(feedback: Sequence[Feedback], count: int, rng: np.random.Generator) -> list[Feedback]:
    places = rng.permutation(len(feedback))[:count]
    return [feedback[i] for i in sorted(places)]


def _rows(feedback: Sequence[Feedback], label: str, why: str, checked: Mapping[int, int]) -> Iterator[DraftRow]:
    for f in feedback:
        told = "checked" if f.row in checked else why
        yield DraftRow(text=re.sub(r"\s+", " ", f.text), label=label, user=f.user, why=told)
