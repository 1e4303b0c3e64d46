"""Two texts that belong together: a question and its context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luodi.core.modality import Modality, Predictor
from luodi.core.types import Array, Floats
from luodi.errors import DataError
from luodi.modalities.text import Text

TEXT = Text()
Texts = tuple[str, str]


class Pair(Modality[Texts]):
    def decode(self, wire: Any) -> Texts:
        if not isinstance(wire, (list, tuple)) or len(wire) != 2:
            raise DataError("A pair is a list of two texts.", code="toys.pair")
        return TEXT.decode(wire[0]), TEXT.decode(wire[1])

    def encode(self, value: Texts) -> list[str]:
        return list(value)

    def schema(self) -> Mapping[str, Any]:
        return {"type": "array", "items": TEXT.schema(), "minItems": 2, "maxItems": 2}

    def fingerprint(self, value: Texts) -> str:
        return TEXT.fingerprint(value[0]) + TEXT.fingerprint(value[1])

    def feature_names(self) -> tuple[str, ...]:
        return tuple(f"{part}_{name}" for part in ("question", "context") for name in TEXT.feature_names())

    def features(self, value: Texts) -> Floats:
        return np.concatenate([TEXT.features(value[0]), TEXT.features(value[1])])

    def regions(self, value: Texts) -> Sequence[str]:
        return [*TEXT.regions(value[0]), *TEXT.regions(value[1])]

    def hide(self, value: Texts, regions: Sequence[int]) -> Texts:
        n = len(TEXT.regions(value[0]))
        first, second = [r for r in regions if r < n], [r - n for r in regions if r >= n]
        return TEXT.hide(value[0], first), TEXT.hide(value[1], second)

    def perturb(self, value: Texts, rng: np.random.Generator) -> Texts:
        return TEXT.perturb(value[0], rng), value[1]

    def pieces(self, value: Texts) -> Array:
        return np.union1d(TEXT.pieces(value[0]), TEXT.pieces(value[1]))

    def slices(self, value: Texts) -> Mapping[str, str]:
        return TEXT.slices(value[1])

    def baseline(self, inputs: Sequence[Texts], targets: Sequence[str], *, seed: int) -> tuple[str, Predictor[Texts]]:
        name, predict = TEXT.baseline([" ".join(pair) for pair in inputs], targets, seed=seed)
        return name, lambda pairs: predict([" ".join(pair) for pair in pairs])
