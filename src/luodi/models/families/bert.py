"""BERT: a bidirectional encoder (Devlin et al. 2019, arXiv:1810.04805).

Sizes below base are those of Turc et al. 2019 (arXiv:1908.08962): heads are 64 wide, the feed-forward is
four times the width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from luodi.backends.tokenizers import train_processor
from luodi.core.task import Processor

VOCABULARY = 8000  # of a tokenizer trained on the user's own texts
SHAPES = {  # layers, width
    "tiny": (2, 128), "mini": (4, 256), "small": (4, 512), "medium": (8, 512), "base": (12, 768), "large": (24, 1024),
}  # fmt: skip

SIZES: Mapping[str, Mapping[str, Any]] = {
    size: {
        "model_type": "bert",
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
