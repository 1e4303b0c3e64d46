"""Lower layers that do not learn: what they make of each input is computed once and kept in a file.

Lower layers of a pretrained encoder change little in fine-tuning (Lee, Tang & Lin 2019, arXiv:1911.03090); kept as
they are, every later epoch pays for the upper layers only. Works for encoders that have `embeddings` and
`encoder.layer` (BERT, RoBERTa, XLM-R, ERNIE, ELECTRA); others are trained whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from luodi.core.batching import batches_by_length, item_size
from luodi.core.disk import reserve
from luodi.core.progress import progress
from luodi.core.store import write_atomically
from luodi.core.types import Batch, Item
from luodi.messages import tr
from luodi.models.engine import to_torch

IDS = "input_ids"
KEPT = np.float16
"""Layers are normalised, so 16 bits hold their values to 1 part in 2,000; half the file of 32."""


class UpperLayers(nn.Module):
    """Takes the place of the encoder while it learns. Its `input_ids` are not numbers of tokens but what the lower
    layers made of them: B x T x width."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return self.encoder(inputs_embeds=input_ids.float(), attention_mask=attention_mask)


class _AsGiven(nn.Module):
    """Stands where the table of tokens was."""

    def forward(self, inputs_embeds: Tensor, **_: Any) -> Tensor:
        return inputs_embeds


@dataclass(frozen=True, slots=True)
class Split:
    """One encoder seen as two; all three share their weights."""

    whole: nn.Module
    lower: nn.Module
    upper: UpperLayers


def split_encoder(encoder: nn.Module | None, frozen: int) -> Split | None:
    """None where there is nothing to freeze or the encoder is not of the form known here."""
    if encoder is None or not num_layers(encoder):
        return None
    stack = getattr(encoder, "encoder", None)
    layers = getattr(stack, "layer", None)
    if not frozen or not isinstance(stack, nn.Module) or not isinstance(layers, nn.ModuleList):
        return None
    upper = _twin(encoder, {"embeddings": _AsGiven(), "encoder": _twin(stack, {"layer": layers[frozen:]})})
    # What comes after the last layer (`norm`, where layers do not end normalised) does not come after the lower ones.
    after = {"norm": nn.Identity()} if hasattr(stack, "norm") else {}
    lower = _twin(encoder, {"encoder": _twin(stack, {"layer": layers[:frozen], **after})})
    for parameter in lower.parameters():
        parameter.requires_grad_(False)
    return Split(encoder, lower.eval(), UpperLayers(upper))


def num_layers(encoder: nn.Module | None) -> int:
    """0 where the encoder is not of the form known here: layers in a list, under a table of tokens."""
    if not hasattr(getattr(encoder, "embeddings", None), "word_embeddings"):
        return 0
    layers = getattr(getattr(encoder, "encoder", None), "layer", None)
    return len(layers) if isinstance(layers, nn.ModuleList) else 0


def keep_activations(
    split: Split, items: Sequence[Item], collate: Callable[[Sequence[Item]], Batch], file: Path, device: str
) -> list[Item]:
    """Items whose `input_ids` are rows of a memory-mapped file, T x width. A whole file from before is used again."""
    sizes = [item_size(item) for item in items]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    width = int(split.whole.config.hidden_size)  # type: ignore[union-attr,arg-type]
    marker = file.with_suffix(".whole")
    if not marker.is_file():
        reserve(file, int(starts[-1]) * width * np.dtype(KEPT).itemsize)
        rows = np.memmap(file, KEPT, "r+", shape=(int(starts[-1]), width))
        _fill(split.lower.to(device), items, collate, rows, starts)
        rows.flush()
        write_atomically(marker, str(len(items)))
    rows = np.memmap(file, KEPT, "r", shape=(int(starts[-1]), width))
    return [{**item, IDS: rows[a:b]} for item, a, b in zip(items, starts[:-1], starts[1:], strict=True)]


def forget_activations(file: Path) -> None:
    for path in (file.with_suffix(".whole"), file):
        path.unlink(missing_ok=True)


def _fill(
    lower: nn.Module, items: Sequence[Item], collate: Callable[[Sequence[Item]], Batch],
    rows: np.memmap[Any, Any], starts: np.ndarray[Any, Any],
) -> None:  # fmt: skip
    sizes = [item_size(item) for item in items]
    device = next(lower.parameters()).device.type
    done = 0
    for places in batches_by_length(sizes):
        batch = to_torch(collate([items[p] for p in places]), device)
        with torch.inference_mode():
            hidden = lower(input_ids=batch[IDS], attention_mask=batch["attention_mask"]).last_hidden_state
        real = hidden[batch["attention_mask"].bool()].float().cpu().numpy()  # of all items, one after the other
        for place, end in zip(places, np.cumsum([sizes[p] for p in places]), strict=True):
            rows[starts[place] : starts[place + 1]] = real[end - sizes[place] : end]
        done += len(places)
        progress(tr("frozen layers"), done, len(items))


def _twin(module: nn.Module, children: Mapping[str, nn.Module]) -> nn.Module:
    """The module with other children; everything else is shared with the original."""
    other = copy.copy(module)
    other._modules = {**module._modules, **children}
    return other
