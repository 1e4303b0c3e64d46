"""Fewer layers that answer as the whole network does: made where the contract asks for it, judged like the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from luodi.core.bundle import Bundle, open_bundle, read_manifest
from luodi.core.contract import parse_contract
from luodi.core.machine import Cpu
from luodi.core.types import Dataset, Item, Prediction
from luodi.models import distil, student
from luodi.models.distil import Lessons, teach
from luodi.models.likeness import Read
from luodi.models.student import choose_layers, layers_of, student_of
from luodi.stages.compress.candidates import add_student, make_all, step_of
from luodi.stages.compress.compress import Compressed, TestSet, compress
from luodi.stages.compress.config import CompressSettings
from luodi.stages.compress.plan import MOST_STUDENTS, Shape, Student
from luodi.stages.compress.recipes import STUDENTS
from luodi.stages.compress.search import _next_shape
from luodi.stages.compress.workshop import Workshop
from measured import row
from tiny import make_dataset, make_entities, make_numbers, train_bundle

Data = Dataset[str, str]
QUICK = CompressSettings(timed=6, rounds=2, calibration=10, threads=1, distill_minutes=0.08)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six layers."""
    folder = tmp_path_factory.mktemp("deep") / "bundle"
    train_bundle(folder, "text_classification", make_dataset(), rounds=4, layers=6, rate=1e-3)
    return folder


def run(folder: Path, bundle: Path, settings: CompressSettings, **accept: Any) -> Compressed:
    data, parent = make_dataset(), open_bundle(bundle, threads=1)
    contract = parse_contract({"accuracy": ">= 0.8", **accept}, ["accuracy"])
    test = TestSet(examples=data.test, baselines={"majority": [Prediction(value="好评")] * len(data.test)})
    return compress(parent, data.train, data.validation, lambda: test, contract, settings, folder)


def opened(folder: Path) -> tuple[Bundle[Any, Any], Any, Sequence[Item]]:
    """The Bundle, its engine, and the inputs that it was trained on."""
    bundle: Bundle[Any, Any] = open_bundle(folder)
    return bundle, bundle.engine, bundle.task.encode([e.input for e in make_dataset().train], bundle.processor)


def names(made: Compressed) -> set[str]:
    return {row["name"] for row in made.details["candidates"]}


def test_a_student_of_few_layers_begins_as_every_so_manieth_of_its_teacher(deep: Path) -> None:
    bundle: Bundle[Any, Any] = open_bundle(deep)
    engine: Any = bundle.engine
    assert layers_of(engine.model) == 6
    places = choose_layers(engine.model, bundle.task, [], 2)
    assert places == (2, 5)
    assert choose_layers(engine.model, bundle.task, [], 6) == tuple(range(6))
    lower: Any = student_of(engine.model, places)
    assert layers_of(lower) == 2
    for mine, old in enumerate((2, 5)):
        ours = lower.encoder.encoder.layer[mine].attention.self.query.weight
        theirs = engine.model.encoder.encoder.layer[old].attention.self.query.weight
        assert (ours == theirs).all()
        assert ours is not theirs


def test_a_student_of_most_layers_leaves_out_those_that_do_least(deep: Path) -> None:
    """Layers whose answers are nothing: without them the network says what it said. It stays as it is."""
    bundle, engine, items = opened(deep)
    for place in (1, 4):
        layer = engine.model.encoder.encoder.layer[place]
        for answer in (layer.attention.output.dense, layer.output.dense):
            torch.nn.init.zeros_(answer.weight)
            torch.nn.init.zeros_(answer.bias)
    before = {name: tensor.clone() for name, tensor in engine.model.state_dict().items()}
    assert choose_layers(engine.model, bundle.task, items, 4) == (0, 2, 3, 5)
    assert {1, 4}.isdisjoint(choose_layers(engine.model, bundle.task, items, 3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in engine.model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "make"),
    [("text_classification", make_dataset), ("token_classification", make_entities), ("text_regression", make_numbers)],
)
def test_learning_brings_a_student_nearer_to_its_teacher(name: str, make: Any, tmp_path: Path) -> None:
    data = make()
    train_bundle(tmp_path / "bundle", name, data, rounds=3, layers=4, rate=1e-3)
    bundle: Bundle[Any, Any] = open_bundle(tmp_path / "bundle")
    engine: Any = bundle.engine
    items = bundle.task.encode([e.input for e in data.train], bundle.processor)
    asked = bundle.task.collate(bundle.task.encode([e.input for e in data.validation[:20]], bundle.processor))
    wanted = engine.run(asked)["logits"]
    lower = student_of(engine.model, [3])
    before = np.abs(type(engine)(lower).run(asked)["logits"] - wanted).mean()
    assert teach(engine.model, lower, bundle.task, items, Lessons(seconds=1.0, rounds=8)) == pytest.approx(8.0)
    after = np.abs(type(engine)(lower.eval()).run(asked)["logits"] - wanted).mean()
    assert after < 0.6 * before
    assert engine.run(asked)["logits"] == pytest.approx(wanted)  # the teacher is as it was


