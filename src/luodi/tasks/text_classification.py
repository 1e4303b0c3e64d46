"""One label for a whole text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from luodi.core.batching import pad
from luodi.core.task import LABELS, Base, OnePassTask, Processor, Recognition, Schema, Task
from luodi.core.types import Array, Batch, Example, Item, Prediction
from luodi.messages import tr
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
from luodi.modalities.text import Text, cut_middle, ngram_buckets, owners_of, text_likeness

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


_BUCKETS = 2**18  # 1-4-grams of 10,000 reviews fill them once; four times as many scored the same on validation
_MOST_WIDE_LABELS = 20  # 1 MB a label


class TextClassification(OnePassTask[str, str]):
    name = "text_classification"
    input, output = Text(), Label()
    metrics: ClassVar = LABEL_METRICS
    losses: ClassVar = ("cross_entropy", "label_smoothing", "focal", "weighted", "contrastive")

    @classmethod
    def recognise(cls, table: Mapping[str, Sequence[Any]]) -> Recognition | None:
        """A column of long, varied texts beside one of few values, each of them repeated."""
        texts = {name: text_likeness(values) for name, values in table.items()}
        if not any(texts.values()):
            return None
        text = max(texts, key=lambda name: texts[name])
        counts = {name: count_labels(values) for name, values in table.items() if name != text}
        labels = sorted((n for n in counts if counts[n]), key=lambda name: (name_rank(name), counts[name]))
        if not labels:
            return None
        best, *others = labels
        reason: str = tr("{text!r} holds varied texts; {label!r} has {count} values that repeat, so it is the answer.")
        reason = reason.format(text=text, label=best, count=counts[best])
        if others:
            told = tr("It could also be: {names}; name another one with --target.")
            reason += " " + told.format(names=", ".join(others))
        confidence = 0.9 if is_usual_name(best) else 0.5 if others else 0.7
        return Recognition(input=(text,), target=best, confidence=confidence, reason=reason)

    def learn(self, examples: Sequence[Example[str, str]], schema: Schema) -> Schema:
        return replace(schema, labels=tuple(sorted({e.target for e in examples})))

    def corpus(self, examples: Iterable[Example[str, str]]) -> Iterable[str]:
        return (e.input for e in examples)

    def encode(
        self, inputs: Sequence[str], processor: Processor, targets: Sequence[str] | None = None
    ) -> list[Item]:
        pieces = [cut_middle(item["input_ids"], self.schema.max_length) for item in processor.encode(inputs)]
        items: list[dict[str, Array]] = [{"input_ids": ids} for ids in pieces]
        for item, text in zip(items, inputs if self.schema.ngrams else (), strict=False):
            item["ngrams"] = ngram_buckets(text, self.schema.ngrams)
        return with_labels(items, self.schema.labels, targets)

    def owners(self, value: str, processor: Processor) -> Array:
        return owners_of(value, cut_middle(processor.encode([value])[0]["offsets"], self.schema.max_length))

    def collate(self, items: Sequence[Item]) -> Batch:
        ids = [item["input_ids"] for item in items]
        batch = {"input_ids": pad(ids), "attention_mask": pad([np.ones(len(i), np.int64) for i in ids])}
        if self.schema.ngrams:
            batch["ngrams"] = pad([item["ngrams"] for item in items])
        return {**batch, **stacked_labels(items)}

    def build(self, base: Base) -> Module:
        from luodi.models.encoder_head import EncoderHead
        from luodi.models.wide import WideAndDeep

        deep = EncoderHead(base.encoder(), num_labels=len(self.schema.labels))
        return WideAndDeep(deep, self.schema.ngrams, len(self.schema.labels)) if self.schema.ngrams else deep

    def complete(
        self, model: Module, rows: Sequence[Example[str, str]], held_back: Sequence[Example[str, str]],
        answers: Sequence[Prediction[str]],
    ) -> tuple[Task[str, str], Module]:  # fmt: skip
        """Character n-grams beside the network, where both together explain the held-back rows better."""
        from luodi.models.wide import add_wide_part

        if len(self.schema.labels) > _MOST_WIDE_LABELS:
            return self, model
        hashed = [[ngram_buckets(e.input, _BUCKETS) for e in part] for part in (rows, held_back)]
        targets = [[self.schema.labels.index(e.target) for e in part] for part in (rows, held_back)]
        deep = np.log(np.maximum([[a.scores[label] for label in self.schema.labels] for a in answers], 1e-9))
        both = add_wide_part(model, deep, hashed, targets, _BUCKETS)
        if both is None:
            return self, model
        return TextClassification(replace(self.schema, ngrams=_BUCKETS)), both

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        from luodi.models.encoder_head import POOLED
        from luodi.models.losses import class_loss

        return class_loss(self.objective, outputs["logits"], batch[LABELS], vectors=outputs.get(POOLED))

    def slices(self, example: Example[str, str]) -> Mapping[str, str]:
        return {**super().slices(example), "class": example.target}

    def decode(self, outputs: Mapping[str, np.ndarray[Any, Any]], items: Sequence[Item]) -> list[Prediction[str]]:
        chances = softmax(outputs["logits"] / self.schema.temperature)
        return answers_of(chances, self.schema.labels, self.schema.threshold)
