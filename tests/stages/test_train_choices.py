"""What may be chosen for training: rules of a step, schedules, means of weights, layers; and what cannot be meant."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils import clip_grad_norm_

from broken import assert_resumes
from luodi.core.batching import item_size
from luodi.core.bundle import open_bundle
from luodi.core.config import Brief
from luodi.core.task import Schema, load_task
from luodi.errors import ConfigError
from luodi.models.engine import to_torch
from luodi.models.layers import compute_twice, depths, draw_anew, stacks
from luodi.models.source import ScratchBase, resolve
from luodi.stages.train import loop
from luodi.stages.train import train as stage
from luodi.stages.train.averaging import begin_average, keep_recent, try_mean
from luodi.stages.train.checkpoints import BEST, save_weights
from luodi.stages.train.config import TrainSettings, check
from luodi.stages.train.loop import Material, training_steps
from luodi.stages.train.optimizers import RATES, Lion, Together, default_rate, make_optimizer
from luodi.stages.train.plan import Plan, planned_batches
from luodi.stages.train.schedules import rate_at
from tiny import NETWORK, make_dataset

TASK = load_task("text_classification")
BRIEF = Brief(task="text_classification", data="reviews.csv", input="text", target="label", model="bert:tiny")
SETTINGS = TrainSettings(epochs=2, tokens_per_batch=128, max_length=24, wide=False)
PLAN = Plan(
    steps=40, epochs=2, steps_per_epoch=20, evaluate_every=20, tokens_per_batch=256, seed=0, device="cpu",
    precision="float32", threads=1, learning_rate=1e-3, head_factor=10.0, weight_decay=0.01, warmup_steps=4,
    seconds_per_step=0, parameters=1, trainable=1, patience=4, augment=True,
)  # fmt: skip
DATA = make_dataset()
OPTIMIZERS, SCHEDULES = tuple(RATES), ("linear", "cosine", "constant", "wsd")


def plan(**changes: Any) -> Plan:
    return dataclasses.replace(PLAN, **changes)


def network(layers: int = 1) -> tuple[Any, torch.nn.Module, Material]:
    """A task that has learned, its network of random weights, and what it learns from."""
    learned = type(TASK)(TASK.learn(DATA.train, Schema(max_length=24)))
    scratch = ScratchBase(name="bert:tiny", config={**NETWORK, "num_hidden_layers": layers, "vocab_size": 300})
    processor = learned.make_processor(scratch, DATA.train)
    torch.manual_seed(0)
    model = learned.build(scratch.fitted(processor))
    loop.set_dropout(model, 0.0)
    items = learned.encode([e.input for e in DATA.train], processor, [e.target for e in DATA.train])
    return learned, model, Material(examples=DATA.train, items=items)


def fit(folder: Path, **changes: Any) -> stage.Trained:
    folder.mkdir(exist_ok=True)
    settings = dataclasses.replace(SETTINGS, **changes)
    return stage.train(TASK, DATA.train[:120], DATA.validation[:30], BRIEF, settings, folder)


def steps_of(wanted: Plan) -> tuple[list[loop.Step], torch.nn.Module]:
    task, model, material = network()
    batches = planned_batches(wanted, [item_size(i) for i in material.items], 0)
    steps = training_steps(model, task, make_optimizer(model, wanted), material, wanted, batches)
    return list(steps), model


# --- rules of a step --------------------------------------------------------------------------------------------------


def test_the_default_is_adamw_with_a_linear_schedule_bit_for_bit() -> None:
    """As written by hand: the results of everybody who has said nothing depend on it."""
    told, model = steps_of(plan())
    task, other, material = network()
    heads = [[p for n, p in other.named_parameters() if n.startswith("head.") is h] for h in (False, True)]
    optimizer = torch.optim.AdamW([
        {"params": [p for p in part if (p.ndim > 1) is wide], "weight_decay": 0.01 * wide}
        for part in heads for wide in (True, False)
    ], fused=True)  # fmt: skip
    losses = []
    other.train()
    for step, (places,) in planned_batches(plan(), [item_size(i) for i in material.items], 0):
        rate = 1e-3 * step / 4 if step <= 4 else 1e-3 * ((40 - step + 1) / 36)
        for group, factor in zip(optimizer.param_groups, (1, 1, 10, 10), strict=True):
            group["lr"] = rate * factor
        batch = to_torch(task.collate([material.items[p] for p in places]))
        loss = torch.nn.functional.cross_entropy(loop.forward(other, batch)["logits"], batch["labels"])
        loss.backward()
        clip_grad_norm_(list(other.parameters()), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert [step.loss for step in told] == losses
    for (name, ours), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_rule_learns_at_its_own_rate(optimizer: str) -> None:
    rate = default_rate(optimizer, is_pretrained=False)
    told, _ = steps_of(plan(optimizer=optimizer, learning_rate=rate, head_factor=1.0, steps=60))
    first, last = (sum(s.loss for s in part) / 5 for part in (told[:5], told[-5:]))
    assert last < 0.8 * first, (first, last)


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        pytest.param(*both, marks=pytest.mark.slow if both[0] == "muon" else ())  # bf16 by hand on most processors
        for both in zip(OPTIMIZERS, itertools.cycle(reversed(SCHEDULES)), strict=False)
    ],
)
def test_an_interrupted_run_equals_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, schedule: str
) -> None:
    """With a moving average and two batches a step."""
    chosen = {"optimizer": optimizer, "schedule": schedule, "accumulate": 2, "ema": 0.9, "average": 2, "dropout": 0.1}
    assert_resumes(lambda folder: fit(folder, **chosen), tmp_path, monkeypatch)


def test_lion_is_the_formula_of_its_paper() -> None:
    weights = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    p = torch.nn.Parameter(weights.clone())
    optimizer = Lion([{"params": [p], "weight_decay": 0.1}], {"lr": 0.01, "betas": (0.9, 0.99)})
    mean = torch.zeros(2, 2)
    for gradient in (torch.tensor([[1.0, -1.0], [0.0, 2.0]]), torch.tensor([[-0.05, 5.0], [1.0, -0.1]])):
        p.grad = gradient.clone()
        optimizer.step()
        direction = torch.sign(0.9 * mean + 0.1 * gradient)
        weights = weights - 0.01 * (direction + 0.1 * weights)
        mean = 0.99 * mean + 0.01 * gradient
    torch.testing.assert_close(p.detach(), weights)
    torch.testing.assert_close(optimizer.state[p]["exp_avg"], mean)


def test_muon_has_the_matrices_between_layers_and_nothing_else() -> None:
    _, model, _ = network()
    optimizer = make_optimizer(model, plan(optimizer="muon"))
    assert isinstance(optimizer, Together)
    names = {id(p): name for name, p in model.named_parameters()}
    muon, adamw = ([names[id(p)] for g in part.param_groups for p in g["params"]] for part in optimizer.parts)
    assert sorted(muon + adamw) == sorted(names.values())
    assert len(muon) == 6
    assert all(".layer.0." in name and name.endswith("weight") for name in muon)
    assert {g["factor"] for g in optimizer.param_groups} == {1.0, 10.0}


def test_two_rules_together_are_saved_and_loaded_as_one() -> None:
    made = []
    for _ in range(2):
        _, model, _ = network()
        made.append((model, make_optimizer(model, plan(optimizer="muon"))))
    (model, first), (other, second) = made
    step(model, first)
    state = first.state_dict()
    assert {key for each in state["state"].values() for key in each} >= {"momentum_buffer", "exp_avg", "exp_avg_sq"}
    second.load_state_dict(copy.deepcopy(state))
    other.load_state_dict(model.state_dict())
    step(model, first)
    step(other, second)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    torch.manual_seed(3)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()


# --- schedules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_rises_to_the_peak_and_never_again(schedule: str) -> None:
    wanted = plan(schedule=schedule, learning_rate=1.0, steps=100, warmup_steps=10)
    rates = [rate_at(wanted, step) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert all(0 < rate <= 1 for rate in rates)


def test_schedules_are_what_they_are_called() -> None:
    def rates(schedule: str) -> list[float]:
        wanted = plan(schedule=schedule, learning_rate=2.0, steps=110, warmup_steps=10)
        return [rate_at(wanted, step) for step in range(11, 112)]  # of which the last comes after the run

    assert rates("constant") == [2.0] * 101
    assert rates("linear")[25:75:25] == pytest.approx([1.5, 1.0])
    assert rates("cosine")[50] == pytest.approx(1.0)
    assert rates("cosine")[25] == pytest.approx(1 + math.cos(math.pi / 4))
    assert rates("wsd")[:79] == [2.0] * 79
    assert rates("wsd")[89] == pytest.approx(2 * (1 - math.sqrt(0.5)))
    for schedule in ("linear", "cosine", "wsd"):
        assert rates(schedule)[-1] == 0


# --- layers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert:tiny", "gpt:tiny", "vitc:micro"])
def test_depth_is_counted_from_the_top(name: str) -> None:
    base = resolve(name, "")
    if name == "vitc:micro":
        config = {**base.config, "num_channels": 1, "image_size": 8, "patch_size": 4}
        base = ScratchBase(name=name, config=config)
    model = base.decoder() if name.startswith("gpt") else base.encoder()
    (where, layers), = stacks(model).items()  # fmt: skip
    found = depths(model)
    for i in range(len(layers)):
        own = {found[n] for n in found if n.startswith(f"{where}.{i}.")}
        assert own == {len(layers) - 1 - i}
    assert next(iter(found.values())) == len(layers)
    others = [n for n in found if not n.startswith(f"{where}.")]
    assert {found[n] for n in others if "mbed" in n or "wte" in n or "wpe" in n} == {len(layers)}
    assert {found[n] for n in others if n.startswith(("layernorm", "transformer.ln_f"))} <= {0}


def test_lower_layers_learn_more_slowly() -> None:
    _, model, _ = network(layers=3)
    optimizer = make_optimizer(model, plan(layer_decay=0.5))
    names = {id(p): name for name, p in model.named_parameters()}
    factors = {names[id(p)]: g["factor"] for g in optimizer.param_groups for p in g["params"]}
    assert factors["head.weight"] == 10.0
    found = {key: {f for name, f in factors.items() if key in name} for key in ("layer.2", "layer.0", "embeddings")}
    assert found == {"layer.2": {1.0}, "layer.0": {0.25}, "embeddings": {0.125}}
    assert all(g["weight_decay"] == 0 for g in optimizer.param_groups if any(p.ndim == 1 for p in g["params"]))


def test_top_layers_are_drawn_anew_and_the_others_stay(tmp_path: Path) -> None:
    from luodi.backends.transformers import load_encoder

    _, model, _ = network(layers=3)
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(0.5)
    model.encoder.save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path))
    torch.manual_seed(0)
    draw_anew(encoder, 2)
    still = {name for name, p in encoder.named_parameters() if bool((p == 0.5).all())}
    assert still == {name for name, depth in depths(encoder).items() if depth > 1}
    layer = encoder.encoder.layer[1]
    assert float(layer.attention.self.query.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert bool((layer.attention.output.LayerNorm.weight == 1).all())
    assert not torch.equal(layer.intermediate.dense.weight, encoder.encoder.layer[2].intermediate.dense.weight)
    with pytest.raises(ConfigError) as caught:
        draw_anew(encoder, 4)
    assert caught.value.code == "train.reinitialised_layers"
    assert "3" in caught.value.message


def test_layers_cannot_be_frozen_and_drawn_anew(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        fit(tmp_path / "run", frozen_layers=1, reinitialised_layers=2)
    assert caught.value.code == "train.reinitialised_layers"


@pytest.mark.parametrize("name", ["text_classification", "text_generation"])
def test_computing_twice_gives_the_same_gradients(name: str) -> None:
    """With dropout, whose random numbers have to come again; and with a network that would remember what it read."""
    task = load_task(name)
    examples = DATA.train[:8]
    learned = type(task)(task.learn(examples, Schema(max_length=24)))
    scratch = resolve("gpt:tiny" if name == "text_generation" else "bert:tiny", "")
    processor = learned.make_processor(scratch, examples)
    items = learned.encode([e.input for e in examples], processor, [e.target for e in examples])
    batch = to_torch(learned.collate(items))
    found = []
    for twice in (False, True):
        torch.manual_seed(0)
        model = learned.build(scratch.fitted(processor)).train()
        loop.set_dropout(model, 0.1)
        if twice:
            compute_twice(model)
        elif hasattr(model, "remembers"):
            model.remembers = False  # sums over a cache have another order, twice or once
        torch.manual_seed(1)
        learned.loss(loop.forward(model, batch), batch).backward()
        found.append({n: p.grad for n, p in model.named_parameters()})
        ran = _count_runs(model, lambda: learned.loss(loop.forward(model, batch), batch).backward())  # noqa: B023
        assert ran == (2 if twice else 1)
    for key, gradient in found[0].items():
        assert torch.equal(gradient, found[1][key]), key


def _count_runs(model: torch.nn.Module, run: Any) -> int:
    """How often a part of the first layer is run."""
    layer = next(iter(stacks(model).values()))[0]
    ran = 0

    def note(*_: Any) -> None:
        nonlocal ran
        ran += 1

    norm = next(m for m in layer.modules() if isinstance(m, torch.nn.LayerNorm))
    handle = norm.register_forward_hook(note)
    run()
    handle.remove()
    return ran


def test_what_has_no_layers_cannot_be_computed_twice() -> None:
    with pytest.raises(ConfigError) as caught:
        compute_twice(torch.nn.Linear(2, 2))
    assert caught.value.code == "train.checkpointing"


@pytest.mark.parametrize("changes", [{"checkpointing": True, "frozen_layers": 1}, {"reinitialised_layers": 1}])
def test_a_run_with_changed_layers_is_sealed_like_any_other(tmp_path: Path, changes: dict[str, Any]) -> None:
    made = fit(tmp_path / "run", epochs=1, **changes)
    assert open_bundle(made.bundle).replay().worst < 1e-5


# --- batches and gradients --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["text_classification", "token_classification"])
def test_several_small_batches_are_one_large_one(name: str) -> None:
    """Parts of different sizes; of entities, the mean is over units, of which texts have different numbers."""
    from tiny import make_entities

    examples = (make_entities().train if name == "token_classification" else DATA.train)[:12]
    task = load_task(name)
    learned = type(task)(task.learn(examples, Schema(max_length=64)))
    scratch = ScratchBase(name="bert:tiny", config={**NETWORK, "vocab_size": 300})
    processor = learned.make_processor(scratch, examples)
    items = learned.encode([e.input for e in examples], processor, [e.target for e in examples])
    material = Material(examples=examples, items=items)
    found = []
    for together in ([list(range(12))], [[0, 1, 2, 3, 4, 5, 6], [7], [8, 9, 10, 11]]):
        torch.manual_seed(0)
        model = learned.build(scratch.fitted(processor))
        loop.set_dropout(model, 0.0)
        model.train()
        items_of_step = loop._items(learned, material, plan(), 1, together)
        loss, _ = loop._backward(model, learned, plan(), items_of_step, float("inf"))
        found.append((loss, {n: p.grad for n, p in model.named_parameters()}))
    (loss, whole), (summed, parts) = found
    assert summed == pytest.approx(loss, rel=1e-6)
    for key, gradient in whole.items():
        torch.testing.assert_close(parts[key], gradient, rtol=1e-4, atol=1e-7)


def test_steps_are_counted_as_steps() -> None:
    sizes = [5] * 30
    single = list(planned_batches(plan(tokens_per_batch=20, steps=16), sizes, 0))
    double = list(planned_batches(plan(tokens_per_batch=20, steps=8, accumulate=3), sizes, 0))
    assert [number for number, _ in double] == list(range(1, 9))
    assert [len(together) for _, together in double] == [3, 3, 2, 3, 3, 2, 3, 3]
    assert [places for _, together in double for places in together][:16] == [together[0] for _, together in single]
    assert list(planned_batches(plan(tokens_per_batch=20, steps=8, accumulate=3), sizes, 5)) == double[5:]


def test_a_gradient_is_cut_where_that_is_wished() -> None:
    """With plain steps of size 1 and no momentum yet, the first step is as long as the gradient."""
    moved = []
    for clip in (0.0, 0.1):
        one = plan(optimizer="sgd", learning_rate=1.0, warmup_steps=0, steps=1, head_factor=1.0, weight_decay=0.0)
        _, before, _ = network()
        _, after = steps_of(dataclasses.replace(one, clip=clip))
        both = zip(after.parameters(), before.parameters(), strict=True)
        moved.append(math.sqrt(sum(float((a - b).detach().square().sum()) for a, b in both)))
    assert moved[1] == pytest.approx(0.19, rel=1e-3)  # 1.9 times, by Nesterov's look ahead
    assert moved[0] > 0.3


# --- means of weights -------------------------------------------------------------------------------------------------


def test_the_moving_average_is_one() -> None:
    _, model, _ = network()
    average = begin_average(model, 0.5)
    expected = {name: tensor.clone() for name, tensor in average.mean.items()}
    for number in range(1, 12):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
        average.update(number)
        decay = min(0.5, (1 + number) / (10 + number))
        expected = {name: decay * mean + (1 - decay) * average.live[name] for name, mean in expected.items()}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with average.in_place():
        for name, p in model.named_parameters():
            torch.testing.assert_close(p.detach(), expected[name])
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_the_average_is_what_is_scored_and_sealed(tmp_path: Path) -> None:
    """An average that forgets nothing stays near where it began, however fast the weights learn."""
    plain, slow = (fit(tmp_path / name, epochs=3, ema=ema) for name, ema in (("plain", 0.0), ("slow", 0.99)))
    scores = [[point["value"] for point in run.details["scores"]] for run in (plain, slow)]
    assert scores[0] != scores[1]
    assert [p["loss"] for p in plain.details["curve"]] == [p["loss"] for p in slow.details["curve"]]
    assert slow.numbers["validation_accuracy"].value == max(scores[1])
    assert open_bundle(slow.bundle).replay().worst < 1e-5


def test_the_mean_of_the_last_weights_is_taken_where_it_scores_higher(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1, bias=False)

    def score() -> float:
        """Best where the weight is 3."""
        return -abs(float(model.weight.detach()) - 3)

    def run(weights: tuple[float, ...], best: float) -> float:
        steps = []
        for number, weight in enumerate(weights, 1):
            torch.nn.init.constant_(model.weight, weight)
            steps.append(number)
            keep_recent(tmp_path, model, steps, 2)
        assert len(list(tmp_path.glob("recent-*"))) == 2
        torch.nn.init.constant_(model.weight, best)
        save_weights(tmp_path / BEST, model)
        for _ in range(2):  # the second time, as after a kill
            try_mean(tmp_path, model, steps, score, -abs(best - 3))
            assert not list(tmp_path.glob("recent-*"))
        return float(model.weight.detach())

    assert run((9.0, 2.0, 4.0), best=2.0) == 3.0
    assert run((9.0, 5.0, 6.0), best=2.5) == 2.5


# --- settings that cannot be meant ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"accumulate": 0}, "config.range"), ({"clip": -1.0}, "config.range"), ({"ema": 1.0}, "config.range"),
        ({"ema": float("nan")}, "config.range"), ({"average": -1}, "config.range"),
        ({"layer_decay": 0.0}, "config.range"), ({"layer_decay": 1.1}, "config.range"),
        ({"reinitialised_layers": -1}, "config.range"),
        ({"warmup": 2.0}, "config.range"), ({"dropout": 1.0}, "config.range"), ({"weight_decay": -0.1}, "config.range"),
        ({"loss": "label_smoothing", "label_smoothing": 1.0}, "config.range"), ({"label_smoothing": 0.1}, "train.loss"),
        ({"loss": "focal", "label_smoothing": 0.1}, "train.loss"), ({"loss": "hinge"}, "train.loss"),
        ({"loss": "contrastive", "contrastive_share": 1.1}, "config.range"), ({"contrastive_share": 0.5}, "train.loss"),
        ({"loss": "contrastive", "contrastive_temperature": 0.0}, "config.range"),
        ({"loss": "contrastive", "workers": 2}, "train.loss"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_told(changes: dict[str, Any], code: str, both_languages: str) -> None:
    check(SETTINGS, TASK)
    with pytest.raises(ConfigError) as caught:
        check(dataclasses.replace(SETTINGS, **changes), TASK)
    assert caught.value.code == code
    assert any(str(told) in caught.value.message for each in changes.items() for told in each)


def test_a_loss_that_a_task_has_not_is_found_out_before_anything_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from luodi.cli import main

    page = "task: text_generation\ndata: texts.txt\ninput: text\ntrain: {loss: focal}\n"  # and there is no texts.txt
    (tmp_path / "luodi.yaml").write_text(page, encoding="utf-8")
    assert main(["train", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "focal" in told
    assert "label_smoothing" in told
    assert not (tmp_path / "runs").exists()
