"""One label for a whole text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from luodi.core.task import Base, OnePassTask, Processor, Schema, pad
from luodi.core.types import Batch, Example, Item, Prediction
from luodi.modalities.label import LABEL_METRICS, Label, answers_of, softmax
from luodi.modalities.text import Text

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class TextClassification(OnePassTask[str, str]):
    name = "text_classification"
    input, output = Text(), Label()
    metrics: ClassVar = LABEL_METRICS

    def learn(self, examples: Sequence[Example[str, str]], schema: Schema) -> Schema:
        return replace(schema, labels=tuple(sorted({e.target for e in examples})))

    def corpus(self, inputs: Iterable[str]) -> Iterable[str]:
        return inputs

    def encode(self, inputs: Sequence[str], processor: Processor) -> list[Item]:
        items = processor.encode(inputs)
        return [{"input_ids": _cut(item["input_ids"], self.schema.max_length)} for item in items]

    def collate(self, items: Sequence[Item], targets: Sequence[str] | None = None) -> Batch:
        ids = [item["input_ids"] for item in items]
        batch = {
            "input_ids": pad(ids),
            "attention_mask": pad([np.ones(len(i), np.int64) for i in ids]),
        }
        if targets is None:
            return batch
        return {**batch, "labels": np.array([self.schema.labels.index(t) for t in targets], np.int64)}

    def build(self, base: Base) -> Module:
        from luodi.models.encoder_head import EncoderHead

        return EncoderHead(base.encoder(), num_labels=len(self.schema.labels))

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs["logits"].float(), batch["labels"])

    def decode(self, outputs: Mapping[str, np.ndarray[Any, Any]]) -> list[Prediction[str]]:
        return answers_of(softmax(outputs["logits"]), self.schema.labels, self.schema.threshold)


def _cut(ids: np.ndarray[Any, Any], longest: int) -> np.ndarray[Any, Any]:
    """Keep the closing token: encoders were trained to see one."""
    return ids if len(ids) <= longest else np.append(ids[: longest - 1], ids[-1])
