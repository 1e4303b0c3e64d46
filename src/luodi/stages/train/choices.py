"""What the settings choose, done to the task and its network before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from luodi.core.task import LABELS, Base, Objective, Task
from luodi.core.types import Item, X, Y
from luodi.errors import ConfigError
from luodi.messages import tr
from luodi.models.frozen import num_layers
from luodi.models.layers import compute_twice, draw_anew
from luodi.stages.train.config import TrainSettings


def with_objective(task: Task[X, Y], settings: TrainSettings, items: Sequence[Item]) -> Task[X, Y]:
    """The task with the loss that the settings name; `items` are the training rows, whose classes are counted."""
    if settings.loss == "auto" and settings.label_smoothing is None:
        return task
    objective = Objective(name=task.losses[0] if settings.loss == "auto" else settings.loss)
    if settings.label_smoothing is not None:
        objective = replace(objective, smoothing=settings.label_smoothing)
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


def frozen_layers(
    settings: TrainSettings, task: Task[Any, Any], base: Base, encoder: nn.Module | None, device: str
) -> int:
    """On a CPU a part of a pretrained encoder, so that an epoch costs less; random layers have to learn."""
    if settings.frozen_layers is not None:
        return settings.frozen_layers
    part = min(usual_frozen(task, num_layers(encoder)), num_layers(encoder) - settings.reinitialised_layers)
    return part if base.is_pretrained and device == "cpu" else 0


def usual_frozen(task: Task[Any, Any], count: int) -> int:
    """Of `count` pretrained layers, on a CPU."""
    return int(task.default_frozen * count)
