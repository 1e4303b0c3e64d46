"""LLaMA: a causal decoder with rotary positions, RMSNorm and SwiGLU (Touvron et al. 2023, arXiv:2302.13971).

Heads are 64 wide; the feed-forward is 8/3 of the width, as in the paper, since SwiGLU has three matrices where others
have two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from luodi.backends.tokenizers import train_writer
from luodi.core.task import Processor

VOCABULARY = 6000  # of a tokenizer trained on the user's own texts
SHAPES = {  # layers, width
    "tiny": (2, 128), "mini": (4, 256), "small": (6, 384), "base": (12, 768),
}  # fmt: skip

SIZES: Mapping[str, Mapping[str, Any]] = {
    size: {
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": width // 64,
        "num_key_value_heads": width // 64,
        "intermediate_size": width * 8 // 3 // 32 * 32,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    for size, (layers, width) in SHAPES.items()
}


def processor(config: Mapping[str, Any], corpus: Iterable[str]) -> Processor:
    """A tokenizer trained on these texts."""
    return train_writer(corpus, vocabulary=int(config["vocab_size"]))
