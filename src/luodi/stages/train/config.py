"""Settings of `train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from luodi.core.task import Task
from luodi.errors import ConfigError
from luodi.messages import tr


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSettings:
    epochs: int | None = None
    """Passes over the training rows at most; a budget may allow fewer. Not said: 3 from pretrained weights (6 where
    entities are to be found); from random ones 40, or as many as make 3,000 steps."""
    optimizer: Literal["adamw", "adam", "sgd", "adafactor", "lion", "muon"] = "adamw"
    """The rule of a step. sgd has Nesterov's momentum of 0.9; adafactor keeps hardly any state, lion half of AdamW's;
    muon is for the matrices between layers and leaves tables, vectors and the head to AdamW."""
    learning_rate: float | None = None
    """Peak rate, reached after the warm-up. Not said: 1e-4 from pretrained weights, 1e-3 from random ones, for adamw,
    adam and muon; 3e-5 and 3e-4 for lion; 1e-2 and 1e-1 for sgd; 1e-3 and 1e-2 for adafactor, where it is a share of
    each weight's own size. Adapters: five times the rate of pretrained weights."""
    schedule: Literal["linear", "cosine", "constant", "wsd"] = "linear"
    """What the rate does after the warm-up. linear and cosine fall to 0; constant stays; wsd (warm-up, stable, decay)
    stays and falls in the last fifth of all steps."""
    warmup: float = 0.06
    """Share of all steps in which the rate rises."""
    layer_decay: float = 1.0
    """Each layer learns at so much of the rate of the one above it, what lies below the first at least of all: 0.9
    keeps more of what was pretrained. 1: all alike."""
    head_factor: float = 10.0
    """The new head learns so many times faster than what was pretrained. Random weights and adapters are as new as it
    is, and beside them it learns as fast as they do."""
    dropout: float = 0.0
    """In all layers. Off by default: a few epochs hardly overfit, and on a CPU drawing its random numbers costs a
    third of the time (1,456 tokens/s without, 953 with 0.1)."""
    weight_decay: float = 0.01
    """Decay of the weights, beside the gradient (Loshchilov and Hutter 2019); adam and sgd have it within. Biases and
    norms do not decay. lion wants 3 to 10 times as much as adamw."""
    loss: Literal[
        "auto", "cross_entropy", "label_smoothing", "focal", "weighted", "contrastive", "mse", "huber"
    ] = "auto"
    """What is made small. auto: the task's own, label_smoothing for pictures, mse for numbers, else cross_entropy.
    focal: what is known already counts little. weighted: each class weighs the same, however rare. A task that writes
    has neither of these two. contrastive, where a whole input has one label: cross_entropy, and beside it rows of one
    label are drawn together and others pushed apart, of those that meet in a batch. For numbers: mse, the squared
    error, of which the score r2 is made; huber, which lets numbers that are far off count less."""
    label_smoothing: float | None = None
    """Share of each label that is spread over all classes, for the loss label_smoothing. Not said: 0.1."""
    contrastive_share: float | None = None
    """How much comparing rows weighs in the loss contrastive; the rest is cross_entropy. Not said: 0.9."""
    contrastive_temperature: float | None = None
    """Of the loss contrastive: the smaller, the more the nearest rows decide. Not said: 0.3."""
    clip: float = 1.0
    """Largest norm of a step's gradient, as in BERT and nearly all that followed; a longer one is shortened. 0: any."""
    ema: float = 0.0
    """Score and keep a moving average of the weights instead of the weights themselves: so much of the average stays at
    each step, 0.999 for example. 0: none."""
    average: int = 0
    """At the end, try the mean of the weights at the last so many validation scores, and take it where it scores higher
    than the best of them. 0: do not."""
    tokens_per_batch: int = 1024
    """Padded tokens of a batch. On a CPU small batches stay in its cache: 1,024 is faster than 16,384."""
    accumulate: int = 1
    """So many batches make one step: a larger batch than memory, or a CPU's cache, would hold. Steps are counted, and
    scheduled, as steps."""
    checkpointing: bool = False
    """Keep no activations of layers but compute them a second time for the gradient: less memory, a third more time,
    the same result."""
    max_length: int | None = None
    """Positions (tokens) of the longest input; longer ones are cut as their task sees fit. Not said: the task's own
    length, 128 for the classification of texts."""
    frozen_layers: int | None = None
    """Lower layers that keep their pretrained weights, the table of tokens with them. Not said: half of a
    pretrained encoder on a CPU, none where entities are to be found, or elsewhere."""
    adapter: Literal["none", "lora", "dora"] = "none"
    """What learns in the layers of a pretrained network. none: their own weights. lora: a pair of narrow matrices
    beside each of their matrices, and nothing else but the head; dora: these and the lengths of the rows as well. Far
    less memory, small checkpoints; at the end the model is an ordinary one."""
    adapter_rank: int = 8
    """How narrow these matrices are: their inner size, the r of the paper."""
    reinitialised_layers: int = 0
    """Upper layers that lose their pretrained weights and begin from random ones (Zhang et al. 2021): steadier where
    rows are few."""
    wide: bool = True
    """Put a linear model of character n-grams beside the network where the validation rows gain by it."""
    augment: bool = True
    """Show inputs a little changed each time, where the task knows how: pictures shifted and flipped."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 where the processor multiplies it in hardware."""
    compile: bool = False
    """Let torch.compile make fewer, larger operators of a step; it needs a C++ compiler. For long runs on a graphics
    processor: it takes minutes before the first step (273 s for 12 layers on two cores, whose steps gained 7 %). Not
    with `sharding: full`."""
    device: str = "auto"
    """auto, cpu, cuda or mps. auto: a graphics processor where there is one."""
    workers: int | None = None
    """Processes that learn one network together, each on a device of its own; every batch is shared among them, so the
    recipe stays the same and its losses too. Not said: those that torchrun has started; else one for each graphics
    processor, one without any, or where the loss is contrastive."""
    sharding: Literal["none", "full"] = "none"
    """none: each worker has the whole network. full: each keeps a share of every weight, of its gradient and its
    moments, for networks that one device cannot hold; with adamw, adam, sgd or lion."""
    cluster: Literal["local", "ray"] = "local"
    """Where the workers run: on this machine, or on those of a Ray cluster, which RAY_ADDRESS names and which see the
    project's folder under the same path."""
    evaluations: int = 2
    """How often in an epoch the validation score is taken, and the best weights kept; at most 100 times in all."""
    patience: int | None = None
    """Stop after so many evaluations without a better score. Not said: 4 from pretrained weights, 20 from
    random ones."""
    watts: float | None = None
    """What this machine draws at work, for the energy that training takes. Not said: 10 W for each core in use and 400
    W for a graphics processor, a rough figure."""
    price_per_hour: float = 0.0
    """What an hour on this machine costs, in any currency, for the money that training costs. 0: it is not told."""
    trackers: list[Literal["tensorboard", "mlflow", "wandb"]] = field(default_factory=list)
    """Who else keeps the curves and scores of the run, below runs/tracking: tensorboard, mlflow, wandb. Nothing leaves
    the machine unless MLFLOW_TRACKING_URI, WANDB_API_KEY or WANDB_MODE say so."""

