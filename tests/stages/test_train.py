"""Training: order, plan, resume, and what stops it."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from broken import cut_at, untimed
from luodi.core.bundle import open_bundle
from luodi.core.config import Brief
from luodi.core.task import load_task
from luodi.core.types import Example
from luodi.errors import DataError, ResourceError
from luodi.stages.train import loop
from luodi.stages.train import train as stage
from luodi.stages.train.batches import epoch_batches
from luodi.stages.train.config import TrainSettings
from luodi.stages.train.plan import Plan, planned_batches, steps_in_budget
from luodi.stages.train.schedules import rate_at

GOOD, BAD = ("好吃", "不错", "great", "很满意", "喜欢"), ("难吃", "太差", "terrible", "失望", "退货")
BRIEF = Brief(task="text_classification", data="reviews.csv", input="text", target="label", model="bert:tiny")
SETTINGS = TrainSettings(epochs=3, learning_rate=1e-3, tokens_per_batch=128, max_length=24)


def rows(count: int, seed: int = 0) -> list[Example[str, str]]:
    rng = random.Random(seed)
    found = []
    for i in range(count):
        label, words = rng.choice([("好评", GOOD), ("差评", BAD)])
        text = f"第{seed}-{i}条 " + " ".join(rng.sample(words, 3))
        found.append(Example(id=str(i), input=text, target=label))
    return found


TASK = load_task("text_classification")
TRAIN, VALIDATION = rows(120), rows(40, seed=1)


def fit(folder: Path, **changes: object) -> stage.Trained:
    folder.mkdir(exist_ok=True)
    settings = dataclasses.replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return stage.train(TASK, TRAIN, VALIDATION, BRIEF, settings, folder)


@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=200),
    tokens=st.integers(1, 600), seed=st.integers(0, 99), epoch=st.integers(0, 9),
)  # fmt: skip
def test_every_example_once_and_no_batch_too_large(sizes: list[int], tokens: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(sizes, tokens=tokens, seed=seed, epoch=epoch)
    assert sorted(place for batch in batches for place in batch) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(sizes[p] for p in batch) <= tokens
    assert batches == epoch_batches(sizes, tokens=tokens, seed=seed, epoch=epoch)


def plan(**changes: object) -> Plan:
    whole = Plan(
        steps=20, epochs=2, steps_per_epoch=10, evaluate_every=5, tokens_per_batch=64, seed=0, device="cpu",
        precision="float32", threads=1, learning_rate=1.0, head_factor=1.0,
        weight_decay=0.0, warmup_steps=4, seconds_per_step=0, parameters=1,
        trainable=1, patience=4, augment=True,
    )  # fmt: skip
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def test_rate_rises_to_the_peak_and_falls_to_nothing() -> None:
    rates = [rate_at(plan(), step) for step in range(1, 22)]
    assert rates[3] == 1.0 == max(rates)
    assert rates[:4] == sorted(rates[:4])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == 0


def test_batches_from_the_middle_are_those_of_a_whole_run() -> None:
    sizes = [e % 13 + 1 for e in range(57)]
    whole = list(planned_batches(plan(), sizes, 0))
    assert list(planned_batches(plan(), sizes, 7)) == whole[7:]
    assert [number for number, _ in whole] == list(range(1, 21))


def test_budget_sets_the_number_of_steps() -> None:
    assert steps_in_budget(1000, 0.5, 60, overhead=10) == 100
    assert steps_in_budget(50, 0.5, 60, overhead=10) == 50
    assert steps_in_budget(1000, 0.5, 1, overhead=10) == 1
    assert steps_in_budget(1000, 0.5, None, overhead=10) == 1000


def test_it_learns_and_its_bundle_proves_itself(tmp_path: Path) -> None:
    made = fit(tmp_path / "run", epochs=8)
    assert made.numbers["validation_accuracy"].low > 0.8
    bundle = open_bundle(made.bundle)
    assert len(bundle.golden) == 40
    assert bundle.replay().worst < 1e-5
    assert {a.value for a in bundle.predict(["很满意 喜欢 不错", "太差 失望 退货"])} == {"好评", "差评"}


def test_an_interrupted_run_equals_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss curve, scores and weights, bit for bit; the run is broken off twice, at odd steps."""
    whole = fit(tmp_path / "whole")
    monkeypatch.setattr(stage, "SAVE_EVERY_S", 0.0)
    original = loop.training_steps
    for stop in (5, 11):
        monkeypatch.setattr(stage, "training_steps", lambda *a, stop=stop: cut_at(original(*a), stop))
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "broken")
    monkeypatch.setattr(stage, "training_steps", original)
    again = fit(tmp_path / "broken")
    for key in ("curve", "scores"):
        ours, theirs = ([untimed(p) for p in run.details[key]] for run in (whole, again))
        assert ours == theirs
    weights = [(run.bundle / "weights" / "model.safetensors").read_bytes() for run in (whole, again)]
    assert weights[0] == weights[1]


