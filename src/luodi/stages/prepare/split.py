"""Groups to splits: whole groups, the same mix of answers in each split, the same result for the same rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from luodi.core.types import SplitName


def split_groups(
    groups: Sequence[int], strata: Sequence[str], shares: Mapping[SplitName, float], seed: int
) -> list[SplitName]:
    """A split for each row. `groups` and `strata` name each row's group and answer.

    Greedy, largest groups first: a group goes where its answers are scarcest against what is wanted
    (Sechidis et al. 2011, made for groups), among the splits with room for it. A group larger than any room
    goes to the largest split. An answer with as few groups left as splits that lack it goes to one of those,
    so with three groups it is found everywhere.
    """
    members: dict[int, Counter[str]] = defaultdict(Counter)
    for group, stratum in zip(groups, strata, strict=True):
        members[group][stratum] += 1
    state = _Wanted(members, strata, shares)
    order = np.random.default_rng(seed).permutation(sorted(members))
    chosen = {int(g): state.place(members[int(g)]) for g in sorted(order, key=lambda g: -members[int(g)].total())}
    return [chosen[group] for group in groups]


class _Wanted:
    """How much of each answer each split still lacks."""

    def __init__(
        self, members: Mapping[int, Counter[str]], strata: Sequence[str], shares: Mapping[SplitName, float]
    ) -> None:
        self.shares = shares
        self.totals = Counter(strata)
        self.groups_left = Counter(stratum for counts in members.values() for stratum in counts)
        self.given: dict[SplitName, Counter[str]] = {name: Counter() for name in shares}
        self.sizes = dict.fromkeys(shares, 0)

    def place(self, counts: Counter[str]) -> SplitName:
        size = counts.total()
        splits = self._that_lack(counts) or self._with_room(size)
        best = max(splits, key=lambda name: self._need(name, counts))
        self.given[best].update(counts)
        self.sizes[best] += size
        self.groups_left.subtract(counts.keys())
        return best

    def _that_lack(self, counts: Counter[str]) -> list[SplitName]:
        """Splits that would otherwise go without one of these answers, rarest answer first."""
        for stratum in sorted(counts, key=lambda s: (self.groups_left[s], s)):
            lacking = [name for name in self.shares if not self.given[name][stratum]]
            if lacking and self.groups_left[stratum] <= len(lacking):
                return lacking
        return []

    def _with_room(self, size: int) -> list[SplitName]:
        total = self.totals.total()
        room = {name: share * total - self.sizes[name] for name, share in self.shares.items()}
        fitting = [name for name in room if size <= room[name] + 1]
        return fitting or [max(self.shares, key=lambda name: self.shares[name])]

    def _need(self, name: SplitName, counts: Counter[str]) -> float:
        """Mean over the group's rows of the unfilled part, 1 for an empty split and 0 for a full one."""
        unfilled = (
            n * (1 - self.given[name][s] / (self.shares[name] * self.totals[s])) for s, n in counts.items()
        )
        return sum(unfilled) / counts.total()
