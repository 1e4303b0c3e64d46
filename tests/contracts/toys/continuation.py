"""The end of a sentence from its beginning, one character after the other: a task that generates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from luodi.core.batching import pad
from luodi.core.measure import Metric
from luodi.core.task import IGNORED, LABELS, Base, Engine, GenerativeTask, Processor, Schema
from luodi.core.types import Batch, Example, Floats, Item, Prediction
from luodi.modalities.text import Text

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

END = 0
"""Code point 0 ends an answer."""


def _equal(targets: Sequence[str], predictions: Sequence[Prediction[str]]) -> Floats:
    return np.array([[t == p.value, 1] for t, p in zip(targets, predictions, strict=True)], np.float64)


EXACT_MATCH = Metric(name="exact_match", sums=_equal, pool=lambda s: np.asarray(s[..., 0] / np.maximum(s[..., 1], 1)))


class Continuation(GenerativeTask[str, str]):
    name = "toys.continuation"
    input, output = Text(), Text()
    metrics: ClassVar = (EXACT_MATCH,)

    def learn(self, examples: Sequence[Example[str, str]], schema: Schema) -> Schema:
        return replace(schema, template="{input}")

    def corpus(self, examples: Iterable[Example[str, str]]) -> Iterable[str]:
        return (text for e in examples for text in (e.input, e.target))

    def encode(
        self, inputs: Sequence[str], processor: Processor, targets: Sequence[str] | None = None
    ) -> list[Item]:
        prompts = [self.schema.template.format(input=text) for text in inputs]
        items = [{"input_ids": i["input_ids"][-self.schema.max_length :]} for i in processor.encode(prompts)]
        if targets is None:
            return items  # type: ignore[return-value]
        ends = [np.array([*map(ord, target), END], np.int64) for target in targets]
        return [{**item, LABELS: end} for item, end in zip(items, ends, strict=True)]

    def collate(self, items: Sequence[Item]) -> Batch:
        batch = {"input_ids": pad([item["input_ids"] for item in items])}
        if LABELS not in items[0]:
            return batch
        return {**batch, LABELS: pad([item[LABELS] for item in items], IGNORED)}

    def build(self, base: Base) -> Module:
        return base.encoder()

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs["logits"], batch["labels"][:, 0])

    def stream(self, item: Item, engine: Engine) -> Iterator[str]:
        ids = list(item["input_ids"])
        for _ in range(self.schema.max_length):
            logits = engine.run({"input_ids": np.array([ids], np.int64)})["logits"]
            best = int(logits[0].argmax())
            if best == END:
                return
            ids.append(best)
            yield chr(best)

    def predict(self, items: Sequence[Item], engine: Engine) -> list[Prediction[str]]:
        return [Prediction(value="".join(self.stream(item, engine))) for item in items]
