"""Does the context answer the question? Two inputs, one label, one pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from luodi.core.batching import pad
from luodi.core.task import Base, OnePassTask, Processor, Schema
from luodi.core.types import Batch, Example, Item, Prediction
from luodi.modalities.label import LABEL_METRICS, Label, answers_of, softmax, stacked_labels, with_labels
from toys.pair import Pair, Texts

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class Entailment(OnePassTask[Texts, str]):
    name = "toys.entailment"
    input, output = Pair(), Label()
    metrics: ClassVar = LABEL_METRICS

    def learn(self, examples: Sequence[Example[Texts, str]], schema: Schema) -> Schema:
        return replace(schema, labels=tuple(sorted({e.target for e in examples})))

    def corpus(self, examples: Iterable[Example[Texts, str]]) -> Iterable[str]:
        return (text for example in examples for text in example.input)

    def encode(
        self, inputs: Sequence[Texts], processor: Processor, targets: Sequence[str] | None = None
    ) -> list[Item]:
        items = [{"input_ids": i["input_ids"][: self.schema.max_length]} for i in processor.encode(inputs)]
        return with_labels(items, self.schema.labels, targets)

    def collate(self, items: Sequence[Item]) -> Batch:
        ids = [item["input_ids"] for item in items]
        mask = pad([np.ones(len(i), np.int64) for i in ids])
        batch = {"input_ids": pad(ids).astype(np.int64), "attention_mask": mask}
        return {**batch, **stacked_labels(items)}

    def build(self, base: Base) -> Module:
        from luodi.models.encoder_head import EncoderHead

        return EncoderHead(base.encoder(), num_labels=len(self.schema.labels))

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs["logits"], batch["labels"])

    def decode(self, outputs: Mapping[str, np.ndarray[Any, Any]], items: Sequence[Item]) -> list[Prediction[str]]:
        return answers_of(softmax(outputs["logits"]), self.schema.labels, self.schema.threshold)
