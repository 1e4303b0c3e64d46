"""Settings of `compress`."""

from __future__ import annotations

from dataclasses import dataclass, field


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
    vocabulary: int = 30_000
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
    """Layers of a student that learns to answer as the trained network does. Not said: a third of its layers, and only
    where no other candidate keeps the contract's latency and size. 0: none."""
    distill_minutes: float = 8.0
    """How long it learns."""
    candidates: list[str] = field(default_factory=list)
    """Which to try: vocabulary, onnx, onnx-int8, openvino, openvino-bf16, openvino-w8, openvino-int8, and
    distilled, distilled-onnx, distilled-onnx-int8, distilled-openvino, distilled-openvino-int8. Empty: all."""


SETTINGS = CompressSettings
