"""A run measured and planned before its first step."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import msgspec
import torch

from luodi.core.batching import item_size
from luodi.core.config import Brief
from luodi.core.progress import say
from luodi.core.store import write_atomically
from luodi.core.task import Base
from luodi.messages import tr
from luodi.stages.train.batches import epoch_batches
from luodi.stages.train.checkpoints import Records, changing
from luodi.stages.train.loop import seconds_per_step, training_steps
from luodi.stages.train.optimizers import default_rate, make_optimizer
from luodi.stages.train.plan import PLAN, Plan, Turn, planned_batches, steps_in_budget, steps_of_epoch
from luodi.stages.train.precision import choose_precision
from luodi.stages.train.setup import Setup

PROBE_STEPS = 8  # where a budget hangs on them
QUICK_PROBE_STEPS = 3
PROBE_SHARE = 0.05
"""Of the budget, after which no more steps are measured."""
LEAST_STEPS = 3000
"""Of random weights, however few the rows, where neither `epochs` nor a budget says otherwise."""
MOST_EVALUATIONS = 100
SCORES_AFTER = 2
"""The best weights are scored once more after the last step, and with what is put beside them."""
TOLERANCE = 0.05
"""Of the budget, by which the end of a run may be off before what is left is planned anew."""
TURNS = 20
"""At the most: so many parts of the budget are waited for the next."""


def make_plan(setup: Setup, brief: Brief, base: Base) -> Plan:
    """The stored plan, or a new one, measured and stored."""
    path = setup.folder / PLAN
    if path.is_file():
        plan = msgspec.json.decode(path.read_bytes(), type=Plan)
        torch.set_num_threads(plan.threads)
        return plan
    settings, device = setup.settings, setup.device
    sizes = [item_size(i) for i in setup.train.items]
    batches = epoch_batches(sizes, tokens=settings.tokens_per_batch, seed=brief.seed, epoch=0)
    per_epoch = steps_of_epoch(len(batches), settings.accumulate)
    usual = setup.task.default_epochs if base.is_pretrained else max(40, -(-LEAST_STEPS // per_epoch))
    epochs = settings.epochs or usual
    wanted = per_epoch * epochs
    draft = Plan(
        steps=wanted, epochs=epochs, steps_per_epoch=per_epoch, evaluate_every=per_epoch, seed=brief.seed,
        tokens_per_batch=settings.tokens_per_batch, device=device, threads=torch.get_num_threads(), warmup_steps=1,
        precision=choose_precision(settings.precision, device),
        learning_rate=settings.learning_rate or default_rate(
            settings.optimizer, is_pretrained=base.is_pretrained, is_adapted=setup.adapters is not None
        ),
        optimizer=settings.optimizer, schedule=settings.schedule, layer_decay=settings.layer_decay,
        accumulate=settings.accumulate, clip=settings.clip, ema=settings.ema,
        head_factor=settings.head_factor if base.is_pretrained and not setup.adapters else 1.0,
        weight_decay=settings.weight_decay,
        seconds_per_step=0.0, parameters=setup.parameters, augment=settings.augment,
        patience=settings.patience or (4 if base.is_pretrained else 20),
        trainable=setup.learning, workers=setup.team.size, most_steps=wanted,
    )  # fmt: skip
    began = time.perf_counter()
    speed = _probe(setup, draft, brief.budget_seconds)
    told = setup.team.summed([speed, setup.seconds + time.perf_counter() - began])
    speed, gone = (value / setup.team.size for value in told)  # one plan for all
    in_all = speed * (1 + settings.evaluations * scoring_share(setup))
    other = gone + SCORES_AFTER * scoring_share(setup) * per_epoch * speed
    steps = steps_in_budget(wanted, in_all, brief.budget_seconds, other)
    plan = replace(
        draft, steps=steps, epochs=steps / per_epoch, seconds_per_step=speed,
        budget=None if brief.budget_seconds is None else max(0.0, brief.budget_seconds - other),
        # Rounded up: the last falls on the end. Where an epoch has few steps, not after each handful of them.
        evaluate_every=max(-(-min(per_epoch, steps) // settings.evaluations), -(-steps // MOST_EVALUATIONS)),
        warmup_steps=max(1, int(steps * settings.warmup)),
    )  # fmt: skip
    if plan.epochs < min(1, epochs):
        sentence = tr(
            "The budget of {budget} suffices for {epochs:.2f} epochs only; {seconds:.0f} s of it are already gone."
        )
        say(sentence.format(budget=brief.budget, epochs=plan.epochs, seconds=gone))
    if setup.team.leads:
        write_atomically(path, msgspec.json.encode(plan))
    return plan


def keep_to_budget(setup: Setup, plan: Plan, records: Records) -> Plan:
    """The plan; or, where the machine is so much faster or slower than it was that the end would be off the budget,
    another one for the steps that are left, stored."""
    step, turned = records.step, plan.turns[-1].after if plan.turns else 0
    is_told = bool(records.curve) and records.curve[-1].step == step > turned
    if plan.budget is None or records.stopped or not is_told:
        return plan
    seconds = {0: 0.0, **{point.step: point.seconds for point in records.curve}}
    middle = max(point for point in seconds if point <= step / 2)
    pace = (records.seconds - seconds[middle]) / (step - middle)  # of the later half, with the scores in it
    told = setup.team.summed([records.seconds, seconds[turned], pace])
    gone, last, pace = (value / setup.team.size for value in told)
    left = plan.budget - gone
    if gone - last < plan.budget / TURNS:
        return plan
    if abs((plan.steps - step) * pace - left) <= TOLERANCE * plan.budget:
        return plan
    steps = min(plan.most_steps, step + max(1, int(left / pace)))
    if steps == plan.steps:
        return plan
    sentence = tr("A step takes {now:.2g} s, not {planned:.2g} s: {steps} steps fit the budget, not {before}.")
    say(sentence.format(now=pace, planned=plan.seconds_per_step, steps=steps, before=plan.steps))
    turn = Turn(after=step, before=plan.steps, steps=steps)
    plan = replace(plan, steps=steps, epochs=steps / plan.steps_per_epoch, turns=(*plan.turns, turn))
    if setup.team.leads:
        write_atomically(setup.folder / PLAN, msgspec.json.encode(plan))
    return plan


def scoring_share(setup: Setup) -> float:
    """Of an epoch's time, one validation score: forward only is about a third of a step for each token."""
    return len(setup.validation.items) / max(len(setup.train.items), 1) / 3


def _probe(setup: Setup, plan: Plan, budget: float | None) -> float:
    """Seconds of a step, from a few real ones whose effect is undone."""
    count = PROBE_STEPS if budget else QUICK_PROBE_STEPS
    # Members of a team go through as many as the others, who wait for them; the first compiled step tells nothing.
    may_stop = setup.team.size == 1 and not setup.settings.compile
    most = PROBE_SHARE * budget if budget and may_stop else float("inf")
    before = {name: t.detach().clone() for name, t in changing(setup.model).items()}
    optimizer = make_optimizer(setup.model, plan)
    sizes = [item_size(i) for i in setup.train.items]
    batches = itertools.islice(planned_batches(plan, sizes, 0), count + 2)
    measured = seconds_per_step(
        lambda: training_steps(setup.network, setup.task, optimizer, setup.train, plan, batches, setup.team),
        count, most,
    )  # fmt: skip
    with torch.no_grad():
        for name, tensor in changing(setup.model).items():
            tensor.copy_(before[name])
    setup.model.zero_grad(set_to_none=True)
    return measured
