"""ViT_C: a ViT whose patches are cut by convolutions (Xiao et al. 2021, arXiv:2106.14881), one layer fewer for them.

The one to begin with where there are thousands of pictures, not millions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luodi.models.families import vit
from luodi.models.stem import STEM

SHAPES = {  # layers, width, heads
    "micro": (4, 128, 4), "tiny": (11, 192, 3), "small": (11, 384, 6), "base": (11, 768, 12),
}  # fmt: skip

SIZES: Mapping[str, Mapping[str, Any]] = {size: {**told, STEM: True} for size, told in vit.sizes(SHAPES).items()}

processor = vit.processor
