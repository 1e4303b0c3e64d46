"""What the settings choose, done to the task and its network before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from luodi.core.progress import say
from luodi.core.task import LABELS, Base, Objective, Task
from luodi.core.types import Item, X, Y
from luodi.errors import ConfigError
from luodi.messages import tr
from luodi.models.frozen import num_layers
from luodi.models.layers import compute_twice, draw_anew
from luodi.models.lora import Adapters, add_adapters
from luodi.stages.train.config import LOSS_PARTS, TrainSettings

ANSWERS_IN_TOKENS = "answers_in_tokens"
"""Of a network: its table of tokens is what it answers by (models/masked_lm.py)."""


def with_objective(task: Task[X, Y], settings: TrainSettings, items: Sequence[Item]) -> Task[X, Y]:
    """The task with the loss that the settings name; `items` are the training rows, whose classes are counted."""
    told = {part: getattr(settings, name) for name, (_, part) in LOSS_PARTS.items()}
    said = {part: value for part, value in told.items() if value is not None}
    if settings.loss == "auto" and not said:
        return task
    objective = replace(Objective(name=task.losses[0] if settings.loss == "auto" else settings.loss), **said)
    if objective.name == "weighted":
        from luodi.models.losses import inverse_frequencies

        objective = replace(objective, weights=inverse_frequencies(item[LABELS] for item in items))
    made: Any = type(task)(replace(task.schema, objective=objective), task.processor)
    return made  # type: ignore[no-any-return]


def prepare_network(model: nn.Module, settings: TrainSettings) -> None:
    """Draws top layers anew and arranges for activations to be computed twice, where that is wished. Raises ConfigError
    where the network cannot."""
    encoder: nn.Module | None = getattr(model, "encoder", None)
    count, frozen = settings.reinitialised_layers, settings.frozen_layers or 0
    if count and frozen and count + frozen > num_layers(encoder):
        message = tr("train.frozen_layers and train.reinitialised_layers together are more than the {count} layers.")
        hint = tr("A layer that is drawn anew has to learn: lower one of the two.")
        raise ConfigError(message.format(count=num_layers(encoder)), code="train.reinitialised_layers", hint=hint)
    if count:
        draw_anew(getattr(model, "decoder", model) if encoder is None else encoder, count)
    if settings.checkpointing:
        compute_twice(model)


def check_adapter(base: Base, settings: TrainSettings) -> None:
    """Raises ConfigError where adapters would stand beside random weights, which would then never learn, ResourceError
    where peft is missing."""
    if settings.adapter == "none":
        return
    from luodi.backends.peft import require

    require()
    if not base.is_pretrained:
        message = tr("train.adapter is {adapter}, but {model} begins from random weights, which have to learn whole.")
        hint = tr("Take a pretrained model, or leave train.adapter out.")
        raise ConfigError(message.format(adapter=settings.adapter, model=base.name), code="train.adapter", hint=hint)


def adapted(model: nn.Module, settings: TrainSettings) -> Adapters | None:
    """The network with adapters in all layers that still learn, where that is wished."""
    if settings.adapter == "none":
        return None
    adapters = add_adapters(model, settings.adapter, settings.adapter_rank)
    counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
    learning, whole = sum(n for n, learns in counts if learns), sum(n for n, _ in counts)
    sentence = tr("Adapters ({adapter}, rank {rank}): {count} weights learn, {share:.2%} of all.")
    rank = settings.adapter_rank
    say(sentence.format(adapter=settings.adapter, rank=rank, count=learning, share=learning / whole))
    return adapters


def frozen_layers(
    settings: TrainSettings, task: Task[Any, Any], base: Base, model: nn.Module, device: str
) -> int:
    """On a CPU a part of a pretrained encoder, so that an epoch costs less; random layers have to learn. Raises
    ConfigError where the table of tokens, which is frozen with the layers above it, is what answers."""
    if settings.frozen_layers and getattr(model, ANSWERS_IN_TOKENS, False):
        message = tr("train.frozen_layers: the task {task} hides other words each time, so no layer can be kept.")
        hint = tr("Leave train.frozen_layers out; train.adapter: lora leaves the layers as they are as well.")
        raise ConfigError(message.format(task=task.name), code="train.frozen_layers", hint=hint)
    if settings.frozen_layers is not None:
        return settings.frozen_layers
    count = num_layers(getattr(model, "encoder", None))
    part = min(usual_frozen(task, count), count - settings.reinitialised_layers)
    return part if base.is_pretrained and device == "cpu" else 0


def usual_frozen(task: Task[Any, Any], count: int) -> int:
    """Of `count` pretrained layers, on a CPU."""
    return int(task.default_frozen * count)
