"""What depends only on the kind of data. A new kind is one file in `modalities/`.

An answer needs a `Codec`: to be read, sent, told apart and watched. An input needs a full `Modality`: it
must also come apart (`explain`), bear a nudge (`secure`), show its near copies (`prepare`), fall into
slices (`evaluate`) and have something simple to be held against (the baseline).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic

import numpy as np

from luodi.core.types import Array, Floats, Prediction, X

Predictor = Callable[[Sequence[X]], list[Prediction[str]]]


@dataclass(frozen=True, slots=True)
class Unit:
    """What a reader takes as one: a word, a tile of a picture."""

    name: str
    regions: tuple[int, ...]
    """Places among the modality's `regions`."""


class Codec(ABC, Generic[X]):
    is_choice: ClassVar[bool] = False
    """Whether a value is one out of a closed set: such answers are counted, spelled, contradicted and confused."""

    longest_wire: ClassVar[int] = 1_000_000
    """Bytes of a request that services take where their settings say nothing else."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Endings of files that hold one value each, as `load` reads them; none where values stand in tables."""

    @abstractmethod
    def decode(self, wire: Any) -> X:
        """From what a request or a data file carries. Raises DataError on bad input."""

    @abstractmethod
    def encode(self, value: X) -> Any:
        """To JSON types; `decode(encode(x)) == x`."""

    def load(self, cell: Any, folder: Path) -> X:
        """From a cell of the user's own table, which may name a file in `folder`. Never used for requests."""
        return self.decode(cell)

    def caption(self, value: X) -> str:
        """A line for people, in tables of mistakes and of dropped rows."""
        wire = self.encode(value)
        return wire if isinstance(wire, str) else json.dumps(wire, ensure_ascii=False, default=str)

    def counted(self, value: X) -> Sequence[tuple[str, Any]] | None:
        """What of an answer is right or wrong by itself, each with its class: a label alone, each entity of a text.
        Tables of classes count which parts of the truth stand in the answer. None: answers have no such parts."""
        return None

    def thumbnail(self, value: X) -> str:
        """A small picture of it as a data URL, for pages; nothing where a value is not for the eye."""
        return ""

    @abstractmethod
    def schema(self) -> Mapping[str, Any]:
        """The JSON schema of what `encode` gives: the service's OpenAPI page is made of it."""

    @abstractmethod
    def fingerprint(self, value: X) -> str:
        """Equal for values that a person would call the same; drops duplicates and leaks."""

    @abstractmethod
    def feature_names(self) -> tuple[str, ...]:
        """Names of the numbers that `features` gives, in order."""

    @abstractmethod
    def features(self, value: X) -> Floats:
        """A few numbers whose distribution `monitor` watches."""


class Modality(Codec[X]):
    @abstractmethod
    def regions(self, value: X) -> Sequence[str]:
        """Names of the parts that can be hidden one at a time."""

    @abstractmethod
    def hide(self, value: X, regions: Sequence[int]) -> X:
        """The value without these regions, as neutral as the kind allows."""

    def units(self, value: X) -> Sequence[Unit]:
        """Regions as a reader groups them, each of them in one unit. As it is: each alone."""
        return [Unit(name, (place,)) for place, name in enumerate(self.regions(value))]

    def heat(self, value: X, weights: Sequence[float]) -> str:
        """A picture of it as a data URL, its regions coloured by these weights from -1 to 1; nothing where a value is
        not for the eye."""
        return ""

    @abstractmethod
    def perturb(self, value: X, rng: np.random.Generator) -> X:
        """A small change that should not change the answer."""

    @abstractmethod
    def pieces(self, value: X) -> Array:
        """Hashes (uint32) of small parts; two values are near copies where the sets' Jaccard is high."""

    @abstractmethod
    def slices(self, value: X) -> Mapping[str, str]:
        """Slice family to slice: {"length": "short", "language": "zh"}."""

    def traits(self, value: X) -> frozenset[str]:
        """Words by which a reader could say what the value has in it; weak parts of the data are searched among them.
        As it is: none."""
        return frozenset()

    @abstractmethod
    def baseline(self, inputs: Sequence[X], targets: Sequence[str], *, seed: int) -> tuple[str, Predictor[X]]:
        """Its name and a fitted cheap classical model that any Transformer must beat."""
