"""Where the layers look, by the parts of an input. A picture of how the network works, and no proof of what decides:
what attention names is held against random orders like any other reason."""

from __future__ import annotations

from typing import Any

import numpy as np

from luodi.core.bundle import Bundle
from luodi.core.types import Array, Floats, X, Y
from luodi.errors import InputError
from luodi.messages import tr
from luodi.stages.explain.attribution import Question
from luodi.stages.explain.explain import Explained
from luodi.stages.explain.faithfulness import judge

MOST_DRAWN = 40
"""Parts of which whole layers are drawn; of more, only what arrives in the end."""


def attention(bundle: Bundle[X, Y], explained: Explained[X, Y], orders: int) -> dict[str, Any]:
    """For the page: what of each part arrives (`rollout`), whether that is better than chance, and each layer as parts
    x parts. Raises InputError where the network does not tell."""
    if not bundle.manifest.can_learn:
        message = tr("A compressed Bundle does not show its attention.")
        hint = tr("Name the project or the trained Bundle.")
        raise InputError(message, code="explain.attention", hint=hint)
    owners = bundle.task.owners(explained.value, bundle.processor)
    from luodi.models.attention import attention_maps, rollout

    engine: Any = bundle.engine
    item = bundle.task.encode([explained.value], bundle.processor)[0]
    maps = attention_maps(engine, bundle.task, item)
    if not maps.size:
        message = tr("This network does not show its attention.")
        raise InputError(message, code="explain.attention", hint=tr("Leave out --attention."))
    regions = {region: place for place, unit in enumerate(explained.units) for region in unit.regions}
    places = np.array([regions.get(int(r), -1) for r in _positions(owners, maps.shape[-1])])
    count = len(explained.units)
    arrives = np.bincount(places[places >= 0], rollout(maps)[places >= 0], minlength=count).astype(np.float64)
    question = Question(bundle=bundle, value=explained.value, units=explained.units, answer=explained.answer)
    faithful = judge(question.ask, arrives, orders, search=False)
    drawn = [_by_parts(layer.mean(0), places, count).tolist() for layer in maps] if count <= MOST_DRAWN else []
    return {
        "rollout": [float(v) for v in arrives / max(float(arrives.sum()), 1e-12)], "layers": drawn,
        "heads": int(maps.shape[1]), "is_believed": bool(faithful and faithful.is_better),
    }  # fmt: skip


def _positions(owners: Array, size: int) -> Array:
    """The region of each position. Of a picture (H x W) that of the middle of each patch, row by row; a first position
    beyond the patches is the network's own."""
    if owners.ndim == 1:
        return owners
    side = int(size**0.5)
    middles = [((np.arange(side) + 0.5) * length / side).astype(int) for length in owners.shape]
    patches = owners[np.ix_(*middles)].ravel()
    return np.concatenate([np.full(size - side * side, -1), patches])


def _by_parts(layer: Floats, places: Array, count: int) -> Floats:
    """T x T to parts x parts: what a part takes of another one is the mean over its positions of the sum over those of
    the other."""
    belongs = (places[:, None] == np.arange(count)[None, :]).astype(np.float64)  # T x parts
    sizes = np.maximum(belongs.sum(0), 1.0)
    return np.asarray((belongs.T @ layer @ belongs) / sizes[:, None])
