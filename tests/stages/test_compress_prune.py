"""Heads and units that matter least are cut out: a planted useless head goes first, what stays is the same network."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luodi.core.bundle import Bundle, open_bundle, read_manifest
from luodi.core.contract import Contract, Limit, parse_contract
from luodi.core.machine import Cpu
from luodi.core.types import Dataset, Prediction
from luodi.errors import ConfigError, UsageError
from luodi.models.engine import TorchEngine
from luodi.models.pruning import Kept, _columns, choose, cut, importance, parts_of
from luodi.models.student import student_of
from luodi.stages.compress.candidates import make_all
from luodi.stages.compress.compress import Compressed, TestSet, compress
from luodi.stages.compress.config import CompressSettings, asked, check
from luodi.stages.compress.findings import tell_unmet
from luodi.stages.compress.plan import MARGIN, Means, Shape, Student, next_shape, shape_for
from luodi.stages.compress.workshop import Workshop
from luodi.tasks.text_classification import TextClassification
from measured import row
from tiny import items_of, make_dataset, train_bundle

Data = Dataset[str, str]
QUICK = CompressSettings(timed=6, rounds=2, calibration=10, threads=1, distill_minutes=0.05)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide") / "bundle"
    train_bundle(folder, "text_classification", make_dataset(), rounds=4, layers=4, rate=1e-3)
    return folder


def layer_of(model: Any, place: int) -> Any:
    return model.encoder.encoder.layer[place]


def test_what_reads_nothing_of_a_head_or_unit_says_that_it_does_not_matter(bundle: Path) -> None:
    """A head and some units whose readers' weights are 0: of no importance, and cut out without any change."""
    made: Bundle[Any, Any] = open_bundle(bundle)
    engine: Any = made.engine
    model, data = deepcopy(engine.model), make_dataset()
    assert parts_of(model) is not None
    layer = layer_of(model, 1)
    heads = importance(model, made.task, items_of(made, data.train)[:32])[0]
    width = layer.attention.self.attention_head_size
    many = len(heads[1])
    assert many > 1
    with torch.no_grad():
        layer.attention.output.dense.weight[:, :width] = 0
        layer.output.dense.weight[:, 5:37] = 0
    heads, units = importance(model, made.task, items_of(made, data.train)[:32])
    assert heads[1][0] == 0 < heads[1][1:].min()
    assert (units[1][5:37] == 0).all()
    share = 1 - 32 / len(units[1])
    kept = choose(model, made.task, items_of(made, data.train)[:32], max(share, 1 - 1 / many))
    assert not set(kept.units[1].tolist()) & set(range(5, 37))


def test_cut_is_the_same_network_with_the_rest_silenced(bundle: Path) -> None:
    """Against the whole one with zeros in place of what is cut out; without mends, the weights that stay are as they
    were."""
    made: Bundle[Any, Any] = open_bundle(bundle)
    engine: Any = made.engine
    data = make_dataset()
    asked_items = made.task.collate(made.task.encode([e.input for e in data.validation[:16]], made.processor))
    kept = unmended(choose(engine.model, made.task, items_of(made, data.train)[:64], 0.5))
    small, silenced = deepcopy(engine.model), deepcopy(engine.model)
    cut(small, kept)
    with torch.no_grad():
        for place in range(4):
            layer = layer_of(silenced, place)
            width = layer.attention.self.attention_head_size
            heads = np.repeat(np.isin(np.arange(layer.attention.self.num_attention_heads), kept.heads[place]), width)
            units = np.isin(np.arange(layer.output.dense.in_features), kept.units[place])
            layer.attention.output.dense.weight[:, ~torch.from_numpy(heads)] = 0
            layer.output.dense.weight[:, ~torch.from_numpy(units)] = 0
    one, other = (TorchEngine(m.eval()).run(asked_items)["logits"] for m in (small, silenced))
    assert one == pytest.approx(other, abs=1e-5)
    counts = [sum(p.numel() for p in layer_of(m, 0).parameters()) for m in (small, engine.model)]
    assert counts[0] < 0.6 * counts[1]
    both = student_of(engine.model, [1, 3], kept)
    assert sum(p.numel() for p in layer_of(both, 0).parameters()) == counts[0]


