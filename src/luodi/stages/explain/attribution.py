"""How much each part of an input speaks for its answer, by hiding parts and asking again.

Works for every task and every engine, int8 ones too: nothing is looked at but inputs and answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np

from luodi.core.bundle import Bundle
from luodi.core.modality import Unit
from luodi.core.types import Floats, Prediction, X, Y

CHUNK = 256  # inputs that are held at once

Ask = Callable[[Sequence[Sequence[int]]], Floats]
"""How strongly the answer is given when the parts at these places are hidden."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question(Generic[X, Y]):
    """One input with its parts and the answer that is to be explained."""

    bundle: Bundle[X, Y]
    value: X
    units: tuple[Unit, ...]
    answer: Prediction[Y]

    def ask(self, hidden: Sequence[Sequence[int]]) -> Floats:
        """See `Ask`."""
        task, found = self.bundle.task, [np.zeros(0)]
        for start in range(0, len(hidden), CHUNK):
            shown = [self._without(places) for places in hidden[start : start + CHUNK]]
            found.append(task.strength(shown, self.answer, self.bundle.processor, self.bundle.engine))
        return np.concatenate(found)

    def _without(self, places: Sequence[int]) -> X:
        regions = sorted(region for place in places for region in self.units[place].regions)
        return self.bundle.task.input.hide(self.value, regions) if regions else self.value


def question_of(bundle: Bundle[X, Y], value: X) -> Question[X, Y]:
    """With the answer that the Bundle gives."""
    answer = bundle.predict([value])[0]
    return Question(bundle=bundle, value=value, units=tuple(bundle.task.input.units(value)), answer=answer)


def occlusion(ask: Ask, count: int) -> Floats:
    """What is lost when each part alone is hidden (Zeiler and Fergus 2014; Li, Monroe and Jurafsky 2016)."""
    whole, *without = ask([[], *([i] for i in range(count))])
    return np.asarray(whole - np.array(without))


def shapley(ask: Ask, count: int, samples: int, *, seed: int = 0) -> Floats:
    """The mean of what each part adds over random orders (Shapley 1953; Castro, Gómez and Tejada 2009), every other
    order the one before turned round, which halves the noise (Mitchell et al. 2022). They add up to what all parts
    together add."""
    rng = np.random.default_rng(seed)
    found = np.zeros(count)
    order = np.arange(count)
    for k in range(samples):
        order = rng.permutation(count) if k % 2 == 0 else order[::-1]
        told = ask([order[:n].tolist() for n in range(count + 1)])
        found[order] += told[:-1] - told[1:]
    return found / samples
