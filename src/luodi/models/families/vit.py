"""ViT: pictures as sequences of patches (Dosovitskiy et al. 2021, arXiv:2010.11929).

Sizes from base on are the paper's, the smaller ones those of DeiT (Touvron et al. 2021, arXiv:2012.12877) and, below
tiny, one for pictures of a few hundred pixels. Patches become smaller with the picture: 16 x 16 of 224 x 224, 4 x 4 of
32 x 32, 2 x 2 of 8 x 8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from luodi.core.task import Processor
from luodi.models.pixels import fit_processor

LARGEST = 64
"""Pixels a side that random weights are begun with: larger pictures would want far more rows, and time."""
SHAPES = {  # layers, width, heads
    "micro": (4, 96, 3), "tiny": (12, 192, 3), "small": (12, 384, 6), "base": (12, 768, 12), "large": (24, 1024, 16),
}  # fmt: skip


def sizes(shapes: Mapping[str, tuple[int, int, int]]) -> Mapping[str, Mapping[str, Any]]:
    return {
        size: {
            "model_type": "vit",
            "num_hidden_layers": layers,
            "hidden_size": width,
            "num_attention_heads": heads,
            "intermediate_size": 4 * width,
        }
        for size, (layers, width, heads) in shapes.items()
    }


SIZES: Mapping[str, Mapping[str, Any]] = sizes(SHAPES)


def processor(config: Mapping[str, Any], corpus: Iterable[Any]) -> Processor:
    """Sizes, means and spreads of these pictures."""
    return fit_processor(corpus, most=LARGEST)