def test_what_stays_reads_for_what_goes(bundle: Path) -> None:
    """Units that repeat others are cut out without a loss where the weights are mended, and not where they are not;
    on rows that were not looked at the whole network is answered for better."""
    made: Bundle[Any, Any] = open_bundle(bundle)
    engine: Any = made.engine
    data, items = make_dataset(), items_of(made, make_dataset().train)
    twice = deepcopy(engine.model)
    with torch.no_grad():
        for place in range(4):
            layer = layer_of(twice, place)
            for part in (layer.intermediate.dense.weight, layer.intermediate.dense.bias):
                part[32:] = part[:32]
    kept = choose(twice, made.task, items[:64], 0.5)
    heads = tuple(np.arange(len(importance(twice, made.task, items[:8])[0][0])) for _ in range(4))
    width = layer_of(twice, 0).attention.output.dense.in_features
    whole = Kept(heads, tuple(np.arange(32) for _ in range(4)), (torch.eye(width),) * 4,
                 tuple(torch.cat([torch.eye(32), torch.eye(32)]) for _ in range(4)))  # fmt: skip
    mended, plain = deepcopy(twice), deepcopy(twice)
    cut(mended, whole)
    cut(plain, unmended(whole))
    asked_items = made.task.collate(made.task.encode([e.input for e in data.validation], made.processor))
    wanted, good, bad = (TorchEngine(m.eval()).run(asked_items)["logits"] for m in (twice, mended, plain))
    assert good == pytest.approx(wanted, abs=1e-4)
    assert abs(bad - wanted).mean() > 100 * abs(good - wanted).mean()
    told = [deepcopy(twice), deepcopy(twice)]
    for model, parts in zip(told, (kept, unmended(kept)), strict=True):
        cut(model, parts)
    near, far = (abs(TorchEngine(m.eval()).run(asked_items)["logits"] - wanted).mean() for m in told)
    assert near < far


