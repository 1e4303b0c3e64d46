"""One label for a whole picture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from luodi.core.task import LABELS, Base, OnePassTask, Processor, Recognition, Schema
from luodi.core.types import Array, Batch, Example, Item, Prediction
from luodi.messages import tr
from luodi.modalities.image import Image, Picture, have_mirrors
from luodi.modalities.label import (
    LABEL_METRICS,
    Label,
    answers_of,
    count_labels,
    is_usual_name,
    name_rank,
    softmax,
    stacked_labels,
    with_labels,
)

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

PIXELS = "pixel_values"
_SHIFT = 1 / 8  # of a side, at the most
_CUT = 1 / 4  # side of the square that is hidden (Cutout: DeVries and Taylor 2017, arXiv:1708.04552, for 32 x 32)
_LIGHT = 0.2  # spread of the change of light and of contrast, where the pictures' own spread is 1
_LEAST_SIDE = 4


class ImageClassification(OnePassTask[Picture, str]):
    name = "image_classification"
    input, output = Image(), Label()
    metrics: ClassVar = LABEL_METRICS
    losses: ClassVar = ("label_smoothing", "cross_entropy", "focal", "weighted", "contrastive")
    default_model = "vitc:micro"

    @classmethod
    def recognise(cls, table: Mapping[str, Sequence[Any]]) -> Recognition | None:
        """A column of pictures or of their files, or a square number of columns of brightnesses; and one of labels."""
        for name, cells in table.items():
            if sum(map(_names_picture, cells)) >= 0.9 * max(len(cells), 1) and (target := _label(table, [name])):
                reason: str = tr(
                    "{input!r} names pictures; {target!r} has {count} values that repeat, so it is the answer."
                )
                reason = reason.format(input=name, target=target, count=count_labels(table[target]))
                return Recognition(input=(name,), target=target, confidence=0.95, reason=reason)
        for run in _runs(table):
            for names in (run, run[1:], run[:-1]):
                side = _side(len(names))
                if side and (target := _label(table, names)):
                    reason = tr(
                        "{count} columns from {first!r} to {last!r} hold whole numbers from 0 to 255, as the pixels of "
                        "pictures of {side} x {side} do; {target!r} is the answer."
                    ).format(count=len(names), first=names[0], last=names[-1], side=side, target=target)
                    return Recognition(input=tuple(names), target=target, confidence=0.9, reason=reason)
        return None

    def learn(self, examples: Sequence[Example[Picture, str]], schema: Schema) -> Schema:
        targets = [e.target for e in examples]
        mirrors = have_mirrors([e.input for e in examples], targets)
        return replace(schema, labels=tuple(sorted(set(targets))), mirrors=mirrors)

    def corpus(self, examples: Iterable[Example[Picture, str]]) -> Iterable[Picture]:
        return (e.input for e in examples)

    def encode(
        self, inputs: Sequence[Picture], processor: Processor, targets: Sequence[str] | None = None
    ) -> list[Item]:
        return with_labels(processor.encode(inputs), self.schema.labels, targets)

    def collate(self, items: Sequence[Item]) -> Batch:
        """pixel_values: B x C x H x W."""
        pixels = np.stack([item[PIXELS] for item in items])
        return {PIXELS: np.moveaxis(pixels, -1, 1), **stacked_labels(items)}

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """Shifted, lighter or darker, a square hidden; mirrored where mirror images have the same answer."""
        pixels = item[PIXELS]
        if self.schema.mirrors and rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        pixels = _shifted(pixels, rng) * rng.normal(1.0, _LIGHT) + rng.normal(0.0, _LIGHT)
        return {**item, PIXELS: _with_hole(pixels.astype(np.float32), rng)}

    def stretched(self, item: Item, length: int) -> Item:
        return item

    def build(self, base: Base) -> Module:
        from luodi.models.encoder_head import PictureHead

        return PictureHead(base.encoder(), num_labels=len(self.schema.labels))

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        from luodi.models.encoder_head import POOLED
        from luodi.models.losses import class_loss

        return class_loss(self.objective, outputs["logits"], batch[LABELS], vectors=outputs.get(POOLED))

    def slices(self, example: Example[Picture, str]) -> Mapping[str, str]:
        return {**super().slices(example), "class": example.target}

    def decode(self, outputs: Mapping[str, np.ndarray[Any, Any]], items: Sequence[Item]) -> list[Prediction[str]]:
        chances = softmax(outputs["logits"] / self.schema.temperature)
        return answers_of(chances, self.schema.labels, self.schema.threshold)


def _shifted(pixels: Array, rng: np.random.Generator) -> Array:
    """By whole pixels, up to an eighth of a side each way; the edge is repeated."""
    for axis in (0, 1):
        size = pixels.shape[axis]
        by = int(rng.integers(-int(size * _SHIFT), int(size * _SHIFT) + 1))
        pixels = np.take(pixels, np.clip(np.arange(size) + by, 0, size - 1), axis=axis)
    return pixels


def _with_hole(pixels: Array, rng: np.random.Generator) -> Array:
    """A square of the mean colour, which is 0 here."""
    side = int(pixels.shape[0] * _CUT)
    top, left = (int(rng.integers(size - side + 1)) for size in pixels.shape[:2])
    pixels[top : top + side, left : left + side] = 0
    return pixels


def _names_picture(cell: Any) -> bool:
    if not isinstance(cell, str):
        return False
    return cell.startswith("data:image/") or cell.strip().lower().endswith(Image.suffixes)


def _label(table: Mapping[str, Sequence[Any]], inputs: Sequence[str]) -> str:
    """The column outside of `inputs` that is most likely the answer; nothing where none can be."""
    counts = {name: count_labels(cells) for name, cells in table.items() if name not in inputs}
    found = sorted((n for n in counts if counts[n]), key=lambda n: (name_rank(n), -_evenness(table[n]), counts[n]))
    return found[0] if found else ""


def _evenness(cells: Sequence[Any]) -> float:
    """1 where every value is as common as every other: labels mostly are, pixels at an edge are not."""
    counts = np.array(list(Counter(str(c).strip() for c in cells).values()), np.float64)
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum() / math.log(len(counts))) if len(counts) > 1 else 0.0


def _runs(table: Mapping[str, Sequence[Any]]) -> list[list[str]]:
    """Columns that stand side by side and hold brightnesses alone; those with a usual name of an answer end a run."""
    runs: list[list[str]] = [[]]
    for name, cells in table.items():
        if is_usual_name(name) or not all(map(_is_brightness, cells)):
            runs.append([])
        else:
            runs[-1].append(name)
    return sorted((run for run in runs if len(run) >= _LEAST_SIDE**2), key=len, reverse=True)


def _is_brightness(cell: Any) -> bool:
    text = str(cell).strip()
    return not isinstance(cell, bool) and text.isdecimal() and len(text) <= 3 and int(text) <= 255


def _side(count: int) -> int:
    """Of a square picture of so many numbers, one or three for each pixel; 0 where there is none."""
    for planes in (1, 3):
        side = math.isqrt(count // planes)
        if side >= _LEAST_SIDE and planes * side * side == count:
            return side
    return 0