@pytest.mark.parametrize("bfloat16", [True, False])
def test_both_networks_are_multiplied_in_bfloat16_where_it_is_said(
    bfloat16: bool, deep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And compared in float32; a student comes as near in both."""
    bundle, engine, items = opened(deep)
    lower = student_of(engine.model, [3])
    products: list[set[torch.dtype]] = []
    for network in (engine.model, lower):
        (layer, *_) = [module for module in network.modules() if isinstance(module, torch.nn.Linear)]
        products.append(set())
        layer.register_forward_hook(lambda module, inputs, output, seen=products[-1]: seen.add(output.dtype))
    compare = distil.distance
    gaps: list[torch.Tensor] = []

    def watched(theirs: Read, ours: Read, mask: Any) -> torch.Tensor:
        assert {t.dtype for read in (theirs, ours) for t in (read.logits, read.states)} == {torch.float32}
        gap = compare(theirs, ours, mask)
        gaps.append(gap.detach())
        return gap

    monkeypatch.setattr(distil, "distance", watched)
    teach(engine.model, lower, bundle.task, items, Lessons(seconds=1.0, rounds=8, bfloat16=bfloat16))
    assert products == [{torch.bfloat16 if bfloat16 else torch.float32}] * 2
    round_ = len(gaps) // 8
    first, last = (float(torch.stack(part).mean()) for part in (gaps[:round_], gaps[-round_:]))
    assert last < 0.5 * first


@pytest.mark.parametrize(("flags", "expected"), [({"avx512_bf16"}, True), ({"avx2"}, False)])
def test_a_student_learns_in_bfloat16_where_the_processor_has_it(
    flags: set[str], expected: bool, deep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    monkeypatch.setattr(distil, "teach", lambda *given: told.append(given[-1].bfloat16) or 1.0)
    settings = replace(QUICK, candidates=["distilled"])
    workshop = Workshop(
        trained=open_bundle(deep), training=make_dataset().train, settings=settings,
        cpu=Cpu(name="given", flags=frozenset(flags)), folder=tmp_path, threads=1, shape=Shape(layers=3),
    )  # fmt: skip
    assert "distilled" in make_all(workshop).bundles
    assert told == [expected]


def test_the_more_a_student_has_kept_the_gentler_it_learns() -> None:
    """At the rate of a small one, 7 of 12 layers of a real network answered worse than before they had learned."""
    rates = [distil.rate_of(layers, 12) for layers in (2, 5, 6, 7, 11, 12)]
    assert rates == [distil.RATE] * 2 + [distil.MIDDLE_RATE] * 3 + [distil.GENTLE_RATE]
    assert distil.RATE > distil.MIDDLE_RATE > distil.GENTLE_RATE


def test_a_student_that_was_killed_goes_on_where_it_was(
    deep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it had learned and for the time that was left; one of another shape begins anew."""
    bundle, engine, items = opened(deep)
    keep = tmp_path / "student.learned"
    monkeypatch.setattr(distil, "KEEP_EVERY_S", 0.0)
    told: list[float] = []

    def killed(what: str, done: float, total: float, note: str = "") -> None:
        told.append(done / total)
        if done > 0.5 * total:
            raise KeyboardInterrupt

    monkeypatch.setattr(distil, "progress", killed)
    first = student_of(engine.model, [2, 5])
    with pytest.raises(KeyboardInterrupt):
        teach(engine.model, first, bundle.task, items, Lessons(seconds=2.0, keep=keep))
    assert 0 < told[0] < 0.4
    told.clear()
    monkeypatch.setattr(distil, "progress", lambda what, done, total, note="": told.append(done / total))
    again, kept = student_of(engine.model, [2, 5]), load_file(keep)
    monkeypatch.setattr(distil, "RATE", 0.0)  # what comes after leaves what it had learned
    seen = teach(engine.model, again, bundle.task, items, Lessons(seconds=2.0, keep=keep))
    assert told[0] > 0.4
    assert seen > 0
    assert all(torch.equal(tensor, kept[name]) for name, tensor in again.state_dict().items())
    assert any(not torch.equal(t, kept[n]) for n, t in student_of(engine.model, [2, 5]).state_dict().items())
    told.clear()
    teach(engine.model, student_of(engine.model, [5]), bundle.task, items, Lessons(seconds=0.5, keep=keep))
    assert told[0] < 0.4


def test_what_size_a_student_has_and_when_there_is_none(deep: Path, tmp_path: Path) -> None:
    """The short form of the two below, with times as if they had been measured."""
    rows = {"trained": row("trained", 40, 480), "onnx-int8": row("onnx-int8", 10, 40)}  # p95 is twice p50
    trained = open_bundle(deep, threads=1)

    numbers = iter(range(99))

    def workshop(**changes: Any) -> Workshop:
        settings = replace(QUICK, **{"candidates": ["distilled"], **changes})
        folder, cpu = tmp_path / str(next(numbers)), Cpu(name="any", flags=frozenset())
        folder.mkdir()
        return Workshop(trained=trained, training=(), settings=settings, cpu=cpu, folder=folder, threads=1)

    tight, wide = (parse_contract({"p95_ms": f"<= {most}"}, []) for most in (10, 9999))
    assert _next_shape(rows, [], workshop(), tight) == Shape(layers=2)
    assert _next_shape(rows, [], workshop(), wide) == Shape()
    assert _next_shape(rows, [], workshop(distill=0), tight) == Shape()
    assert _next_shape(rows, [], workshop(low_rank=0.5), tight) == Shape()
    assert _next_shape(rows, [], workshop(candidates=["pruned-onnx"]), tight) == Shape(width=0.75)
    assert _next_shape(rows, [], workshop(candidates=["onnx-int8"]), tight) == Shape()
    slow = Student(shape=Shape(layers=2), rows={"distilled": row("distilled", 6, 470)})
    place = workshop()
    assert _next_shape(rows, [], place, tight) == Shape(layers=2)
    assert _next_shape({**rows, **slow.rows}, [slow], place, tight) == Shape(layers=1)
    # A run that was killed goes by what was planned, whatever it measures now.
    faster = {name: row(name, 1, 40) for name in rows}
    assert [_next_shape(faster, students, place, tight) for students in ([], [slow])] == [
        Shape(layers=2), Shape(layers=1)
    ]  # fmt: skip
    assert _next_shape({**rows, **slow.rows}, [slow], workshop(), wide) == Shape()
    too_many = make_all(replace(workshop(), shape=Shape(layers=6)))
    assert "no more than 6 layers" in too_many.not_tried["distilled"]


def test_nothing_that_it_is_scored_on_is_learned_or_judged(
    deep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A student taught with the validation rows would be flattered by them."""
    data, met, real = make_dataset(), set[tuple[int, ...]](), distil.teach

    def note(items: Any) -> None:
        met.update(tuple(map(int, item["input_ids"])) for item in items)

    def taught(teacher: Any, pupil: Any, task: Any, items: Any, seconds: float, **more: Any) -> float:
        note(items)
        return real(teacher, pupil, task, items, 0.1, **more)

    def noting(choose: Any) -> Any:
        def chosen(model: Any, task: Any, items: Any, share: float) -> Any:
            note(items)
            return choose(model, task, items, share)

        return chosen

    monkeypatch.setattr(distil, "teach", taught)
    for name in ("choose_kept", "choose_layers"):
        monkeypatch.setattr(student, name, noting(getattr(student, name)))
    run(tmp_path, deep, replace(QUICK, candidates=["distilled"], distill=4, prune=0.75))
    parent: Bundle[Any, Any] = open_bundle(deep)
    told, kept_away = (
        {tuple(map(int, item["input_ids"])) for item in parent.task.encode([e.input for e in rows], parent.processor)}
        for rows in (data.train, data.validation)
    )
    assert met == told
    assert kept_away - told


def test_a_second_student_stands_beside_the_first(deep: Path, tmp_path: Path) -> None:
    """Under a name of its own, as its steps are those of the first; nothing that was made is called left out."""
    data = make_dataset()
    place = Workshop(
        trained=open_bundle(deep, threads=1), training=data.train, cpu=Cpu(name="any", flags=frozenset()), threads=1,
        settings=replace(QUICK, candidates=["pruned", "distilled"], distill_minutes=0.01), folder=tmp_path,
    )  # fmt: skip
    first = add_student(make_all(place), replace(place, shape=Shape(width=0.75)), 1)
    assert set(first.bundles) == {"trained", "pruned"}
    assert "distilled" in first.not_tried
    both = add_student(first, replace(place, shape=Shape(layers=4)), 2)
    assert set(both.bundles) == set(both.parities) == {"trained", "pruned", "distilled#2"}
    assert not both.failed
    assert not {"pruned", "distilled"} & set(both.not_tried)
    assert both.bundles["distilled#2"].manifest.made_by[-1] == "distilled"
    assert both.bundles["distilled#2"].manifest.network["config"]["num_hidden_layers"] == 4
    third = add_student(both, replace(place, shape=Shape(layers=3)), 3)
    depths = [third.bundles[n].manifest.network["config"]["num_hidden_layers"] for n in ("distilled#2", "distilled#3")]
    assert depths == [4, 3]


@pytest.mark.slow
def test_it_is_tried_where_nothing_else_is_fast_enough(deep: Path, tmp_path: Path) -> None:
    made = run(tmp_path / "a", deep, replace(QUICK, candidates=["onnx-int8", "distilled-onnx-int8"]), p95_ms="<= 0.001")
    assert {"distilled", "distilled-onnx", "distilled-onnx-int8"} <= names(made)
    manifest = read_manifest(tmp_path / "a" / "bundle")
    rows = {row["name"]: row for row in made.details["candidates"]}
    assert made.chosen in rows
    if step_of(made.chosen) in STUDENTS:
        assert manifest.network["config"]["num_hidden_layers"] == 1
        assert "distilled" in manifest.made_by
    assert rows["distilled-onnx-int8"]["size_mb"] < rows["onnx-int8"]["size_mb"]


def test_it_is_left_alone_where_the_contract_is_kept(deep: Path, tmp_path: Path) -> None:
    made = run(tmp_path / "b", deep, replace(QUICK, candidates=["distilled"]), p95_ms="<= 9999")
    assert not names(made) & STUDENTS
    assert any("A smaller network was not asked for" in line for line in made.findings)


@pytest.mark.slow
def test_a_limit_on_time_alone_leads_to_what_keeps_it_or_to_a_plain_no(deep: Path, tmp_path: Path) -> None:
    """Nobody says how many layers. Two fifths of the time that the whole network was seen to take."""
    forms = replace(QUICK, candidates=["distilled"], max_loss=1.0, max_slice_loss=1.0)
    whole = run(tmp_path / "whole", deep, replace(forms, distill=0), p95_ms="<= 9999").details["reference"]["p50_ms"]
    limit = 0.4 * whole
    made = run(tmp_path / "half", deep, forms, p95_ms=f"<= {limit}")
    students = [line for line in made.findings if line.startswith("Student ")]
    assert len(students) <= MOST_STUDENTS
    assert len(students) == len({name for name in names(made) if step_of(name) in STUDENTS})
    assert students or made.details["reference"]["p95_ms"] <= limit, "the whole one was not fast enough"
    is_kept = made.numbers["p95_ms"].value <= limit
    assert is_kept != any("cannot be met on this machine: the best was" in line for line in made.findings)
    again = run(tmp_path / "half", deep, forms, p95_ms=f"<= {limit}")
    assert again.findings == made.findings


@pytest.mark.slow
def test_it_is_made_where_the_page_asks_and_never_where_it_forbids(deep: Path, tmp_path: Path) -> None:
    chosen = replace(QUICK, candidates=["distilled"])
    asked = run(tmp_path / "c", deep, replace(chosen, distill=3), p95_ms="<= 9999")
    assert "distilled" in names(asked)
    forbidden = run(tmp_path / "d", deep, replace(chosen, distill=0), p95_ms="<= 0.001")
    assert not names(forbidden) & STUDENTS
    too_many = run(tmp_path / "e", deep, replace(chosen, distill=6), p95_ms="<= 9999")
    assert any("no more than 6 layers" in line for line in too_many.findings)
