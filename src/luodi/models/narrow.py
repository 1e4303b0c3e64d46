"""A table of tokens without the rows that the data never names, for as long as it is trained.

A multilingual encoder has 250,000 rows, a task's data names 5 % of them. The others get no gradient, yet gradients,
both moments of Adam and the step over them cost more than all layers together (96 of 118 million weights of a
12-layer encoder 384 wide). Rows that are named learn exactly as in the whole table; the others keep their pretrained
values, and weight decay, which would shrink them without any reason in the data, leaves them alone as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from luodi.core.types import Array, Item

IDS = "input_ids"
_FIXED = 8
"""The first rows stay where they are: padding and special tokens have fixed places in code (RoBERTa counts positions by
where its padding, row 1, is not)."""
_LEAST_SAVING = 0.25
"""Of the rows: for less it is not worth the numbering."""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """`encoder` reads ids of the narrow table until `restore`."""

    encoder: Any
    whole: nn.Embedding
    kept: Array
    """Rows of the whole table in the narrow one's order, n of them."""

    def items(self, items: Sequence[Item]) -> list[Item]:
        """The same items by the narrow table's numbers."""
        return [{**item, IDS: np.searchsorted(self.kept, item[IDS])} for item in items]

    def restore(self) -> None:
        """Puts the whole table back, with what its named rows have learned."""
        narrow: nn.Embedding = self.encoder.get_input_embeddings()
        with torch.no_grad():
            self.whole.to(narrow.weight.device).weight[torch.from_numpy(self.kept)] = narrow.weight
        self.encoder.set_input_embeddings(self.whole)


def narrow_table(encoder: nn.Module | None, items: Sequence[Item]) -> Narrowed | None:
    """None where there is no table of tokens to be trained, or the data names most of it."""
    whole = getattr(encoder, "get_input_embeddings", lambda: None)()
    if not isinstance(whole, nn.Embedding) or not whole.weight.requires_grad:
        return None
    named = [item[IDS] for item in items if IDS in item]
    if not named or any(ids.ndim != 1 or ids.dtype.kind != "i" for ids in named):
        return None
    fixed = [np.arange(min(_FIXED, whole.num_embeddings)), [whole.padding_idx or 0]]
    kept = np.unique(np.concatenate([*fixed, *named]))
    if len(kept) > (1 - _LEAST_SAVING) * whole.num_embeddings:
        return None
    padding = None if whole.padding_idx is None else int(np.searchsorted(kept, whole.padding_idx))
    rows = whole.weight.detach()[torch.from_numpy(kept)]  # a copy
    narrow = nn.Embedding(rows.shape[0], rows.shape[1], padding_idx=padding, _weight=rows)
    encoder.set_input_embeddings(narrow)  # type: ignore[union-attr,operator]
    return Narrowed(encoder, whole, kept)