def test_no_number_names_the_rows(tmp_path: Path, both_languages: str) -> None:
    with pytest.raises(DataError) as caught:
        fit(tmp_path / "run", learning_rate=float("inf"))
    assert caught.value.code == "train.nan"
    assert "2" in caught.value.message


def test_a_gradient_that_is_no_number_stops_with_its_batch_before_any_weight_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, both_languages: str
) -> None:
    """The root of 0 is a number, its slope is not: one row has it, and the rows named are those of its batch."""
    train = [dataclasses.replace(e, id=f"row-{e.id}") for e in TRAIN]
    original = loop._backward_part
    seen: list[bool] = []

    def rooted(model, task, plan, items, *, share):  # type: ignore[no-untyped-def]
        loss = original(model, task, plan, items, share=share)
        seen.append(any(item is marked for item in items))
        if seen[-1]:
            zero = model.head.weight.sum() * 0
            (zero.sqrt() * share).backward()
        return loss

    marked, models = None, []
    kept = loop.training_steps

    def marking(model, task, optimizer, material, *rest):  # type: ignore[no-untyped-def]
        nonlocal marked
        marked = material.items[77]
        models.append(model)
        seen.clear()  # what the probe saw
        return kept(model, task, optimizer, material, *rest)

    monkeypatch.setattr(loop, "_backward_part", rooted)
    monkeypatch.setattr(stage, "training_steps", marking)
    (tmp_path / "run").mkdir()
    with pytest.raises(DataError) as caught:
        stage.train(TASK, train, VALIDATION, BRIEF, SETTINGS, tmp_path / "run")
    assert caught.value.code == "train.nan"
    assert "row-77" in caught.value.message.replace(",", " ").replace(".", " ").replace("。", " ").split()
    # The very step, not the next one; and no step was taken with it.
    assert (f"step {len(seen)};" if both_languages == "en" else f"第 {len(seen)} 步") in caught.value.message
    assert all(torch.isfinite(weight).all() for weight in models[-1].parameters())
    assert ("gradient" if both_languages == "en" else "梯度") in caught.value.message


