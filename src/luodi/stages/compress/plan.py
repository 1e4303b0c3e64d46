"""What is tried where nothing keeps the contract: how much smaller a network must be for that, as far as it can be told
from those that were timed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor

from luodi.core.contract import Contract
from luodi.core.progress import say
from luodi.messages import tr
from luodi.stages.compress.choice import Row, any_within

MARGIN = 0.9
"""Of what is allowed: no two runs on a busy machine take the same time."""
NARROW, NARROWEST = 0.75, 0.5
"""Shares of heads and units that are kept; three quarters cost three quarters of the time, or a little more."""
FEWEST_LAYERS = 3  # a network of fewer has none to spare
MOST_STUDENTS = 3
"""Each learns for minutes."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a student."""

    layers: int = 0
    """0: all of them."""
    width: float = 1.0
    """Share of heads and of feed-forward units."""
    rank: float = 1.0
    """Share of the weights in its layers that are left where they are of lower rank."""

    def __bool__(self) -> bool:
        return self.layers > 0 or self.width < 1 or self.rank < 1

    def __str__(self) -> str:
        """For the name of a folder."""
        return f"{self.layers or 'all'}x{self.width:g}x{self.rank:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """What students can be made of a network, and are wished."""

    depth: int
    """Its layers."""
    narrow: bool
    """It is known how to take heads and units out of them."""
    lower: bool = True
    """Students of fewer layers are wished."""
    whole: bool = True
    """Students of all layers are, narrower ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Student:
    """One that was made and measured."""

    shape: Shape
    rows: Mapping[str, Row]
    """What came of it; nothing where it could not be made."""

    @property
    def is_good(self) -> bool:
        """One of its forms may be taken."""
        return any(not row.refused for row in self.rows.values())

    def layers(self, depth: int) -> float:
        """Of full width, that cost as much."""
        return (self.shape.layers or depth) * self.shape.width


def shape_for(rows: Mapping[str, Row], contract: Contract, means: Means) -> Shape:
    """The largest student that should keep the contract's limits on time, memory and size; an empty one where they are
    kept already, or none can be made. Time is taken to grow with the layers."""
    if means.depth < FEWEST_LAYERS or any_within(rows, contract):
        return Shape()
    share = MARGIN * min(1.0, _room((row for row in rows.values() if not row.refused), contract))
    if means.narrow and means.whole and (share >= NARROW or not means.lower):
        return _told(Shape(width=NARROW), means)
    if not means.lower:
        return Shape()
    if share * means.depth >= 1 or not means.narrow:
        return _told(Shape(layers=min(max(floor(share * means.depth), 1), means.depth - 1)), means)
    return _told(Shape(layers=1, width=NARROWEST), means)


def next_shape(students: Sequence[Student], contract: Contract, means: Means) -> Shape:
    """After these the next one: smaller where the last one may be taken and is still too slow or large, larger where it
    lost too much and kept the limits with room to spare; between all that were too slow and all that lost too much. An
    empty one where there is none."""
    last, depth = students[-1], means.depth
    if len(students) == MOST_STUDENTS or not last.rows or not means.lower:
        return Shape()
    lost = max((floor(s.layers(depth)) for s in students if not s.is_good), default=0)
    slow = min((ceil(s.layers(depth)) for s in students if s.is_good), default=depth)
    room = _room((row for row in last.rows.values() if not (last.is_good and row.refused)), contract)
    wanted = floor(MARGIN * room * last.layers(depth))
    if last.is_good and wanted < 1 and not lost and means.narrow:
        shape = Shape(layers=1, width=NARROWEST)
    else:
        shape = Shape(layers=min(max(wanted, lost + 1 if last.is_good else 0), slow - 1))
        if not lost < shape.layers < slow:
            return Shape()
    return Shape() if any(student.shape == shape for student in students) else _told(shape, means)


def _told(shape: Shape, means: Means) -> Shape:
    line = tr("No candidate keeps the contract's limits: a student of {layers} of {depth} layers, {width:.0%} as wide, "
              "is tried.")  # fmt: skip
    say(line.format(layers=shape.layers or means.depth, depth=means.depth, width=shape.width))
    return shape


def _room(rows: Iterable[Row], contract: Contract) -> float:
    """What is allowed, over the least that one of the candidates needs, of the limit where that is the least; 1 where
    there is none."""
    found, shares = [row.numbers for row in rows], []
    for limit in contract.limits:
        needed = min((numbers[limit.name].value for numbers in found if limit.name in numbers), default=None)
        if needed is not None and limit.at_most is not None:
            shares.append(limit.at_most / max(needed, 1e-9))
    return min(shares, default=1.0)
