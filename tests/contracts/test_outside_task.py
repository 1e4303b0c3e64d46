"""Tasks that Luodi has never heard of live in a package of their own: two inputs, and one that generates."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys.engine import SIZE, CodePoints, Linear

from luodi.core.bundle import Manifest, golden_pairs, open_bundle, seal_bundle
from luodi.core.datasets import load_dataset, save_dataset
from luodi.core.scoring import score
from luodi.core.task import GenerativeTask, OnePassTask, Schema, Task, load_task
from luodi.core.types import Columns, Dataset, Datasheet, Example
from luodi.errors import BundleError, DataError, ParityError

QUESTIONS = ["谁来了？", "Who came?", "天气如何？", "What is it?"]
ROWS = [
    {"q": QUESTIONS[i % 4], "c": ("yes " if i % 3 else "nnnn ") + f"第{i}句", "answer": "yes" if i % 3 else "no"}
    for i in range(60)
]
SHEET = Datasheet(
    rows_read=60, rows_kept=60, dropped={}, splits={}, targets={}, slices={}, sources={}, leak_share=0.0
)  # fmt: skip


def entailment() -> tuple[Task[Any, Any], Linear, Sequence[Example[Any, Any]]]:
    plain = load_task("toys.entailment")
    examples = [plain.read(row, Columns(input=("q", "c"), target="answer")) for row in ROWS]
    task = load_task("toys.entailment", plain.learn(examples, Schema(max_length=40)))
    weights = np.zeros((SIZE, 2))
    weights[ord("n"), 0] = weights[ord("y"), 1] = 9.0
    return task, Linear(weights), examples


def continuation() -> tuple[Task[Any, Any], Linear, Sequence[Example[Any, Any]]]:
    """A chain a-b-c-d-end: each character has one successor."""
    pairs = [("a", "bcd"), ("ab", "cd"), ("xc", "d")]
    examples = [Example(id=str(i), input=x, target=y) for i, (x, y) in enumerate(pairs)]
    task = load_task("toys.continuation", load_task("toys.continuation").learn(examples, Schema(max_length=8)))
    weights = np.zeros((SIZE, SIZE))
    for now, then in ((ord("a"), ord("b")), (ord("b"), ord("c")), (ord("c"), ord("d")), (ord("d"), 0)):
        weights[now, then] = 1.0
    return task, Linear(weights), examples


BOTH = pytest.mark.parametrize("toy", [entailment, continuation])


def seal(folder: Path, toy: Any, engine: str = "toys.engine") -> Path:
    task, network, examples = toy()
    network.save(folder / "weights")
    processor = CodePoints()
    processor.save(folder / "processor")
    inputs = [e.input for e in examples]
    answers = task.predict(task.encode(inputs, processor), network)
    manifest = Manifest(task=task.name, schema=task.schema, engine=engine, processor="toys.engine")
    seal_bundle(folder, manifest, golden_pairs(task, inputs, answers))
    return folder


@BOTH
def test_life_from_examples_to_an_opened_bundle(toy: Any, tmp_path: Path) -> None:
    task, _, examples = toy()
    bundle = open_bundle(seal(tmp_path / "b", toy))
    answers = bundle.predict([e.input for e in examples])
    numbers = score(task, examples, answers, task.metrics[0])
    assert numbers[task.metrics[0].name].value == 1.0
    assert bundle.replay().holds
    assert bundle.replay().n == len(examples)


def test_the_two_kinds_are_told_apart_by_type() -> None:
    assert isinstance(entailment()[0], OnePassTask)
    assert isinstance(continuation()[0], GenerativeTask)


def test_both_columns_reach_the_model() -> None:
    task, engine, examples = entailment()
    assert examples[1].input == ("Who came?", "yes 第1句")
    other = dataclasses.replace(examples[1], input=(examples[1].input[0], "nnnn"))
    both = task.predict(task.encode([examples[1].input, other.input], CodePoints()), engine)
    assert [a.value for a in both] == ["yes", "no"]


def test_an_empty_second_column_is_told() -> None:
    columns = Columns(input=("q", "c"), target="answer")
    with pytest.raises(DataError, match="column c"):
        load_task("toys.entailment").read({"q": "x", "c": " ", "answer": "no"}, columns)


def test_the_stream_adds_up_to_the_answer() -> None:
    task, engine, examples = continuation()
    assert isinstance(task, GenerativeTask)
    items = task.encode([e.input for e in examples], CodePoints())
    assert ["".join(task.stream(item, engine)) for item in items] == [e.target for e in examples]
    assert list(task.stream(items[0], engine)) == ["b", "c", "d"]


def test_a_loop_that_never_ends_is_cut_at_max_length() -> None:
    task, _, _ = continuation()
    weights = np.zeros((SIZE, SIZE))
    weights[:, ord("z")] = 1.0
    assert task.predict(task.encode(["a"], CodePoints()), Linear(weights))[0].value == "z" * 8


@BOTH
def test_dataset_comes_back_from_disk(toy: Any, tmp_path: Path) -> None:
    task, _, examples = toy()
    whole = tuple(dataclasses.replace(e, source="s", group="g") for e in examples)
    data = Dataset(train=whole, validation=whole[:1], test=whole[1:2], datasheet=SHEET)
    save_dataset(tmp_path, data, task)
    assert load_dataset(tmp_path, task) == data


def test_targets_become_labels_of_a_batch() -> None:
    task, _, examples = entailment()
    batch = task.collate(
        task.encode([e.input for e in examples[:3]], CodePoints(), [e.target for e in examples[:3]])
    )
    assert batch["labels"].tolist() == [task.schema.labels.index(e.target) for e in examples[:3]]
    task, _, examples = continuation()
    batch = task.collate(task.encode(["a", "ab"], CodePoints(), ["bcd", "cd"]))
    assert batch["labels"].tolist() == [[98, 99, 100, 0], [99, 100, 0, -100]]


@pytest.mark.parametrize("engine", ["os", "other.engine", "numpy.f2py"])
def test_a_bundle_may_name_modules_of_its_own_package_only(engine: str, tmp_path: Path) -> None:
    folder = seal(tmp_path / "b", entailment, engine=engine)
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    assert caught.value.code == "bundle.module"


@BOTH
def test_other_weights_under_a_new_seal_are_caught_by_the_goldens(toy: Any, tmp_path: Path) -> None:
    """Whoever can write the seal can write anything; the golden answers still tell."""
    folder = seal(tmp_path / "b", toy)
    bundle = open_bundle(folder)
    Linear(np.roll(bundle.engine.weights, 1, axis=1)).save(folder / "weights")  # type: ignore[attr-defined]
    seal_bundle(folder, bundle.manifest, bundle.golden)
    with pytest.raises(ParityError):
        open_bundle(folder)


def test_the_network_of_an_outside_task_trains() -> None:
    torch = pytest.importorskip("torch")
    from luodi.models.engine import TorchEngine, to_torch
    from luodi.models.source import ScratchBase
    from tiny import NETWORK

    task, _, examples = entailment()
    texts = [e.input for e in examples]
    base = ScratchBase(name="bert:tiny", config={**NETWORK, "vocab_size": 200})
    processor = base.processor(task.corpus(examples))
    torch.manual_seed(0)
    model = task.build(base.fitted(processor))
    batch = to_torch(task.collate(task.encode(texts, processor, [e.target for e in examples])))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        loss = task.loss(model(**{k: v for k, v in batch.items() if k != "labels"}), batch)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    answers = task.predict(task.encode(texts, processor), TorchEngine(model))
    assert sum(a.value == e.target for a, e in zip(answers, examples, strict=True)) > 50


def test_no_torch_is_loaded_to_serve_them(tmp_path: Path) -> None:
    folder = seal(tmp_path / "b", continuation)
    code = (
        "import sys; from pathlib import Path; from luodi.core.bundle import open_bundle;"
        f"answers = open_bundle(Path({str(folder)!r})).predict(['a']);"
        "assert answers[0].value == 'bcd'; assert 'torch' not in sys.modules"
    )
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=here, check=False)
    assert done.returncode == 0, done.stderr
