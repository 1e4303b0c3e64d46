"""Tables that were packed into 4 bits before they came here, and have not learned since: they are packed again as they
were, without loss.

Packaged encoders come so (`models.packaged`), and a frozen table of tokens stays so. 16 values with a common scale to
32 neighbours are an eighth of fp32, and a little more than half of int8, which would be another table.
"""

from __future__ import annotations

import numpy as np

from luodi.core.types import Array

BLOCK = 32
NEAR = 1e-3
"""Of a block's largest weight: weights were rounded to float16 when they were multiplied out."""


def in_bytes(places: Array) -> Array:
    """Numbers from 0 to 15, two to a byte along the last axis, the first in its lower half."""
    made: Array = places[..., 0::2] | places[..., 1::2] << 4
    return made


def packed(table: Array) -> tuple[Array, Array] | None:
    """Whole numbers from -8 to 7, rows x blocks x 32, and their scales, rows x blocks, in float16. None where that
    would be another table."""
    rows, width = table.shape
    if width % BLOCK:
        return None
    apart = table.reshape(rows, -1, BLOCK).astype(np.float32)
    top = np.maximum(np.abs(apart).max(-1, keepdims=True), 1e-12)
    found, scales = np.zeros(apart.shape, np.int8), np.zeros(top.shape, np.float16)
    is_open = np.ones(top.shape, bool)
    # What the largest weight of a block may be in steps. A scale may be below 0, so that 8 of them are held as well.
    for largest in (*range(1, 9), -8):
        steps = np.clip(np.rint(apart / (top / largest)), -8, 7)
        # Of all weights of the block together: each was rounded by itself.
        scale = (apart * steps).sum(-1, keepdims=True) / np.maximum((steps * steps).sum(-1, keepdims=True), 1)
        half = scale.astype(np.float16)
        fits = is_open & (np.abs(apart - steps * half.astype(np.float32)).max(-1, keepdims=True) <= NEAR * top)
        found = np.where(fits, steps.astype(np.int8), found)
        scales = np.where(fits, half, scales)
        is_open &= ~fits
        if not is_open.any():
            return found, scales[..., 0]
    return None
