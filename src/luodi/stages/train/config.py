"""Settings of `train`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSettings:
    epochs: int | None = None
    """Passes over the training rows at most; a budget may allow fewer. Not said: 3 from pretrained weights (5 where
    entities are to be found); from random ones 40, or as many as make 3,000 steps."""
    learning_rate: float | None = None
    """Peak rate of AdamW, reached after the warm-up and then falling to 0. Not said: 1e-4 from pretrained weights, 1e-3
    from random ones."""
    warmup: float = 0.06
    """Share of all steps in which the rate rises."""
    head_factor: float = 10.0
    """The new head learns so many times faster than what was pretrained."""
    dropout: float = 0.0
    """In all layers. Off by default: a few epochs hardly overfit, and on a CPU drawing its random numbers costs a
    third of the time (1,456 tokens/s without, 953 with 0.1)."""
    weight_decay: float = 0.01
    """AdamW's decay of the weights (Loshchilov and Hutter 2019)."""
    tokens_per_batch: int = 1024
    """Padded tokens of a batch. On a CPU small batches stay in its cache: 1,024 is faster than 16,384."""
    max_length: int | None = None
    """Positions (tokens) of the longest input; longer ones are cut as their task sees fit. Not said: the task's own
    length, 128 for the classification of texts."""
    frozen_layers: int | None = None
    """Lower layers that keep their pretrained weights, the table of tokens with them. Not said: half of a
    pretrained encoder on a CPU, none elsewhere."""
    wide: bool = True
    """Put a linear model of character n-grams beside the network where the validation rows gain by it."""
    augment: bool = True
    """Show inputs a little changed each time, where the task knows how: pictures shifted and flipped."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 where the processor multiplies it in hardware."""
    device: str = "auto"
    """auto, cpu, cuda or mps. auto: a graphics processor where there is one."""
    evaluations: int = 2
    """How often in an epoch the validation score is taken, and the best weights kept; at most 100 times in all."""
    patience: int | None = None
    """Stop after so many evaluations without a better score. Not said: 4 from pretrained weights, 20 from
    random ones."""


SETTINGS = TrainSettings