def check(settings: TrainSettings, task: Task[Any, Any]) -> None:
    """Raises ConfigError where a value cannot be meant, or the task knows no such loss."""
    bounds = {
        "warmup": (0 <= settings.warmup <= 1, tr("from 0 to 1")),
        "dropout": (0 <= settings.dropout < 1, tr("at least 0 and below 1")),
        "weight_decay": (settings.weight_decay >= 0, tr("at least 0")),
        "layer_decay": (0 < settings.layer_decay <= 1, tr("above 0 and at most 1")),
        "reinitialised_layers": (settings.reinitialised_layers >= 0, tr("at least 0")),
        "adapter_rank": (settings.adapter_rank >= 1, tr("at least 1")),
        "watts": (_is_above_0(settings.watts), tr("above 0")),
        "price_per_hour": (settings.price_per_hour >= 0, tr("at least 0")),
        "workers": (settings.workers is None or settings.workers >= 1, tr("at least 1")),
        "accumulate": (settings.accumulate >= 1, tr("at least 1")),
        "clip": (settings.clip >= 0, tr("at least 0")),
        "ema": (0 <= settings.ema < 1, tr("at least 0 and below 1")),
        "average": (settings.average >= 0, tr("at least 0")),
        "label_smoothing": (0 <= (settings.label_smoothing or 0) < 1, tr("at least 0 and below 1")),
        "contrastive_share": (0 <= (settings.contrastive_share or 0) <= 1, tr("from 0 to 1")),
        "contrastive_temperature": (_is_above_0(settings.contrastive_temperature), tr("above 0")),
    }
    for name, (is_within, words) in bounds.items():
        if not is_within:
            message = tr("train.{name} is {value}; it must be {range}.")
            told = message.format(name=name, value=getattr(settings, name), range=words)
            raise ConfigError(told, code="config.range")
    if settings.adapter != "none" and settings.reinitialised_layers:
        message = tr("train.adapter is {adapter}, but {count} layers are to be drawn anew.")
        hint = tr("Such layers have to learn whole: leave out train.adapter or train.reinitialised_layers.")
        told = message.format(adapter=settings.adapter, count=settings.reinitialised_layers)
        raise ConfigError(told, code="train.adapter", hint=hint)
    _check_loss(settings, task)
    if settings.sharding == "full" and settings.compile:
        message = tr("train.compile does not go with train.sharding full, which changes layers while they are used.")
        raise ConfigError(message, code="train.sharding", hint=tr("Leave one of the two out."))
    if settings.sharding == "full" and settings.optimizer in ("adafactor", "muon"):
        message = tr("train.sharding full does not go with the optimizer {name}, which wants whole matrices.")
        hint = tr("Take adamw, adam, sgd or lion.")
        raise ConfigError(message.format(name=settings.optimizer), code="train.sharding", hint=hint)