def test_a_batch_once_halved_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each want of memory costs a pass: it is not found out anew at every step."""
    original = loop._backward_part

    def small(model, task, plan, items, *, share):  # type: ignore[no-untyped-def]
        if loop._positions(items) > 40:
            raise torch.OutOfMemoryError("no memory")
        return original(model, task, plan, items, share=share)

    monkeypatch.setattr(loop, "_backward_part", small)
    with caplog.at_level("INFO", logger="luodi"):
        fit(tmp_path / "run")
    # From 128 positions to 32, by the probe and by the run.
    assert 1 <= sum("halved" in r.getMessage() for r in caplog.records) <= 4


def test_curves_can_be_read_while_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "SAVE_EVERY_S", 0.0)
    original = loop.training_steps
    monkeypatch.setattr(stage, "training_steps", lambda *a: cut_at(original(*a), 25))
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run")
    early = json.loads((tmp_path / "run" / stage.CURVES).read_text())
    assert early["scores"]
    assert early["curve"][0]["step"] == stage.CURVE_EVERY
    assert early["best"]["value"] is not None
    monkeypatch.setattr(stage, "training_steps", original)
    made = fit(tmp_path / "run")
    late = json.loads((tmp_path / "run" / stage.CURVES).read_text())
    assert late["curve"][: len(early["curve"])] == early["curve"]
    assert late["best"] == made.details["best"]


def test_dropout_reaches_layers_that_hold_it_as_a_number() -> None:
    """LLaMA's attention has no layer for it: of what a step sees, some is left out, and nothing where it is 0."""
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    shape = LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, vocab_size=50)
    model = LlamaModel(shape).train()
    tokens = torch.arange(12)[None]
    loop.set_dropout(model, 0.5)
    first, second = (model(input_ids=tokens).last_hidden_state for _ in range(2))
    assert not torch.equal(first, second)
    loop.set_dropout(model, 0.0)
    first, second = (model(input_ids=tokens).last_hidden_state for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("loss", ["focal", "weighted", "label_smoothing"])
def test_it_learns_by_other_losses(tmp_path: Path, loss: str) -> None:
    assert fit(tmp_path / "run", loss=loss, epochs=6).numbers["validation_accuracy"].low > 0.7


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's compiler uses what torch deprecates
def test_a_compiled_step_learns_the_same(tmp_path: Path) -> None:
    """Compiling takes half a minute; losses differ by the order of sums alone."""
    whole, compiled = (fit(tmp_path / str(wish), compile=wish, epochs=1) for wish in (False, True))
    ours, theirs = ([p["loss"] for p in run.details["curve"]] for run in (whole, compiled))
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert open_bundle(compiled.bundle).predict(["很满意 喜欢"])[0].value in {"好评", "差评"}


def test_want_of_memory_halves_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = fit(tmp_path / "whole", epochs=1)
    original = loop._backward_part

    def small(model, task, plan, items, *, share):  # type: ignore[no-untyped-def]
        if len(items) > 4:
            raise torch.OutOfMemoryError("no memory")
        return original(model, task, plan, items, share=share)

    monkeypatch.setattr(loop, "_backward_part", small)
    with caplog.at_level("INFO", logger="luodi"):
        halved = fit(tmp_path / "halved", epochs=1)
    assert any("halved" in r.getMessage() for r in caplog.records)
    # Dropout draws other numbers for other shapes, so the losses are near, not equal.
    assert halved.details["curve"][-1]["loss"] == pytest.approx(whole.details["curve"][-1]["loss"], rel=0.2)


def test_the_processor_s_want_of_memory_halves_the_batch_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its allocator really refuses, with an error of another kind; other errors of that kind are not taken for it."""
    original = loop._backward_part

    def large(model, task, plan, items, *, share):  # type: ignore[no-untyped-def]
        torch.empty(2**50 if len(items) > 4 else 1)
        return original(model, task, plan, items, share=share)

    monkeypatch.setattr(loop, "_backward_part", large)
    with caplog.at_level("INFO", logger="luodi"):
        fit(tmp_path / "halved", epochs=1)
    assert any("halved" in r.getMessage() for r in caplog.records)
    monkeypatch.setattr(loop, "_backward_part", lambda *_, **__: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        fit(tmp_path / "wrong", epochs=1)


def test_want_of_memory_for_one_example_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: object, **kwargs: object) -> float:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(loop, "_backward_part", none)
    with pytest.raises(ResourceError) as caught:
        fit(tmp_path / "run", tokens_per_batch=1)
    assert caught.value.code == "train.memory"


def test_frozen_layers_stay_and_the_others_learn_alike(tmp_path: Path) -> None:
    """Training on kept activations gives the model that the whole network would have become."""
    made = fit(tmp_path / "run", epochs=8, frozen_layers=1)
    assert made.numbers["validation_accuracy"].low > 0.8
    assert not list((tmp_path / "run").glob("activations*"))
    bundle = open_bundle(made.bundle)  # replays what the upper layers alone were chosen by
    answers = bundle.predict([e.input for e in VALIDATION])
    right = [a.value == e.target for a, e in zip(answers, VALIDATION, strict=True)]
    assert sum(right) / len(right) == made.numbers["validation_accuracy"].value
    torch.manual_seed(BRIEF.seed)
    fresh = fit(tmp_path / "still", epochs=1, learning_rate=0.0, frozen_layers=1)
    before, after = (_weights(run.bundle) for run in (fresh, made))
    changed = {name.split(".layer.")[-1].split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"1", "head"}


def _weights(bundle: Path) -> dict[str, torch.Tensor]:
    return load_file(bundle / "weights" / "model.safetensors")
