"""Every file of tasks/ keeps the contract of `core/task.py`."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from rows import TASKS

from luodi.core.batching import item_size
from luodi.core.task import GenerativeTask, Processor, Schema, Task, load_task, task_names
from luodi.core.types import Columns, Example, Prediction
from luodi.errors import ConfigError, DataError

LONGEST = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A task that has learned, its examples, and a network of random weights."""

    task: Task[Any, Any]
    examples: Sequence[Example[Any, Any]]
    processor: Processor
    engine: Any

    @property
    def inputs(self) -> list[Any]:
        return [e.input for e in self.examples]

    @property
    def targets(self) -> list[Any]:
        return [e.target for e in self.examples]


def examples_of(name: str) -> list[Example[Any, Any]]:
    row, task = TASKS[name], load_task(name)
    columns = Columns(input=row.input, target=row.target)
    return [task.read(record, columns) for record in row.rows]


@pytest.fixture(scope="module")
def trials() -> dict[str, Trial]:
    torch = pytest.importorskip("torch")
    from luodi.models.engine import TorchEngine
    from luodi.models.source import resolve

    made = {}
    for name in TASKS:
        examples = examples_of(name)
        task = load_task(name, load_task(name).learn(examples, Schema(max_length=LONGEST)))
        base = resolve(TASKS[name].network, "")
        processor = task.make_processor(base, examples)
        torch.manual_seed(0)
        network = task.build(base.fitted(processor))
        engine = TorchEngine(network.eval())
        task = task.with_processor(processor)
        made[name] = Trial(task=task, examples=examples, processor=processor, engine=engine)
    return made


EVERY = pytest.mark.parametrize("name", task_names())


def test_every_file_is_tried() -> None:
    assert set(task_names()) == set(TASKS)


@EVERY
def test_its_name_is_the_name_of_its_file(name: str) -> None:
    assert load_task(name).name == name


@EVERY
def test_its_file_needs_no_torch(name: str) -> None:
    code = f"import sys, luodi.tasks.{name}; print(*({{'torch', 'transformers', 'sklearn'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@EVERY
def test_examples_go_over_the_wire_and_back(name: str) -> None:
    task = load_task(name)
    for example in examples_of(name):
        for codec, value in ((task.input, example.input), (task.output, example.target)):
            assert codec.decode(json.loads(json.dumps(codec.encode(value)))) == value


@EVERY
def test_an_empty_cell_is_told_with_its_column(name: str) -> None:
    row = TASKS[name]
    for column in (*row.input, row.target):
        with pytest.raises(DataError, match=column):
            load_task(name).read({**row.rows[0], column: "  "}, Columns(input=row.input, target=row.target))
        with pytest.raises(DataError, match=column):
            load_task(name).read({**row.rows[0], column: None}, Columns(input=row.input, target=row.target))


@EVERY
def test_learning_keeps_the_schema_and_the_order_of_rows_does_not_matter(name: str) -> None:
    given = Schema(max_length=77, threshold=0.4, template="t")
    examples = examples_of(name)
    learned = load_task(name).learn(examples, given)
    random.Random(1).shuffle(examples)
    assert learned == load_task(name).learn(examples, given)
    assert (learned.max_length, learned.threshold) == (77, 0.4)
    assert load_task(name).schema == Schema()


