"""What a run works with, made before its first step: the task as it learned its answers, the network, the numbers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from luodi.core.batching import item_size
from luodi.core.config import Brief
from luodi.core.machine import need_memory
from luodi.core.measure import Metric
from luodi.core.progress import say
from luodi.core.scoring import deciding_metric
from luodi.core.store import need_disk
from luodi.core.task import Base, Processor, Schema, Task
from luodi.core.types import Example, Item, X, Y
from luodi.messages import tr
from luodi.models.engine import TorchEngine
from luodi.models.frozen import Split, keep_activations, num_layers, split_encoder
from luodi.models.lora import Adapters
from luodi.models.narrow import Narrowed, narrow_table
from luodi.models.source import resolve
from luodi.stages.train.choices import (
    ANSWERS_IN_TOKENS,
    adapted,
    check_adapter,
    frozen_layers,
    prepare_network,
    with_objective,
)
from luodi.stages.train.config import TrainSettings
from luodi.stages.train.loop import Material, set_dropout
from luodi.stages.train.precision import choose_device, choose_precision, set_threads
from luodi.stages.train.rows import Work, draw_rows, seconds_per_row, tell_rows
from luodi.stages.train.team import ALONE, Team

ACTIVATIONS = "activations.f16"
_LEARNING_BYTES = 12
"""Of each weight that learns, beside itself: its gradient and two moments (AdamW), 4 bytes each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """All that stays the same during a run."""

    task: Task[Any, Any]
    processor: Processor
    model: torch.nn.Module
    train: Material
    validation: Material
    metric: Metric
    settings: TrainSettings
    folder: Path
    team: Team
    network: torch.nn.Module
    """What a step calls: the model, compiled where that is wished, or what makes a team of it."""
    split: Split | None
    """Where lower layers are frozen: the model then holds the upper ones only, until it is sealed."""
    narrowed: Narrowed | None
    """Where the table of tokens learns: it holds only the rows that the data names, until it is sealed."""
    adapters: Adapters | None
    """Where they learn in the place of the layers, until they are merged into them to be sealed."""
    device: str
    parameters: int
    learning: int
    """Parameters that steps change."""
    disk_bytes: int
    """What the run may take of the disk, generously."""
    seconds: float
    """What the setting up took."""
    told: tuple[str, ...]
    """What the report has to say of it."""


def encoded(task: Task[X, Y], examples: Sequence[Example[X, Y]], processor: Processor) -> list[Item]:
    return task.encode([e.input for e in examples], processor, [e.target for e in examples])


def set_up(
    task: Task[X, Y], rows: Sequence[Example[X, Y]], held_back: Sequence[Example[X, Y]], brief: Brief,
    settings: TrainSettings, folder: Path, team: Team = ALONE,
) -> tuple[Setup, Base]:  # fmt: skip
    """Of a team the first member sets up first, and the others read what it has kept."""
    with team.in_turn():
        setup, base = _set_up(task, rows, held_back, brief, settings, folder)
    # Compiled for steps alone: what scores and seals calls the model itself.
    called: Any = torch.compile(setup.model, dynamic=True) if settings.compile else setup.model
    network = team.wrapped(called, choose_precision(settings.precision, setup.device))
    return replace(setup, team=team, network=network), base


def _set_up(
    task: Task[X, Y], rows: Sequence[Example[X, Y]], held_back: Sequence[Example[X, Y]], brief: Brief,
    settings: TrainSettings, folder: Path,
) -> tuple[Setup, Base]:  # fmt: skip
    began = time.perf_counter()
    schema = task.learn(rows, Schema(max_length=settings.max_length or task.default_length))
    learned = type(task)(schema)
    source = resolve(brief.model, task.default_model)
    check_adapter(source, settings)
    processor = learned.make_processor(source, rows)
    learned = learned.with_processor(processor)
    base = source.fitted(processor)
    set_threads()
    device = choose_device(settings.device)
    torch.manual_seed(brief.seed)
    model = learned.build(base).to(device)
    set_dropout(model, settings.dropout)
    prepare_network(model, settings)
    say(tr("Model: {name}, {millions:.1f} million parameters.").format(name=base.name, millions=_count(model) / 1e6))
    items = encoded(learned, (*rows, *held_back), processor)
    learned = with_objective(learned, settings, items[: len(rows)])
    parameters = _count(model)
    copies = 24 + 4 * settings.average + (4 if settings.ema else 0)
    disk = copies * parameters + 2 * int(base.config.get("hidden_size", 0)) * sum(map(item_size, items))
    need_disk(folder, disk)
    encoder: torch.nn.Module | None = getattr(model, "encoder", None)
    frozen = frozen_layers(settings, learned, base, model, device)
    drawn = draw_rows(
        folder, (len(rows), len(held_back)), seed=brief.seed,
        work=Work(frozen_share=frozen / max(num_layers(encoder), 1), scores=settings.evaluations + 2),
        forward=lambda: seconds_per_row(TorchEngine(model, device), items, learned.collate),
        left=brief.budget_seconds and brief.budget_seconds - (time.perf_counter() - began),
    )  # fmt: skip
    told = tell_rows(drawn, (len(rows), len(held_back)), brief.budget)
    items = [items[p] for p in (*drawn[0], *(len(rows) + p for p in drawn[1]))]
    rows, held_back = ([part[p] for p in places] for part, places in zip((rows, held_back), drawn, strict=True))
    split = split_encoder(encoder, frozen)
    if split:
        items = keep_activations(split, items, learned.collate, folder / ACTIVATIONS, device)
        model.encoder = split.upper.to(device)
    adapters = adapted(model, settings)
    narrowed = None if split or getattr(model, ANSWERS_IN_TOKENS, False) else narrow_table(encoder, items)
    if narrowed:
        items = narrowed.items(items)
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if device == "cpu":
        need_memory(learning * _LEARNING_BYTES)
    setup = Setup(
        task=learned, processor=processor, model=model, settings=settings, folder=folder, split=split,
        narrowed=narrowed, adapters=adapters, team=ALONE, network=model,
        train=Material(examples=rows, items=items[: len(rows)]),
        validation=Material(examples=held_back, items=items[len(rows) :]),
        metric=deciding_metric(learned, list(brief.accept)), device=device, parameters=parameters,
        learning=learning, disk_bytes=disk, seconds=time.perf_counter() - began, told=told,
    )  # fmt: skip
    return setup, base


def _count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
