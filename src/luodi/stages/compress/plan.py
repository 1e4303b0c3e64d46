"""What is tried where nothing keeps the contract: how much smaller a network must be for that, as far as it can be told
from those that were timed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor

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
"""Each learns for minutes; a third one begins from two that were measured."""


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


def shape_for(rows: Mapping[str, Row], contract: Contract, depth: int, *, may_narrow: bool) -> Shape:
    """The largest student of a network of `depth` layers that should keep the contract's limits on time, memory and
    size; an empty one where they are kept already, or none can be made. Time is taken to grow with the layers."""
    if depth < FEWEST_LAYERS or any_within(rows, contract):
        return Shape()
    share = MARGIN * min(1.0, _room((row for row in rows.values() if not row.refused), contract))
    if share >= NARROW and may_narrow:
        return _told(Shape(width=NARROW), depth)
    if share * depth >= 1 or not may_narrow:
        return _told(Shape(layers=min(max(floor(share * depth), 1), depth - 1)), depth)
    return _told(Shape(layers=1, width=NARROWEST), depth)


def next_shape(
    rows: Mapping[str, Row], tried: Sequence[Shape], contract: Contract, depth: int, *, may_narrow: bool
) -> Shape:
    """After students of the shapes `tried`, of the last of which these `rows` came, the next one: smaller where the
    last one may be taken and is still too large, larger where it lost too much and kept the limits with room to spare.
    An empty one where neither is so, or has been tried."""
    last, is_good = tried[-1], any(not row.refused for row in rows.values())
    if len(tried) == MOST_STUDENTS or not rows:
        return Shape()
    before = (last.layers or depth) * last.width  # layers of full width that cost as much
    wanted = floor(MARGIN * _room(rows.values(), contract) * before)
    if is_good:
        wanted = min(wanted, floor(before - 1e-9))
    if wanted >= 1 and (is_good or before < wanted < depth):
        shape = Shape(layers=wanted)
    elif is_good and may_narrow:
        shape = Shape(layers=1, width=NARROWEST)
    else:
        return Shape()
    return Shape() if shape in tried else _told(shape, depth)


def _told(shape: Shape, depth: int) -> Shape:
    line = tr("No candidate keeps the contract's limits: a student of {layers} of {depth} layers, {width:.0%} as wide, "
              "is tried.")  # fmt: skip
    say(line.format(layers=shape.layers or depth, depth=depth, width=shape.width))
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


def say_unmet(rows: Mapping[str, Row], contract: Contract) -> list[str]:
    """Of each limit that no candidate keeps that may be taken: the best there was, and who would have kept it."""
    told: list[str] = []
    for limit in contract.limits:
        measured = {name: row.numbers[limit.name].value for name, row in rows.items() if limit.name in row.numbers}
        kept = {name for name, value in measured.items() if limit.holds(value)}
        allowed = [name for name in measured if not rows[name].refused]
        if not allowed or limit.at_most is None or kept & set(allowed):
            continue
        best = min(allowed, key=lambda name: measured[name])
        sentence = tr("{limit} cannot be met on this machine: the best was {name} with {value:.3g}.")
        told.append(sentence.format(limit=str(limit), name=best, value=measured[best]))
        if kept:
            sentence = tr("{names} would keep {limit}, but may not be taken: its answers are not good enough.")
            told.append(sentence.format(names=", ".join(sorted(kept)), limit=str(limit)))
    return told