@EVERY
def test_inputs_are_cut_to_the_longest_allowed(name: str, trials: dict[str, Trial]) -> None:
    trial = trials[name]
    items = trial.task.encode(trial.inputs, trial.processor)
    sizes = [item_size(item) for item in items]
    if TASKS[name].has_one_size:
        assert len({array.shape for item in items for array in item.values()}) == 1
        assert all(trial.task.stretched(item, LONGEST) is item for item in items)
        return
    assert min(sizes) < LONGEST
    if TASKS[name].has_windows:
        rows = next(iter(trial.task.collate(items).values()))
        assert rows.shape[1] == LONGEST < max(sizes)
        assert len(rows) == sum(-(-size // LONGEST) for size in sizes)
    else:
        assert max(sizes) == LONGEST
    roomy = load_task(name, Schema(labels=trial.task.schema.labels, max_length=10_000))
    assert max(item_size(i) for i in roomy.encode(trial.inputs, trial.processor)) > LONGEST


@EVERY
def test_a_batch_has_one_row_an_example(name: str, trials: dict[str, Trial]) -> None:
    trial = trials[name]
    items = trial.task.encode(trial.inputs, trial.processor)
    plain = trial.task.collate(items[:7])
    told = trial.task.collate(trial.task.encode(trial.inputs, trial.processor, trial.targets)[:7])
    assert set(told) == set(plain) | {"labels"}
    rows = {len(array) for array in told.values() if isinstance(array, np.ndarray)}
    assert rows == {7} or (TASKS[name].has_windows and len(rows) == 1 and min(rows) > 7)
    if not isinstance(trial.task, GenerativeTask):  # a model that writes is shown what it should have written
        assert all((told[key] == plain[key]).all() for key in plain)


def near(one: Any, other: Any) -> bool:
    """Equal; numbers but for what the order of adding up changes."""
    return bool(one == (pytest.approx(other, abs=1e-3) if isinstance(other, float) else other))


@EVERY
def test_alone_or_among_others_the_answer_is_the_same(name: str, trials: dict[str, Trial]) -> None:
    """Padding and order change nothing."""
    trial = trials[name]
    items = trial.task.encode(trial.inputs, trial.processor)
    together = trial.task.predict(items, trial.engine)
    for item, answer in zip(items, together, strict=True):
        alone = trial.task.predict([item], trial.engine)[0]
        assert near(alone.value, answer.value)
        assert alone.scores == pytest.approx(answer.scores, abs=1e-5)
    backwards = trial.task.predict(items[::-1], trial.engine)[::-1]
    assert all(near(a.value, b.value) for a, b in zip(backwards, together, strict=True))


@EVERY
def test_answers_are_of_the_kind_that_was_learned(name: str, trials: dict[str, Trial]) -> None:
    trial = trials[name]
    for answer in trial.task.predict(trial.task.encode(trial.inputs, trial.processor), trial.engine):
        wire = json.loads(json.dumps(trial.task.output.encode(answer.value)))
        assert trial.task.output.decode(wire) == answer.value
        parts = trial.task.output.counted(answer.value)
        assert {label for label, _ in parts or ()} <= set(trial.task.schema.labels)
        if trial.task.output.is_choice:
            assert set(answer.scores) == set(trial.task.schema.labels)
            assert sum(answer.scores.values()) == pytest.approx(1.0)
        assert answer.confidence is None or 0 <= answer.confidence <= 1


@EVERY
def test_nothing_to_answer_is_no_error(name: str, trials: dict[str, Trial]) -> None:
    assert trials[name].task.predict([], trials[name].engine) == []


@EVERY
def test_perfect_answers_score_best_and_wrong_ones_less(name: str, trials: dict[str, Trial]) -> None:
    trial = trials[name]
    perfect = [Prediction(value=t) for t in trial.targets]
    turned = [*perfect[1:], perfect[0]]
    names = [metric.name for metric in trial.task.metrics]
    assert names == list(dict.fromkeys(names))
    for metric in trial.task.metrics:
        best, worse = metric.value(trial.targets, perfect), metric.value(trial.targets, turned)
        assert best == pytest.approx(1.0 if metric.higher_is_better else 0.0)
        assert worse < best if metric.higher_is_better else worse > best


@EVERY
def test_a_step_on_a_batch_lowers_its_loss(name: str, trials: dict[str, Trial]) -> None:
    torch = pytest.importorskip("torch")
    from luodi.models.engine import to_torch
    from luodi.models.source import resolve

    trial = trials[name]
    torch.manual_seed(0)
    network = trial.task.build(resolve(TASKS[name].network, "").fitted(trial.processor)).eval()
    batch = to_torch(trial.task.collate(trial.task.encode(trial.inputs, trial.processor, trial.targets)))
    # Squared errors of a width of 128 curve by 2 x 128: a rate above 1 / 128 would step over the valley.
    optimiser = torch.optim.SGD(network.parameters(), 1e-3)

    def loss() -> Any:
        return trial.task.loss(network(**{k: v for k, v in batch.items() if k != "labels"}), batch)

    before = loss()
    before.backward()
    optimiser.step()
    assert float(loss().detach()) < float(before.detach())


@EVERY
def test_baselines_answer_as_the_task_does(name: str, trials: dict[str, Trial]) -> None:
    trial = trials[name]
    found = trial.task.baselines(trial.examples, seed=0)
    assert len(found) >= 2
    for predict in found.values():
        answers = predict(trial.examples[:5])
        assert len(answers) == 5
        for answer in answers:
            assert trial.task.output.decode(trial.task.output.encode(answer.value)) == answer.value
        if trial.task.output.is_choice:
            assert {a.value for a in answers} <= set(trial.targets)


def test_an_unknown_task_is_told_with_the_known_ones(both_languages: str) -> None:
    with pytest.raises(ConfigError, match="text_classification"):
        load_task("text_clasification")


def test_a_module_without_a_task_is_told() -> None:
    with pytest.raises(ConfigError, match="exactly one"):
        load_task("toys.engine")
