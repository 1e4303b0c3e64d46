"""Narrower layers: the heads and the units of the feed-forward that matter least are cut out, so that what is left is a
smaller dense network, which every engine runs faster (unlike weights that are merely set to 0).

What a head or a unit matters is how much the loss would change were it scaled down, to the first order: the gradient at
a gate of 1 behind it, summed without its sign over batches (heads: Michel et al. 2019, arXiv:1905.10650; in general:
Molchanov et al. 2019, arXiv:1906.10771). The gate scales the columns of the weights that read it, so its gradient is
the sum of weight times gradient over them.

What is left is read by other weights than before: those that come nearest to what was read of the whole, by least
squares on the data (as for pictures: He et al. 2017, arXiv:1707.06168; Luo et al. 2017, arXiv:1707.06342).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from luodi.core.batching import batches_by_length, item_size
from luodi.core.progress import progress
from luodi.core.task import Task
from luodi.core.types import Array, Floats, Item
from luodi.messages import tr
from luodi.models.engine import read_by, to_torch
from luodi.models.layers import stacks
from luodi.models.moments import damped, second_moments
from luodi.models.reshaped import put

RIDGE = 1e-3
"""Of the mean square of a unit: keeps the mixtures from following the few rows that they are made on."""
ROUND = 32
"""Units of the feed-forward are kept in multiples of this: kernels work on blocks of so many numbers."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Names, within a layer, of what writes heads and units and what reads them."""

    heads: tuple[str, ...]
    read_heads: str
    units: str
    read_units: str


