"""The simple models' answers: fitted on the training rows once, kept for every later verb that compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from luodi.core.measure import Metric
from luodi.core.progress import progress
from luodi.core.store import write_atomically
from luodi.core.task import Baseline, Task
from luodi.core.types import Dataset, Example, Prediction, X, Y
from luodi.messages import tr

FILE = "baselines.json"
SHARES = (0.25, 0.5, 1.0)
FEWEST_ROWS = 80  # a quarter of fewer rows says nothing about a curve

Answers = Mapping[str, list[Prediction[Any]]]


def answer_simply(task: Task[X, Y], dataset: Dataset[X, Y], folder: Path, *, seed: int) -> Mapping[str, Answers]:
    """Split to baseline to answers, for validation and test; written to `folder`, or read where it is there."""
    if not (folder / FILE).is_file():
        progress(tr("fitting baselines"), 0, 1)
        fitted = task.baselines(dataset.train, seed=seed)
        told = {
            split: {name: [_plain(task, answer) for answer in model(examples)] for name, model in fitted.items()}
            for split, examples in (("validation", dataset.validation), ("test", dataset.test))
        }
        write_atomically(folder / FILE, msgspec.json.encode(told))
        progress(tr("fitting baselines"), 1, 1)
    return {split: load_baselines(task, folder, split) for split in ("validation", "test")}


def load_baselines(task: Task[X, Y], folder: Path, split: str) -> Answers:
    """What `evaluate` left in its folder: baseline to answers, in the order of the split's examples."""
    told = msgspec.json.decode((folder / FILE).read_bytes(), type=dict[str, dict[str, list[Prediction[Any]]]])
    return {
        name: [replace(answer, value=task.output.decode(answer.value)) for answer in answers]
        for name, answers in told[split].items()
    }


def learning_curve(
    task: Task[X, Y], dataset: Dataset[X, Y], name: str, full: Sequence[Prediction[Y]], metric: Metric,
    *, seed: int,
) -> tuple[tuple[int, float], ...]:  # fmt: skip
    """(training rows, validation score) of the baseline `name` on a quarter, a half and all of the rows.

    `dataset.train` was shuffled by nobody: rows are drawn evenly over it, so that sorted files do no harm.
    """
    rows = len(dataset.train)
    if rows < FEWEST_ROWS or not dataset.validation:
        return ()
    points = []
    for step in (round(1 / share) for share in SHARES):
        part = dataset.train[::step]
        answers = list(full) if step == 1 else _answers(task, part, dataset.validation, name, seed)
        points.append((len(part), metric.value([e.target for e in dataset.validation], answers)))
    return tuple(points)


def _answers(
    task: Task[X, Y], train: Sequence[Example[X, Y]], asked: Sequence[Example[X, Y]], name: str, seed: int
) -> list[Prediction[Y]]:
    model: Baseline[X, Y] = task.baselines(train, seed=seed)[name]
    return model(asked)


def _plain(task: Task[X, Y], answer: Prediction[Y]) -> Prediction[Any]:
    """As it goes over the wire, without the scores: at 150 classes they would be most of the file, and nobody asks for
    them."""
    return replace(answer, value=task.output.encode(answer.value), scores={})
