"""What is tried where nothing keeps the contract: how much smaller a network must be for that, as far as it can be told
from those that were timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor

from luodi.core.contract import Contract, Limit
from luodi.core.progress import say
from luodi.messages import tr
from luodi.stages.compress.choice import Row, any_within

MARGIN = 0.9
"""Of what is allowed: no two runs on a busy machine take the same time."""
NARROW, NARROWEST = 0.75, 0.5
"""Shares of heads and units that are kept; three quarters cost three quarters of the time, or a little more."""
FEWEST_LAYERS = 3  # a network of fewer has none to spare


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


def shape_for(rows: Mapping[str, Row], contract: Contract, depth: int, *, may_narrow: bool) -> Shape:
    """The largest student of a network of `depth` layers that should keep the contract's limits on time, memory and
    size; an empty one where they are kept already, or none can be made. Time is taken to grow with the layers."""
    if depth < FEWEST_LAYERS or any_within(rows, contract):
        return Shape()
    share = MARGIN * min((_share(rows, limit) for limit in contract.limits), default=1.0)
    if share >= NARROW and may_narrow:
        shape = Shape(width=NARROW)
    elif share * depth >= 1 or not may_narrow:
        shape = Shape(layers=min(max(floor(share * depth), 1), depth - 1))
    else:
        shape = Shape(layers=1, width=NARROWEST)
    line = tr("No candidate keeps the contract's limits: a student of {layers} of {depth} layers, {width:.0%} as wide, "
              "is tried.")  # fmt: skip
    say(line.format(layers=shape.layers or depth, depth=depth, width=shape.width))
    return shape


def _share(rows: Mapping[str, Row], limit: Limit) -> float:
    """What is allowed, over the least that a candidate which may be taken needs; 1 where that is less."""
    found = [row.numbers[limit.name].value for row in rows.values() if not row.refused and limit.name in row.numbers]
    if not found or limit.at_most is None:
        return 1.0
    return min(1.0, limit.at_most / max(min(found), 1e-9))


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
