"""Where needs lie on the map: such as are alike near one another, none upon another."""

from __future__ import annotations

import numpy as np

from luodi.core.types import Array, Floats

HEIGHT = 0.56
"""Of the map; it is 1 wide."""
_FILLED = 0.3
"""Share of the map that circles cover together."""
_SMALLEST, _GAP = 0.01, 0.008
_ROUNDS, _STEP = 600, 0.35


def place_needs(centres: Array, sizes: Floats) -> Floats:
    """k x 2, from 0 to 1 and from 0 to HEIGHT. `centres`: k x d; `sizes`: k shares. The two directions in which needs
    differ most (principal components), spread evenly, then moved apart as far as their circles ask; the same for the
    same needs."""
    box = np.array([1.0, HEIGHT])
    if len(centres) == 1:
        return box[None] / 2
    radii = radius(sizes)[:, None]
    places: Floats = np.clip(_even(_flat(centres, sizes)) * box, radii, box - radii)
    for _ in range(_ROUNDS):
        gaps = places[:, None] - places[None]
        far = np.linalg.norm(gaps, axis=2) + 1e-9
        lap = np.maximum(radii + radii.T + _GAP - far, 0)
        np.fill_diagonal(lap, 0)
        if lap.max() < _GAP / 2:
            break
        pushed = places + _STEP * ((lap / far)[:, :, None] * gaps).sum(1)
        places = np.clip(pushed, radii, box - radii)
    return places


def radius(sizes: Floats) -> Floats:
    """Of circles whose area is the share."""
    shares = sizes / max(float(sizes.sum()), 1e-9)
    found: Floats = np.maximum(np.sqrt(shares * _FILLED * HEIGHT / np.pi), _SMALLEST)
    return found


def _flat(centres: Array, sizes: Floats) -> Floats:
    weights = np.maximum(sizes, 1e-9)
    moved = centres - np.average(centres, axis=0, weights=weights)
    _, _, directions = np.linalg.svd(moved * np.sqrt(weights)[:, None], full_matrices=False)
    flat: Floats = np.zeros((len(centres), 2))
    flat[:, : len(directions[:2])] = moved @ directions[:2].T
    # The sign of a direction is any; the largest need lies to the left and below.
    flat *= np.where(flat[sizes.argmax()] > 0, -1.0, 1.0)
    return flat


def _even(flat: Floats) -> Floats:
    """Half where they are, half by their order: a few far off would press all others into a spot."""
    ranks = flat.argsort(0, kind="stable").argsort(0, kind="stable") / max(len(flat) - 1, 1)
    span = np.maximum(flat.max(0) - flat.min(0), 1e-9)
    found: Floats = 0.5 * ranks + 0.5 * (flat - flat.min(0)) / span
    return found