_KNOWN = (
    Parts(("attention.self.query", "attention.self.key", "attention.self.value"), "attention.output.dense",
          "intermediate.dense", "output.dense"),  # BERT, RoBERTa
    Parts(("attention.q_proj", "attention.k_proj", "attention.v_proj"), "attention.o_proj", "mlp.fc1",
          "mlp.fc2"),  # ViT
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kept:
    """Of each layer, the places of heads and of units that stay, and by what the weights that read them are multiplied
    so that they stand for those that go."""

    heads: tuple[Array, ...]
    units: tuple[Array, ...]
    head_mends: tuple[Tensor, ...]
    """(columns, columns that stay) of each layer: what stays, and what goes as a mixture of it."""
    unit_mends: tuple[Tensor, ...]

    def of_layers(self, places: Sequence[int]) -> Kept:
        parts = (self.heads, self.units, self.head_mends, self.unit_mends)
        return Kept(*(tuple(part[i] for i in places) for part in parts))  # type: ignore[arg-type]


def parts_of(model: nn.Module) -> Parts | None:
    """None where its layers are of a kind that is not known here."""
    found = list(stacks(model).values())
    if len(found) != 1 or not len(found[0]):
        return None
    linear = {name for name, module in found[0][0].named_modules() if isinstance(module, nn.Linear)}
    return next((p for p in _KNOWN if {*p.heads, p.read_heads, p.units, p.read_units} <= linear), None)


def choose(model: nn.Module, task: Task[Any, Any], items: Sequence[Item], share: float) -> Kept:
    """The most important `share` of heads and units of each layer, judged on these items, which have targets. Leaves
    the network as it is."""
    parts = _require(model)
    ((stack, layers),) = stacks(model).items()
    heads, units = importance(model, task, items)
    moments = second_moments(model, task, items, (parts.read_heads, parts.read_units))
    kept_heads = tuple(most_important(row, max(1, round(share * len(row)))) for row in heads)
    kept_units = tuple(most_important(row, _rounded(share * len(row), len(row))) for row in units)
    head_mends, unit_mends = [], []
    for place in range(len(layers)):
        of_heads, of_units = (moments[f"{stack}.{place}.{name}"] for name in (parts.read_heads, parts.read_units))
        columns = _columns(kept_heads[place], len(of_heads) // len(heads[place]))
        head_mends.append(_mend(of_heads, columns))
        unit_mends.append(_mend(of_units, torch.from_numpy(kept_units[place])))
    return Kept(kept_heads, kept_units, tuple(head_mends), tuple(unit_mends))


def most_important(worth: Floats, count: int) -> Array:
    """Places of the most important ones, in their order."""
    return np.sort(np.argsort(-worth, kind="stable")[:count])


def _rounded(count: float, most: int) -> int:
    return min(most, max(ROUND, round(count / ROUND) * ROUND))


def _columns(heads: Array, width: int) -> Tensor:
    """Of these heads, `width` each."""
    return torch.from_numpy((heads[:, None] * width + np.arange(width)).ravel())


def _mend(moment: Tensor, kept: Tensor) -> Tensor:
    """What goes as a mixture of what stays, by ridge regression: W times it reads the kept inputs instead of all."""
    told: Tensor = torch.linalg.solve(damped(moment, RIDGE)[kept][:, kept], moment[kept]).T
    told[kept] = torch.eye(len(kept), dtype=moment.dtype)
    return told.float()


def importance(model: nn.Module, task: Task[Any, Any], items: Sequence[Item]) -> tuple[list[Floats], list[Floats]]:
    """Of each layer's heads and units, none below 0. Raises ValueError for layers of an unknown kind."""
    parts = _require(model)
    (layers,) = stacks(model).values()
    readers = [(layer.get_submodule(parts.read_heads), layer.get_submodule(parts.read_units)) for layer in layers]
    asked: list[Any] = [reader.weight for pair in readers for reader in pair]
    counts = [_num_heads(model, pair[0]) for pair in readers]
    found: list[Any] = [0.0] * len(asked)
    frozen = [weight.requires_grad for weight in asked]
    model.eval()
    batches = list(batches_by_length([item_size(i) for i in items]))
    try:
        for weight in asked:
            weight.requires_grad_(True)
        for done, places in enumerate(batches):
            batch = task.collate([items[i] for i in places])
            loss = task.loss(model(**to_torch(read_by(model, batch))), to_torch(batch))
            slopes = torch.autograd.grad(loss, asked)
            for i, (weight, slope) in enumerate(zip(asked, slopes, strict=True)):
                gates = (weight.detach() * slope).sum(0)  # of each column
                gates = gates.view(counts[i // 2], -1).sum(1) if i % 2 == 0 else gates
                found[i] = found[i] + gates.abs().double().numpy()
            progress(tr("what matters"), done + 1, len(batches))
    finally:
        for weight, was in zip(asked, frozen, strict=True):
            weight.requires_grad_(was)
    return found[0::2], found[1::2]


def cut(model: nn.Module, kept: Kept) -> None:
    """Takes out of each layer what is not kept."""
    parts = _require(model)
    (layers,) = stacks(model).values()
    of_layers = zip(layers, kept.heads, kept.units, kept.head_mends, kept.unit_mends, strict=True)
    for layer, heads, units, head_mend, unit_mend in of_layers:
        reader = layer.get_submodule(parts.read_heads)
        columns = _columns(heads, int(reader.in_features) // _num_heads(model, reader))  # type: ignore[arg-type]
        for name in parts.heads:
            _replace(layer, name, rows=columns)
        _replace(layer, parts.read_heads, mend=head_mend)
        _replace(layer, parts.units, rows=torch.from_numpy(units))
        _replace(layer, parts.read_units, mend=unit_mend)


def _require(model: nn.Module) -> Parts:
    parts = parts_of(model)
    if parts is None:
        raise ValueError("layers of an unknown kind")
    return parts


def _num_heads(model: nn.Module, reader: Any) -> int:
    config: Any = next(m.config for m in model.modules() if hasattr(m, "config"))
    width = config.hidden_size // config.num_attention_heads
    return int(reader.in_features) // int(width)


def _replace(layer: nn.Module, name: str, rows: Tensor | None = None, mend: Tensor | None = None) -> None:
    old: Any = layer.get_submodule(name)
    weight, bias = old.weight.detach(), None if old.bias is None else old.bias.detach()
    if rows is not None:
        weight, bias = weight[rows], None if bias is None else bias[rows]
    if mend is not None:
        weight = weight @ mend
    new = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        new.weight.copy_(weight)
        if bias is not None:
            new.bias.copy_(bias)
    put(layer, name, new)
