"""Settings of `compress`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from luodi.core.config import did_you_mean
from luodi.core.task import GenerativeTask, Task
from luodi.errors import ConfigError, UsageError
from luodi.messages import tr


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressSettings:
    max_loss: float = 0.01
    """Largest loss of the deciding score, on the validation set, that a candidate may bring; of mae and rmse, which
    grow with the unit of the numbers, a share."""
    max_slice_loss: float = 0.02
    """The same for the worst slice, where the loss there is not chance."""
    min_agreement: float = 0.95
    """Smallest share of a candidate's answers on validation examples (labels, entities) that are those of the trained
    model. Numbers are the same where they lie less than a tenth of the training answers' spread apart."""
    threads: int | None = None
    """Threads for timing; all of the machine's where not said."""
    vocabulary: int = 20_000
    """Pieces of the vocabulary that are kept; all that your data needs are kept even where they are more."""
    calibration: int = 150
    """Training inputs on which the ranges of int8 are measured."""
    scored: int = 1_500
    """Validation examples that candidates are scored on, drawn by chance where there are more: a paired difference of
    a point can be told with so many. The winner is confirmed on the whole test set."""
    timed: int = 48
    """Validation inputs that are timed, spread evenly over short and long ones."""
    rounds: int = 5
    """How often each of them is timed, candidates taking turns."""
    distill: int | None = None
    """Layers of a student that learns to answer as the trained network does. Not said: so many as the contract's limits
    on time, memory and size seem to allow, and only where no other candidate keeps them. 0: none."""
    prune: float | None = None
    """Share of attention heads and of feed-forward units that a student keeps, those that matter most; 0.75 is where to
    begin. Not said: as `distill`. 1: all."""
    low_rank: float | None = None
    """Share of the weights in its layers that a student keeps whose layers are products of lower rank: of all layers,
    or of the student that `distill` or `prune` makes. It costs more of the score than `prune` does at the same speed,
    so it is tried only where it is said. 1: all."""
    distill_minutes: float = 8.0
    """Minutes that each student learns. Where limits lead to students, up to three are tried, one after another."""
    target: dict[str, float] = field(default_factory=dict)
    """Limits from above for this verb alone, in place of the contract's: {p95_ms: 10, size_mb: 30}. Also memory_mb and
    cost_per_million."""
    price_per_hour: float = 0.0
    """Of this machine, in your currency: says what a million answers cost."""
    candidates: list[str] = field(default_factory=list)
    """Which to try: vocabulary, onnx, onnx-int8, onnx-w8 and onnx-w4 (for networks that write), openvino,
    openvino-bf16, openvino-w8, openvino-int8; torchao-int8, where torchao is installed; distilled (fewer layers),
    pruned (narrower ones) and low-rank, each also followed by -onnx, -onnx-int8, -openvino, -openvino-int8. Empty: all
    of these. Files for llama.cpp are made only where they are named: gguf, gguf-int8, gguf-int4."""


SETTINGS = CompressSettings
LOWER, NARROWER = "distilled", "pruned"
"""What a student of fewer layers is called, and one that keeps them all."""
FAMILIES = (LOWER, NARROWER, "low-rank")
"""Of students; their other forms are called after them."""
TARGETS = ("p95_ms", "size_mb", "memory_mb", "cost_per_million")


def check(settings: CompressSettings, task: Task[Any, Any]) -> None:
    """Raises ConfigError where a target is unknown, a share is none or a format is for other tasks."""
    if set(settings.candidates) & set(FORMATS["gguf"]) and not isinstance(task, GenerativeTask):
        message = tr("GGUF files hold networks that write text; the task here is {task}.").format(task=task.name)
        raise ConfigError(message, code="config.candidate", hint=tr("Take onnx or openvino."))
    for name, most in settings.target.items():
        if name not in TARGETS:
            message = tr("compress.target has no limit called {name}.").format(name=name)
            raise ConfigError(message, code="config.target", hint=did_you_mean(name, TARGETS))
        if most <= 0:
            message = tr("compress.target.{name} is {value:g}; it must be above 0.").format(name=name, value=most)
            raise ConfigError(message, code="config.value", hint=tr("Name a limit that a model could keep."))
    for name, share in (("prune", settings.prune), ("low_rank", settings.low_rank)):
        if share is not None and not 0 < share <= 1:
            message = tr("compress.{name} is {value:g}; it must be above 0 and at most 1.")
            hint = tr("0.75 keeps three quarters of what there is.")
            raise ConfigError(message.format(name=name, value=share), code="config.value", hint=hint)


def asked(to: str, target: str) -> list[str]:
    """Settings that the flags --to and --target stand for. Raises UsageError."""
    told = []
    for word in filter(None, target.split(",")):
        name, sign, value = word.partition("=")
        if not sign or not name.strip() or not value.strip():
            message = tr("--target is {text}; write it like p95_ms=10,size_mb=30.").format(text=target)
            hint = tr("Known: {names}.").format(names=", ".join(TARGETS))
            raise UsageError(message, code="usage.compress", hint=hint)
        told.append(f"compress.target.{name.strip()}={value.strip().removeprefix('<=')}")
    if to and to not in FORMATS:
        message = tr("There is no format {name} to compress to.").format(name=to)
        raise UsageError(message, code="usage.compress", hint=did_you_mean(to, FORMATS))
    return [*told, f"compress.candidates=[{', '.join(FORMATS[to])}]"] if to else told


def _in_format(name: str, *more: str) -> tuple[str, ...]:
    families = ("", *(f"{family}-" for family in FAMILIES))
    return ("vocabulary", *(f"{family}{name}{end}" for family in families for end in ("", "-int8")), *more)


FORMATS: Mapping[str, tuple[str, ...]] = {
    "onnx": _in_format("onnx", "onnx-w8", "onnx-w4"),
    "openvino": _in_format("openvino", "openvino-bf16", "openvino-w8"),
    "gguf": ("gguf", "gguf-int8", "gguf-int4"),
}  # fmt: skip
"""Format to the candidates of its engine."""
