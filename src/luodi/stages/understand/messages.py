"""What the file says and what was made of it, message by message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luodi.core.types import Array, Floats
from luodi.stages.understand.feedback import Feedback
from luodi.stages.understand.feelings import Feelings
from luodi.stages.understand.grouping import Grouping
from luodi.stages.understand.trends import Calendar
from luodi.stages.understand.words import Word

CORE = 0.5
"""How sure a message's place must be for it to stand for its need."""
FEWEST_CORE = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Messages:
    """All in one order."""

    feedback: Sequence[Feedback]
    words: Sequence[Sequence[Word]]
    points: Array
    """n x d, each of length 1."""
    grouping: Grouping
    feelings: Feelings
    calendar: Calendar | None
    weights: Floats
    """How many messages each one stands for."""
    speakers: Array
    """A number for each user; who is not known is one by themselves."""

    @property
    def money(self) -> Floats | None:
        """What the customers bring; each one's is divided among their messages, so that it is counted once."""
        if not any(f.money for f in self.feedback):
            return None
        sizes = np.bincount(self.speakers, self.weights)
        return np.array([f.money or 0.0 for f in self.feedback]) / sizes[self.speakers]

    @property
    def knows_users(self) -> bool:
        return any(f.user for f in self.feedback)

    def members(self, label: int) -> Array:
        return np.flatnonzero(self.grouping.labels == label)

    def core(self, label: int) -> Array:
        """Places of the messages that stand for a group: the sure ones, or all where there are few such."""
        own = self.members(label)
        sure = own[~self.grouping.is_tail[own] & (self.grouping.confidence[own] >= CORE)]
        return sure if len(sure) >= FEWEST_CORE else own

    def num_speakers(self, label: int) -> int:
        return len(np.unique(self.speakers[self.members(label)]))


def weights_of(feedback: Sequence[Feedback]) -> Floats:
    return np.array([f.weight for f in feedback], np.float64)


def speakers_of(feedback: Sequence[Feedback]) -> Array:
    names = [f.user or f"\0{i}" for i, f in enumerate(feedback)]
    return np.unique(names, return_inverse=True)[1]
