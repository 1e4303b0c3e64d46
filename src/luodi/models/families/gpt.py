"""GPT: a causal decoder (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners": GPT-2).

Sizes from base on are those of the paper (base is its smallest); below, heads are 64 wide and the feed-forward is four
times the width, as in BERT's small sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from luodi.backends.tokenizers import train_writer
from luodi.core.task import Processor

VOCABULARY = 6000  # of a tokenizer trained on the user's own texts
POSITIONS = 1024
SHAPES = {  # layers, width
    "tiny": (2, 128), "mini": (4, 256), "small": (6, 384), "base": (12, 768), "medium": (24, 1024),
}  # fmt: skip

SIZES: Mapping[str, Mapping[str, Any]] = {
    size: {
        "model_type": "gpt2",
        "vocab_size": VOCABULARY,
        "n_layer": layers,
        "n_embd": width,
        "n_head": width // 64,
        "n_positions": POSITIONS,
        "activation_function": "gelu_pytorch_tanh",  # the same formula as one kernel
        "bos_token_id": None,
        "eos_token_id": None,
    }
    for size, (layers, width) in SHAPES.items()
}


def processor(config: Mapping[str, Any], corpus: Iterable[str]) -> Processor:
    """A tokenizer trained on these texts."""
    return train_writer(corpus, vocabulary=int(config["vocab_size"]))
