"""Losses of answers that are one class, or a number."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from luodi.core.task import IGNORED, Objective, Schema, load_task, task_names
from luodi.stages.train.config import TrainSettings

torch = pytest.importorskip("torch")
LOSSES = ("cross_entropy", "label_smoothing", "focal", "weighted")
COMPARING = ("text_classification", "image_classification")


def loss(name: str, chances: list[list[float]], labels: list[int], reduction: str = "mean", **more: Any) -> float:
    from luodi.models.losses import class_loss

    logits = torch.log(torch.tensor(chances))
    return float(class_loss(Objective(name=name, **more), logits, torch.tensor(labels), reduction))


CHANCES = [[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1]]
LABELS = [0, 1, 2]


def test_each_is_its_formula() -> None:
    right = [0.5, 0.8, 0.1]
    assert loss("cross_entropy", CHANCES, LABELS) == pytest.approx(-sum(map(math.log, right)) / 3)
    focal = -sum((1 - p) ** 2 * math.log(p) for p in right) / 3
    assert loss("focal", CHANCES, LABELS) == pytest.approx(focal)
    weights = (0.5, 1.0, 4.0)
    weighted = -sum(w * math.log(p) for w, p in zip(weights, right, strict=True)) / 3
    assert loss("weighted", CHANCES, LABELS, weights=weights) == pytest.approx(weighted)
    smooth = -sum(
        0.8 * math.log(row[label]) + 0.2 * sum(map(math.log, row)) / 3
        for row, label in zip(CHANCES, LABELS, strict=True)
    ) / 3  # fmt: skip
    assert loss("label_smoothing", CHANCES, LABELS, smoothing=0.2) == pytest.approx(smooth)


def test_those_of_numbers_are_their_formulas() -> None:
    from luodi.models.losses import number_loss

    outputs, labels = torch.tensor([0.0, 1.0, 2.0], dtype=torch.bfloat16), torch.tensor([0.5, 1.0, -1.0])
    assert float(number_loss(Objective(name="mse"), outputs, labels)) == pytest.approx((0.25 + 0 + 9) / 3)
    huber = (0.125 + 0 + 3 - 0.5) / 3
    assert float(number_loss(Objective(name="huber"), outputs, labels)) == pytest.approx(huber)
    wide = number_loss(Objective(name="huber", delta=4.0), outputs, labels)
    assert float(wide) == pytest.approx((0.25 + 0 + 9) / 6)
    with pytest.raises(KeyError):
        number_loss(Objective(name="focal"), outputs, labels)


@pytest.mark.parametrize("name", LOSSES)
def test_labels_that_do_not_count_do_not(name: str) -> None:
    more = {"weights": (2.0, 1.0, 0.5)}
    chances, labels = [*CHANCES, [0.2, 0.3, 0.5]], [*LABELS, IGNORED]
    for reduction in ("mean", "sum"):
        without = loss(name, CHANCES, LABELS, reduction, **more)
        assert loss(name, chances, labels, reduction, **more) == pytest.approx(without)
    assert loss(name, CHANCES, LABELS, "sum", **more) == pytest.approx(3 * loss(name, CHANCES, LABELS, **more))


VECTORS = [[3.0, 1.0], [1.0, -2.0], [2.0, 2.0], [-0.5, 1.0], [1.0, 0.2]]
GROUPS = [0, 1, 0, 2, 0]


def by_hand(vectors: Any, labels: list[int], temperature: float) -> Any:
    """Row by row, as the paper writes it."""
    unit = [v / v.norm() for v in vectors]
    total = vectors.sum() * 0
    for i, one in enumerate(unit):
        others = [k for k in range(len(unit)) if k != i]
        below = sum(torch.exp(one @ unit[k] / temperature) for k in others)
        partners = [k for k in others if labels[k] == labels[i]]
        for k in partners:
            total = total - torch.log(torch.exp(one @ unit[k] / temperature) / below) / len(partners)
    return total / len(unit)


def test_comparing_rows_is_its_formula_and_its_gradient_too() -> None:
    from luodi.models.losses import contrast

    ours, theirs = (torch.tensor(VECTORS, requires_grad=True) for _ in range(2))
    for temperature in (0.3, 1.0):
        told, expected = contrast(ours, torch.tensor(GROUPS), temperature), by_hand(theirs, GROUPS, temperature)
        assert float(told.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
        slopes = [torch.autograd.grad(value, at)[0] for value, at in ((told, ours), (expected, theirs))]
        torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-4, atol=1e-6)
        assert float(slopes[0].norm()) > 0.01
    summed = contrast(ours, torch.tensor(GROUPS), 0.3, "sum")
    assert float(summed.detach()) == pytest.approx(5 * float(contrast(ours, torch.tensor(GROUPS), 0.3).detach()))
    with_stranger = contrast(torch.cat([ours, torch.ones(1, 2)]), torch.tensor([*GROUPS, IGNORED]), 0.3, "sum")
    assert float(with_stranger.detach()) == pytest.approx(float(summed.detach()))


@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 4], [7]])
def test_where_no_two_rows_share_a_label_nothing_is_compared(labels: list[int]) -> None:
    from luodi.models.losses import class_loss, contrast

    vectors = torch.tensor(VECTORS[: len(labels)], requires_grad=True)
    value = contrast(vectors, torch.tensor(labels), 0.3)
    value.backward()
    assert float(value.detach()) == 0
    assert not vectors.grad.any()
    logits = torch.zeros(len(labels), 8)
    whole = class_loss(Objective(name="contrastive", contrast=0.9), logits, torch.tensor(labels), vectors=vectors)
    assert float(whole.detach()) == pytest.approx(0.1 * math.log(8))


def test_classes_weigh_the_same_together() -> None:
    from luodi.models.losses import inverse_frequencies

    labels = [np.array(0)] * 6 + [np.array([1, IGNORED, 3, 3])]
    weights = inverse_frequencies(labels)
    assert weights == pytest.approx((9 / 18, 9 / 3, 1.0, 9 / 6))
    counts = (6, 1, 0, 2)
    assert sum(w * c for w, c in zip(weights, counts, strict=True)) == pytest.approx(9)
    # A class that training does not have, as a validation row may.
    assert loss("weighted", [[0.25] * 4], [3], weights=weights[:2]) == pytest.approx(math.log(4))


@pytest.mark.parametrize("name", task_names())
def test_a_task_is_trained_by_each_loss_that_it_names(name: str) -> None:
    from rows import TASKS

    from luodi.core.types import Columns
    from luodi.models.engine import to_torch
    from luodi.models.source import resolve
    from luodi.stages.train.choices import with_objective

    row, task = TASKS[name], load_task(name)
    columns = Columns(input=row.input, target=row.target)
    examples = [task.read(record, columns) for record in row.rows]
    learned = type(task)(task.learn(examples, Schema(max_length=12)))
    base = resolve(row.network, "")
    processor = learned.make_processor(base, examples)
    learned = learned.with_processor(processor)
    items = learned.encode([e.input for e in examples], processor, [e.target for e in examples])
    torch.manual_seed(0)
    model = learned.build(base.fitted(processor)).eval()
    batch = to_torch(learned.collate(items))
    outputs = model(**{k: v for k, v in batch.items() if k != "labels"})
    found = {}
    for chosen in ("auto", *task.losses):
        settings = dataclasses.replace(TrainSettings(), loss=chosen)
        value = with_objective(learned, settings, items).loss(outputs, batch)
        found[chosen] = float(value.detach())
        assert 0 < found[chosen] < math.inf
        value.backward(retain_graph=True)
    assert found["auto"] == found[task.losses[0]]
    assert len({round(v, 6) for k, v in found.items() if k not in ("auto", "weighted")}) > 1
    assert ("contrastive" in task.losses) is (name in COMPARING)
    if name in COMPARING:  # its answers are judged by cross-entropy, and it learns by more
        comparing = with_objective(learned, dataclasses.replace(TrainSettings(), loss="contrastive"), items)
        assert found["contrastive"] == found["cross_entropy"]
        outputs = model.train()(**{k: v for k, v in batch.items() if k != "labels"})
        assert float(comparing.loss(outputs, batch).detach()) != pytest.approx(found["cross_entropy"], rel=0.01)
