"""What a search tries: few settings, each because it often decides.

    from pretrained weights
        learning_rate     what matters most in fine-tuning (Mosbach et al. 2021, arXiv:2006.04884)
        epochs            few rows want more passes, many want fewer; not where a budget says how long
        frozen_layers     which layers may change: the most of what training costs, and often a point of the score
        layer_decay       how much lower layers keep of what was pretrained (Clark et al. 2020, arXiv:2003.10555)
        tokens_per_batch  the noise of a step; with the rate it decides how far a run comes
        loss              classes that are rare, labels that are wrong
    from random weights
        learning_rate     as above, on a larger scale
        dropout           random weights learn by heart what few rows say
        weight_decay      likewise, over thousands of steps; over the hundreds of fine-tuning, at a tenth of the rate,
                          it takes a thousandth off the weights, and is left alone
        tokens_per_batch  as above
        loss              as above

Not searched: what costs no score but time or memory, optimiser and schedule, whose rates would be other ones, and the
contrastive loss, whose two settings would have to be searched with it.
What the page or the command line says stays as it is said.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any

import torch

from luodi.backends.optuna import Knob, Value
from luodi.backends.transformers import build_encoder
from luodi.core.config import Brief
from luodi.core.task import Base, GenerativeTask, Task
from luodi.models.frozen import num_layers
from luodi.models.source import resolve
from luodi.stages.train.choices import usual_frozen
from luodi.stages.train.config import COMPARING, LOSS_PARTS, TrainSettings
from luodi.stages.train.optimizers import default_rate
from luodi.stages.train.precision import choose_device

RATE_SPAN = 5.0
"""The rate is tried from a fifth of the default to five times as much: 2e-5 to 5e-4 for AdamW from pretrained weights,
which holds all that the papers of BERT and its kind recommend."""
_BOUND_BY = {"epochs": ("budget",), "loss": tuple(LOSS_PARTS), "frozen_layers": ("reinitialised_layers",)}
"""A setting that is not searched where another one is said."""


def find_knobs(task: Task[Any, Any], brief: Brief, settings: TrainSettings, said: Collection[str]) -> tuple[Knob, ...]:
    """`said`: names of the settings that the page or the command line says. None where it says all of them."""
    base = resolve(brief.model, task.default_model)
    plain = TrainSettings()
    changed = {f.name for f in fields(plain) if getattr(settings, f.name) != getattr(plain, f.name)}
    told = {*said, *changed, *(("budget",) if brief.budget else ())}
    rate = default_rate(settings.optimizer, is_pretrained=base.is_pretrained)
    both = (
        Knob(name="learning_rate", default=rate, low=rate / RATE_SPAN, high=rate * RATE_SPAN),
        Knob(name="tokens_per_batch", default=settings.tokens_per_batch, choices=(512, 1024, 2048)),
    )
    own = _of_pretrained(task, base, settings) if base.is_pretrained else _of_random(settings)
    names = tuple(name for name in task.losses if name not in COMPARING)
    losses = Knob(name="loss", default=names[0], choices=names) if len(names) > 1 else None
    found = (*both, *own, *((losses,) if losses else ()))
    return tuple(k for k in found if not told & {k.name, *_BOUND_BY.get(k.name, ())})


def lay_settings(settings: TrainSettings, knobs: Collection[Knob], values: Mapping[str, Value]) -> TrainSettings:
    """With what differs from the defaults laid over them: the defaults are the page's own settings, untouched."""
    return replace(settings, **differing(knobs, values))  # type: ignore[arg-type]


def differing(knobs: Collection[Knob], values: Mapping[str, Value]) -> dict[str, Value]:
    return {k.name: values[k.name] for k in knobs if values[k.name] != k.default}


def dearest(knobs: Collection[Knob]) -> dict[str, Value]:
    """The values with which training takes longest."""
    return {k.name: k.default if k.dearest is None else k.dearest for k in knobs}


def _of_pretrained(task: Task[Any, Any], base: Base, settings: TrainSettings) -> tuple[Knob, ...]:
    usual = task.default_epochs
    epochs = Knob(name="epochs", default=usual, choices=((usual + 1) // 2, usual, 2 * usual), dearest=2 * usual)
    decay = Knob(name="layer_decay", default=settings.layer_decay, choices=(0.8, 0.9, 1.0))
    if isinstance(task, GenerativeTask):  # a decoder has no layers that can be frozen
        return (epochs, decay)
    with torch.device("meta"):  # its form without its weights
        count = num_layers(build_encoder(base.config))
    if count < 2:
        return (epochs, decay)
    frozen = usual_frozen(task, count) if choose_device(settings.device) == "cpu" else 0
    quarters = {count * quarter // 4 for quarter in range(4)}
    layers = Knob(name="frozen_layers", default=frozen, choices=tuple(sorted({*quarters, frozen})), dearest=0)
    return (epochs, layers, decay)


def _of_random(settings: TrainSettings) -> tuple[Knob, ...]:
    return (
        Knob(name="dropout", default=settings.dropout, choices=(0.0, 0.1, 0.2, 0.3)),
        Knob(name="weight_decay", default=settings.weight_decay, low=0.001, high=0.3),
    )
