"""`luodi new`: from a file that nobody has seen to a project: task, columns, and a contract with its reasons.

A limit comes from what a simple model reaches on a sample: a bar that costs nothing to clear says nothing.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from luodi.core.config import FILE, Brief, expand_columns
from luodi.core.measure import Metric
from luodi.core.progress import say
from luodi.core.scoring import deciding_metric
from luodi.core.store import write_atomically
from luodi.core.task import Recognition, Task, load_task, task_names
from luodi.core.types import Columns
from luodi.errors import ConfigError, DataError, InputError
from luodi.messages import tr
from luodi.stages.prepare.clean import Record, answer
from luodi.stages.prepare.config import PrepareSettings
from luodi.stages.prepare.prepare import Prepared, build, no_column, no_rows, read_all
from luodi.stages.prepare.readers import Table, read_table
from luodi.stages.prepare.sources import PACKAGE, find_sources, relative_data, stem_of

SAMPLE = 4000
MARGIN = 0.01
"""How far above the simple model the bar lies. A Transformer that adds less than a point is hardly worth serving."""
HIGHEST = 0.99
SLICE_ALLOWANCE = 0.10
"""A slice of 30 rows has an interval of about +-0.11 at 0.9; a tighter bar would refuse good models by chance."""
LOPSIDED = 0.7
"""Share of the commonest answer above which accuracy flatters whoever always gives it."""
SIZE_MB = 150


@dataclass(frozen=True, kw_only=True, slots=True)
class ProposedLimit:
    name: str
    wanted: str
    """As it stands in luodi.yaml: ">= 0.87", or yes."""
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    data: str
    """As it was given."""
    task: str
    input: tuple[str, ...]
    target: str
    limits: tuple[ProposedLimit, ...]
    goal: str = ""
    """What the model is for, where that is known."""
    group: str = ""
    """A column whose rows stay together on one side of the split."""
    notes: tuple[str, ...]
    """What the user should know: why these columns, what a simple model reaches, what is wrong with the data."""
    is_easy: bool = False
    """A simple model is nearly without fault, so that none can beat it clearly."""


def propose(file: Path, input: str | None = None, target: str | None = None, *, seed: int = 0) -> Proposal:
    """Raises DataError where the file cannot be read, or no task can be made out in it."""
    data = str(file)
    tables = [read_table(source) for source in find_sources(data, Path())]
    table = _columns_of(tables)
    for name in filter(None, (*expand_columns([input] if input else [], list(table)), target)):
        if name not in table:
            raise no_column(name, list(table), file.name)
    name, found = _recognise(table, input, target)
    if all(t.has_header for t in tables):  # a label called 1 may well have an answer called 1
        _require_header(file, table, found.target)
    found = replace(found, input=_shortened(found.input, list(table)))
    brief = Brief(task=name, data=data, input=list(found.input), target=found.target, seed=seed)
    prepared, repaired = _prepare_sample(load_task(name), brief)
    limits, notes, is_easy = _limits(load_task(name), prepared, seed)
    return Proposal(
        data=data, task=name, input=found.input, target=found.target, limits=limits,
        notes=(found.reason, *repaired, *prepared.refusals, *notes), is_easy=is_easy,
    )  # fmt: skip


def project_path(source: Path) -> Path:
    """Where a project goes that was given no place: here, by the name of its file; not into a folder of data."""
    return Path(f"{source.resolve().name}-project" if source.is_dir() else stem_of(source))


def write_project(proposal: Proposal, out: Path) -> Path:
    """The project's folder, with its luodi.yaml in the user's language. InputError where there is one already."""
    path = out / FILE
    if path.exists():
        message = tr("{file} is there already.").format(file=path)
        raise InputError(message, code="new.exists", hint=tr("Delete it, or name another folder with --out."))
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page(proposal, out))
    return out


def page(proposal: Proposal, out: Path) -> str:
    """luodi.yaml, to be read by somebody who has never seen one."""
    data = proposal.data
    if not data.startswith(PACKAGE):
        data = relative_data(Path(data), out)
    inputs = proposal.input[0] if len(proposal.input) == 1 else list(proposal.input)
    named = ", ".join(proposal.input)
    goal = proposal.goal or tr("Tell {target} from {input}").format(target=proposal.target, input=named)
    if not proposal.target:
        goal = tr("Go on writing what {input} begins with").format(input=named)
    lines = [
        *_comment(tr("Written by luodi new. Change what you like, then: luodi run"), 0), "",
        *_comment(tr("What the model is for. It stands at the top of the report."), 0), f"goal: {_scalar(goal)}",
        f"task: {proposal.task}", f"data: {_scalar(data)}", "",
        *_comment(_what_columns(proposal), 0), f"input: {_scalar(inputs)}",
        *([f"target: {_scalar(proposal.target)}"] if proposal.target else []), *_group(proposal), "",
        *_comment(tr("The model to start from, and the most time that training may take."), 0),
        "model: auto", "budget: 10 min", "",
        *_comment(tr("The contract. A model that breaks one of these limits is refused."), 0), "accept:",
    ]  # fmt: skip
    for limit in proposal.limits:
        value = limit.wanted if limit.wanted == "yes" else f'"{limit.wanted}"'
        lines += [*_comment(limit.reason, 2), f"  {limit.name}: {value}"]
    return "\n".join(lines) + "\n"


def _group(proposal: Proposal) -> list[str]:
    if not proposal.group:
        return []
    why = tr("Rows of one of these stay on one side of the split.")
    return [*_comment(why, 0), f"group: {_scalar(proposal.group)}"]


def _what_columns(proposal: Proposal) -> str:
    if proposal.target:
        return tr("The column that the model reads, and the one that holds the right answer.")
    return tr("The column that the model learns to write. No other one holds an answer.")


def _columns_of(tables: Sequence[Table]) -> dict[str, list[Any]]:
    """Every column's values over at most 5,000 rows spread evenly: files are often sorted by label."""
    rows = [raw.cells for table in tables for raw in table.rows if not raw.fault]
    if not rows:
        raise no_rows(sum(len(table.rows) for table in tables), tables[0].rows[0].fault)
    rows = rows[:: max(1, len(rows) // 5000)]
    names = dict.fromkeys(name for table in tables for name in table.columns)
    return {name: [row.get(name) for row in rows] for name in names}


def _shortened(names: tuple[str, ...], known: Sequence[str]) -> tuple[str, ...]:
    """Many columns that stand side by side as one range: nobody reads a list of 784 names."""
    short = f"{names[0]}:{names[-1]}"
    return (short,) if len(names) > 3 and expand_columns([short], known) == names else names


def _recognise(
    table: Mapping[str, Sequence[Any]], input: str | None, target: str | None
) -> tuple[str, Recognition]:
    """The surest task, among the columns that the user left open."""
    wanted = expand_columns([input] if input else [], list(table))
    inputs = [wanted] if wanted else [(name,) for name in table]
    targets = [target] if target else list(table)
    pairs = [(i, t) for i, t in product(inputs, targets) if t not in i] if input or target else []
    views = [{name: table[name] for name in (*i, t)} for i, t in pairs]
    for asked in ([table], views):  # the whole table first: a picture lies in many columns
        found = [(name, told) for name in task_names() for view in asked if (told := _ask(name, view))]
        fitting = [
            (name, told) for name, told in found
            if (not input or told.input == wanted) and (not target or told.target == target)
        ]  # fmt: skip
        if fitting:
            return max(fitting, key=lambda pair: pair[1].confidence)
    if input and target:
        return _as_told(table, wanted, target)
    message = tr("No task can be made out in the columns {names}.").format(names=", ".join(table))
    raise DataError(message, code="new.task", hint=tr("Name them with --input and --target."))


def _ask(name: str, view: Mapping[str, Sequence[Any]]) -> Recognition | None:
    return type(load_task(name)).recognise(view)


def _as_told(
    table: Mapping[str, Sequence[Any]], inputs: tuple[str, ...], target: str
) -> tuple[str, Recognition]:
    """The first task that can read most rows of columns in which nobody would have looked for it."""
    columns = Columns(input=inputs, target=target)
    names = (*inputs, target)
    rows = [dict(zip(names, cells, strict=True)) for cells in zip(*(table[n][:200] for n in names), strict=True)]
    for name in task_names():
        task = load_task(name)
        if sum(_reads(task, row, columns) for row in rows) >= 0.5 * len(rows):
            told = tr("The columns are those that you named.")
            return name, Recognition(input=inputs, target=target, confidence=0.1, reason=told)
    message = tr("No task can read {input} and answer {target}.").format(input=", ".join(inputs[:3]), target=target)
    raise DataError(message, code="new.task")


def _reads(task: Task[Any, Any], row: Mapping[str, Any], columns: Columns) -> bool:
    try:
        task.read(row, columns)
    except (DataError, ConfigError):  # such a row, or such columns at all
        return False
    return True


def _require_header(file: Path, table: Mapping[str, Sequence[Any]], target: str) -> None:
    """A column that is called like one of its own answers has its first row for a name."""
    if target in {str(value).strip() for value in table.get(target, ())}:
        message = tr("{file} seems to have no header: its first line reads like a row.").format(file=file.name)
        raise DataError(message, code="new.header", hint=tr("Write the names of the columns on a line above it."))


def _prepare_sample(task: Task[Any, Any], brief: Brief) -> tuple[Prepared[Any, Any], tuple[str, ...]]:
    """As `prepare` would do it, on rows enough for a simple model; and what had to be repaired."""
    reading = read_all(task, brief, Path())
    drawn = _draw(reading.records, task, brief.seed)
    prepared = build(task, replace(reading, records=drawn), PrepareSettings(), brief.seed)
    whole = len(drawn) == len(reading.records)  # counts of what was dropped from a sample would mislead
    return prepared, prepared.dataset.datasheet.notes if whole else reading.notes


def _draw(records: Sequence[Record[Any, Any]], task: Task[Any, Any], seed: int) -> tuple[Record[Any, Any], ...]:
    """At most SAMPLE rows at random, but ten of each answer where there are ten: a rare answer is no fault."""
    if len(records) <= SAMPLE:
        return tuple(records)
    seen: Counter[str] = Counter()
    ranked = []
    for place in np.random.default_rng(seed).permutation(len(records)).tolist():
        told = answer(task, records[place].example)
        ranked.append((seen[told] >= 10, place))
        seen[told] += 1
    chosen = sorted(place for _, place in sorted(ranked, key=lambda pair: pair[0])[:SAMPLE])
    return tuple(records[place] for place in chosen)


def _limits(
    task: Task[Any, Any], prepared: Prepared[Any, Any], seed: int
) -> tuple[tuple[ProposedLimit, ...], tuple[str, ...], bool]:
    quality: list[ProposedLimit] = []
    notes = []
    is_easy = False
    if not prepared.refusals:
        metric, scores, n = _measure(task, prepared, seed)
        notes.append(_told(metric, scores, n))
        is_easy = _is_easy(metric, scores)
        quality = _quality(metric, scores, notes[0])
        if is_easy:
            notes.append(tr("There is hardly anything left to beat: one of them may be enough."))
    else:
        notes.append(tr("No limit on quality is proposed: the data must be mended first."))
    quick = task.quick_ms
    beats = tr("Better than the simple models by more than chance; else the simple one should be used.")
    fast = tr("95 of 100 answers within so many milliseconds on this machine: nobody notices the wait.")
    small = tr("All that has to be shipped, in MB: fits a small container and starts fast.")
    fixed = (
        ProposedLimit(name="beats_baseline", wanted="yes", reason=beats),
        ProposedLimit(name="p95_ms", wanted=f"<= {quick}", reason=fast),
        ProposedLimit(name="size_mb", wanted=f"<= {SIZE_MB}", reason=small),
    )
    return (*quality[:1], fixed[0], *quality[1:], *fixed[1:]), tuple(notes), is_easy


def _measure(
    task: Task[Any, Any], prepared: Prepared[Any, Any], seed: int
) -> tuple[Metric, dict[str, float], int]:
    """The metric that fits, what each baseline reaches on the held-out rows, and how many those are."""
    data = prepared.dataset
    held = (*data.validation, *data.test)
    answers = [str(task.output.encode(e.target)) for e in held]
    commonest = Counter(answers).most_common(1)[0][1] / len(answers)
    metric = deciding_metric(task, ["macro_f1"] if commonest > LOPSIDED else [])
    say(tr("Fitting simple models on {count} rows.").format(count=len(data.train)))
    baselines = task.baselines(data.train, seed=seed)
    targets = [e.target for e in held]
    return metric, {name: metric.value(targets, predict(held)) for name, predict in baselines.items()}, len(held)


def _told(metric: Metric, scores: Mapping[str, float], n: int) -> str:
    told = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
    return tr("Simple models reach, on {n} rows that they had not seen: {scores} ({metric}).").format(
        n=n, scores=told, metric=metric.name
    )


def _quality(metric: Metric, scores: Mapping[str, float], told: str) -> list[ProposedLimit]:
    """A little better than the best simple model; a tenth less on every slice."""
    bar, sign = _bar(metric, scores)
    reason = tr("The limit lies {margin:g} beyond the best of them.").format(margin=MARGIN)
    if _is_easy(metric, scores):
        reason = tr("No more is asked of any model.")
    limits = [ProposedLimit(name=metric.name, wanted=f"{sign} {bar:.2f}", reason=f"{told} {reason}")]
    slices = bar - SLICE_ALLOWANCE if metric.higher_is_better else bar + SLICE_ALLOWANCE
    # What a part may lack is known of shares; bits differ from text to text, and of a spread each part has its own.
    if slices > 0 and not metric.unit and metric.alone is None:
        why = tr("No part of the data (short texts, another language) may fall far behind the whole.")
        limits.append(ProposedLimit(name="slices.*", wanted=f"{sign} {slices:.2f}", reason=why))
    return limits


def _is_easy(metric: Metric, scores: Mapping[str, float]) -> bool:
    return metric.higher_is_better and HIGHEST - MARGIN < max(scores.values()) <= 1


def _bar(metric: Metric, scores: Mapping[str, float]) -> tuple[float, str]:
    """Rounded in the model's favour, to hundredths."""
    if not metric.higher_is_better:
        return max(math.ceil((min(scores.values()) - MARGIN) * 100) / 100, 0.0), "<="
    best = max(scores.values())
    bar = math.floor((best + MARGIN) * 100 + 1e-9) / 100
    return (max(min(bar, HIGHEST), 0.0) if best <= 1 else bar), ">="  # what explains nothing may lie below 0


def _scalar(value: str | list[str]) -> str:
    """YAML that reads back as the same value; quoted where YAML would take it for something else."""
    if isinstance(value, list):
        return f"[{', '.join(_quoted(word) for word in value)}]"
    if value.isprintable() and "#" not in value:
        try:
            if yaml.safe_load(f"key: {value}") == {"key": value}:
                return value
        except yaml.YAMLError:
            return _quoted(value)
    return _quoted(value)


def _quoted(value: str) -> str:
    return yaml.safe_dump(str(value), default_style='"', allow_unicode=True, width=10**6).strip()


def _comment(text: str, indent: int) -> list[str]:
    """Wrapped at 100 columns; Chinese has no spaces to wrap at and is twice as wide."""
    text = "".join(c if c.isprintable() else " " for c in text)
    width = 50 if sum(ord(c) > 0x2E80 for c in text) > 0.3 * len(text) else 100
    return [" " * indent + "# " + line for line in textwrap.wrap(text, width)]
