"""Settings of `train`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSettings:
    epochs: int = 3
    """Passes over the training rows at most; a budget may allow fewer."""
    learning_rate: float = 1e-4
    """Peak rate of AdamW, reached after the warm-up and then falling to 0."""
    warmup: float = 0.06
    """Share of all steps in which the rate rises."""
    head_factor: float = 10.0
    """The new head learns so many times faster than what was pretrained."""
    dropout: float = 0.0
    """In all layers. Off by default: a few epochs hardly overfit, and on a CPU drawing its random numbers costs a
    third of the time (1,456 tokens/s without, 953 with 0.1)."""
    weight_decay: float = 0.01
    tokens_per_batch: int = 1024
    """Padded tokens of a batch. On a CPU small batches stay in its cache: 1,024 is faster than 16,384."""
    max_length: int = 128
    """Tokens of the longest input; of longer ones the beginning and the end are read."""
    frozen_layers: int | None = None
    """Lower layers that keep their pretrained weights, the table of tokens with them. Not said: half of a
    pretrained encoder on a CPU, none elsewhere."""
    wide: bool = True
    """Put a linear model of character n-grams beside the network where the validation rows gain by it."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 where the processor multiplies it in hardware."""
    device: str = "auto"
    evaluations: int = 2
    """How often in an epoch the validation score is taken, and the best weights kept."""
    patience: int = 4
    """Stop after so many evaluations without a better score."""


SETTINGS = TrainSettings