def unmended(kept: Kept) -> Kept:
    """What goes is not stood for."""
    heads = tuple(
        torch.eye(len(mend))[:, _columns(places, mend.shape[1] // len(places))]
        for mend, places in zip(kept.head_mends, kept.heads, strict=True)
    )
    units = tuple(
        torch.eye(len(mend))[:, torch.from_numpy(places)]
        for mend, places in zip(kept.unit_mends, kept.units, strict=True)
    )
    return replace(kept, head_mends=heads, unit_mends=units)


def test_pruned_ones_are_made_and_exported(bundle: Path, tmp_path: Path) -> None:
    data = make_dataset()
    workshop = Workshop(
        trained=open_bundle(bundle, threads=1), training=data.train, cpu=Cpu(name="any", flags=frozenset()), threads=1,
        settings=replace(QUICK, candidates=["pruned-onnx"]), folder=tmp_path, shape=Shape(width=0.5),
    )  # fmt: skip
    made = make_all(workshop)
    assert not made.failed
    assert made.bundles["pruned"].size_bytes < made.bundles["trained"].size_bytes
    assert made.bundles["pruned-onnx"].manifest.network["pruned"]


@pytest.mark.slow
def test_pruned_candidates_are_made_sealed_and_opened(bundle: Path, tmp_path: Path) -> None:
    settings = replace(QUICK, prune=0.5, candidates=["pruned", "pruned-onnx", "onnx"])
    data, parent = make_dataset(), open_bundle(bundle, threads=1)
    test = TestSet(examples=data.test, baselines={"majority": [Prediction(value="好评")] * len(data.test)})
    contract = parse_contract({"accuracy": ">= 0.5", "memory_mb": "<= 90000"}, ["accuracy"])
    loose = replace(settings, max_loss=1.0, max_slice_loss=1.0)
    made: Compressed = compress(parent, data.train, data.validation, lambda: test, contract, loose, tmp_path)
    rows = {r["name"]: r for r in made.details["candidates"]}
    assert {"pruned", "pruned-onnx", "onnx"} <= set(rows)
    assert rows["pruned"]["size_mb"] < rows["onnx"]["size_mb"]
    assert rows["pruned-onnx"]["batch_p50_ms"] > 0
    assert rows["onnx"]["memory_mb"] is None or rows["onnx"]["memory_mb"] > 20
    if made.chosen.startswith("pruned"):
        assert read_manifest(tmp_path / "bundle").network["pruned"]
        assert open_bundle(tmp_path / "bundle").predict([data.test[0].input])


def test_the_shape_is_the_largest_that_should_keep_the_contract() -> None:
    rows = {"trained": row("trained", 40, 480), "onnx-int8": row("onnx-int8", 10, 40)}  # p95 is twice p50

    def shape(most: float, may_narrow: bool = True, **more: float) -> Shape:
        limits = (Limit(name="p95_ms", at_most=most), *(Limit(name=n, at_most=v) for n, v in more.items()))
        return shape_for(rows, Contract(limits=limits), Means(depth=12, narrow=may_narrow))

    assert shape(20) == Shape()
    assert shape(18) == Shape(width=0.75)
    assert shape(18, may_narrow=False) == Shape(layers=int(MARGIN * 0.9 * 12))
    assert shape(10) == Shape(layers=5)
    assert shape(1) == Shape(layers=1, width=0.5)
    assert shape(9999, size_mb=20.0) == Shape(layers=5)
    one = Contract(limits=(Limit(name="p95_ms", at_most=1.0),))
    assert shape_for(rows, one, Means(depth=2, narrow=True)) == Shape()
    # Where the page names candidates: of what is left out no shape is planned.
    assert shape_for(rows, one, Means(depth=12, narrow=True, lower=False)) == Shape(width=0.75)
    assert shape_for(rows, one, Means(depth=12, narrow=False, lower=False)) == Shape()
    near = Contract(limits=(Limit(name="p95_ms", at_most=18.0),))
    assert shape_for(rows, near, Means(depth=12, narrow=True, whole=False)) == Shape(layers=9)


def test_the_next_shape_goes_by_what_the_last_student_took() -> None:
    contract, poor = Contract(limits=(Limit(name="p95_ms", at_most=10.0),)), "It loses too much."

    def made(shape: Shape, p50: float, refused: str = "") -> Student:
        """Of its two forms the slower one is refused in any case."""
        rows = {"a": row("a", p50, 400, refused), "b": row("b", 3 * p50, 400, poor)}  # p95 is twice p50
        return Student(shape=shape, rows=rows)

    def then(*students: Student, **means: bool) -> Shape:
        return next_shape(students, contract, Means(depth=12, **{"narrow": True, **means}))

    five, nine = Shape(layers=5), Shape(layers=9)
    assert then(made(five, 7)) == Shape(layers=3)  # 14 ms: 0.9 * 10 / 14 of five
    assert then(made(five, 5.1)) == Shape(layers=4)
    assert then(made(Shape(width=0.75), 5.01)) == Shape(layers=8)
    # None of full width: half as wide; where that cannot be, one layer.
    last = Shape(layers=1, width=0.5)
    assert then(made(Shape(layers=2), 14)) == last
    assert then(made(Shape(layers=2), 14), narrow=False) == Shape(layers=1)
    assert then(made(Shape(layers=1), 7), made(last, 7)) == Shape()
    # One that lost too much: a larger one where there is room, none where it was too slow as well.
    assert then(made(five, 2.5, poor)) == nine
    assert then(made(five, 1, poor)) == Shape(layers=11)
    assert then(made(five, 4.9, poor)) == Shape()
    assert then(made(five, 7, poor)) == Shape()
    # Between what was too slow and what lost too much.
    assert then(made(five, 7), made(Shape(layers=3), 2.5, poor)) == Shape(layers=4)
    assert then(made(Shape(layers=3), 1.5, poor), made(nine, 30)) == Shape(layers=4)
    assert then(made(nine, 7), made(Shape(layers=8), 2.5, poor)) == Shape()
    assert then(made(five, 7), made(Shape(layers=4), 7), made(Shape(layers=3), 7)) == Shape()
    # What is refused says nothing of the room that those have which may be taken.
    mixed = Student(shape=five, rows={"a": row("a", 7, 400), "b": row("b", 2, 400, poor)})
    assert then(mixed) == Shape(layers=3)
    assert then(Student(shape=five, rows={})) == Shape()
    assert then(made(Shape(width=0.75), 7), lower=False) == Shape()


def test_what_cannot_be_met_is_said_with_the_best_there_was(both_languages: str) -> None:
    rows = {"onnx": row("onnx", 10, 40), "distilled": row("distilled", 2, 20, refused="It loses too much.")}
    told = tell_unmet(rows, Contract(limits=(Limit(name="p95_ms", at_most=10.0), Limit(name="size_mb", at_most=50.0))))
    assert len(told) == 2
    assert "p95_ms <= 10" in told[0]
    assert "onnx" in told[0]
    assert "20" in told[0]
    assert "distilled" in told[1]
    assert tell_unmet(rows, Contract(limits=(Limit(name="p95_ms", at_most=30.0),))) == []


def test_flags_stand_for_settings() -> None:
    assert asked("", "p95_ms=10, size_mb=<=30") == ["compress.target.p95_ms=10", "compress.target.size_mb=30"]
    assert asked("onnx", "")[0].startswith("compress.candidates=[vocabulary, onnx, onnx-int8, distilled-onnx")
    for to, target in (("onxx", ""), ("", "p95_ms"), ("", "=3")):
        with pytest.raises(UsageError):
            asked(to, target)
    for settings in (CompressSettings(target={"p99_ms": 3.0}), CompressSettings(target={"p95_ms": -1.0}),
                     CompressSettings(prune=0.0)):  # fmt: skip
        with pytest.raises(ConfigError):
            check(settings, TextClassification())
    contract = parse_contract({"accuracy": ">= 0.9", "p95_ms": "<= 50"}, ["accuracy"])
    assert [str(limit) for limit in contract.aimed({"p95_ms": 10.0}).limits] == ["accuracy >= 0.9", "p95_ms <= 10"]
