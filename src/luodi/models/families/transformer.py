"""Transformer: the encoder of the paper that named it (Vaswani et al. 2017, arXiv:1706.03762), built from our own
readable code, `models/transformer.py`: post-norm, ReLU, sinusoidal positions.

base is the paper's base model; below it heads stay 64 wide and the feed-forward four times the width, as there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from luodi.backends.tokenizers import train_processor
from luodi.core.task import Processor
from luodi.errors import ConfigError
from luodi.messages import tr

if TYPE_CHECKING:  # names and sizes are read where no torch is
    from torch.nn import Module

VOCABULARY = 8000  # of a tokenizer trained on the user's own texts
SHAPES = {"tiny": (2, 128), "mini": (4, 256), "small": (4, 512), "base": (6, 512)}  # layers, width

SIZES: Mapping[str, Mapping[str, Any]] = {
    size: {
        "model_type": "transformer",
        "vocab_size": VOCABULARY,
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": width // 64,
        "intermediate_size": 4 * width,
    }
    for size, (layers, width) in SHAPES.items()
}


def processor(config: Mapping[str, Any], corpus: Iterable[str]) -> Processor:
    """A tokenizer trained on these texts."""
    return train_processor(corpus, vocabulary=int(config["vocab_size"]))


def encoder(config: Mapping[str, Any]) -> Module:
    """With random weights."""
    from luodi.models.transformer import Shape, TextEncoder

    told = {key: value for key, value in config.items() if key != "model_type"}
    return TextEncoder(Shape(**told, fused=True))


def decoder(config: Mapping[str, Any]) -> Module:
    """Raises ConfigError: the paper's decoder writes an answer to a source; to go on with a text is what causal ones
    are for."""
    message = tr("The family {family} reads texts and does not go on writing them.")
    hint = tr("Take a family that writes: {names}.").format(names="gpt:tiny, llama:tiny")
    raise ConfigError(message.format(family=config["model_type"]), code="config.model", hint=hint)
