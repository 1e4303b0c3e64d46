"""Narrower layers: the heads and the units of the feed-forward that matter least are cut out, so that what is left is a
smaller dense network, which every engine runs faster (unlike weights that are merely set to 0).

What a head or a unit matters is how much the loss would change were it scaled down, to the first order: the gradient at
a gate of 1 behind it, summed without its sign over batches (heads: Michel et al. 2019, arXiv:1905.10650; in general:
Molchanov et al. 2019, arXiv:1906.10771). The gate scales the columns of the weights that read it, so its gradient is
the sum of weight times gradient over them.
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
from luodi.models.reshaped import put

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
    """Of each layer, the places of heads and of units that stay."""

    heads: tuple[Array, ...]
    units: tuple[Array, ...]

    def of_layers(self, places: Sequence[int]) -> Kept:
        return Kept(tuple(self.heads[i] for i in places), tuple(self.units[i] for i in places))


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
    heads, units = importance(model, task, items)
    many_heads = [max(1, round(share * len(row))) for row in heads]
    many_units = [min(len(row), max(ROUND, round(share * len(row) / ROUND) * ROUND)) for row in units]
    return Kept(
        tuple(np.sort(np.argsort(-row, kind="stable")[:n]) for row, n in zip(heads, many_heads, strict=True)),
        tuple(np.sort(np.argsort(-row, kind="stable")[:n]) for row, n in zip(units, many_units, strict=True)),
    )


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
    for layer, heads, units in zip(layers, kept.heads, kept.units, strict=True):
        reader = layer.get_submodule(parts.read_heads)
        width = int(reader.in_features) // _num_heads(model, reader)  # type: ignore[arg-type]
        columns = torch.from_numpy((heads[:, None] * width + np.arange(width)).ravel())
        for name in parts.heads:
            _replace(layer, name, rows=columns)
        _replace(layer, parts.read_heads, columns=columns)
        _replace(layer, parts.units, rows=torch.from_numpy(units))
        _replace(layer, parts.read_units, columns=torch.from_numpy(units))


def _require(model: nn.Module) -> Parts:
    parts = parts_of(model)
    if parts is None:
        raise ValueError("layers of an unknown kind")
    return parts


def _num_heads(model: nn.Module, reader: Any) -> int:
    config: Any = next(m.config for m in model.modules() if hasattr(m, "config"))
    width = config.hidden_size // config.num_attention_heads
    return int(reader.in_features) // int(width)


def _replace(layer: nn.Module, name: str, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
    old: Any = layer.get_submodule(name)
    weight, bias = old.weight.detach(), None if old.bias is None else old.bias.detach()
    if rows is not None:
        weight, bias = weight[rows], None if bias is None else bias[rows]
    if columns is not None:
        weight = weight[:, columns]
    new = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        new.weight.copy_(weight)
        if bias is not None:
            new.bias.copy_(bias)
    put(layer, name, new)