def _check_loss(settings: TrainSettings, task: Task[Any, Any]) -> None:
    own = settings.loss == "auto"
    if not own and settings.loss not in task.losses:
        message = tr("The task {task} cannot be trained with the loss {loss}.")
        known = tr("Known: {names}.").format(names=", ".join(("auto", *task.losses)))
        raise ConfigError(message.format(task=task.name, loss=settings.loss), code="train.loss", hint=known)
    chosen = task.losses[0] if own and task.losses else settings.loss
    for name, (loss, _) in LOSS_PARTS.items():
        if getattr(settings, name) is not None and chosen != loss:
            message = tr("train.{name} is said, but the loss is {loss}.").format(name=name, loss=chosen)
            hint = tr("Say train.loss: {loss} as well, or leave it out.").format(loss=loss)
            raise ConfigError(message, code="train.loss", hint=hint)
    check_workers(settings.workers or 1, chosen)


def check_workers(count: int, loss: str) -> None:
    """Raises ConfigError where so many cannot share a batch."""
    if loss in COMPARING and count > 1:
        message = tr("The loss {loss} compares the rows of a batch, which several workers would not see together.")
        hint = tr("Let one process learn, or choose another loss.")
        raise ConfigError(message.format(loss=loss), code="train.loss", hint=hint)


def _is_above_0(value: float | None) -> bool:
    return value is None or value > 0


SETTINGS = TrainSettings
LOSS_PARTS = {
    "label_smoothing": ("label_smoothing", "smoothing"), "contrastive_share": ("contrastive", "contrast"),
    "contrastive_temperature": ("contrastive", "closeness"),
}  # fmt: skip
"""Settings of one loss alone: of which, and what an Objective calls them."""
COMPARING = ("contrastive",)
"""Losses that look at rows side by side: a batch cannot be shared among processes."""
TOLD_ONLY = ("watts", "price_per_hour", "trackers")
"""What these say changes no result."""


def deciding(settings: TrainSettings) -> dict[str, Any]:
    """Those that make another Bundle, for its recipe. JSON types."""
    told = msgspec.to_builtins(settings)
    return {name: value for name, value in told.items() if name not in TOLD_ONLY}
