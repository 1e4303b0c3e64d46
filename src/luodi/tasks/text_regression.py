"""A number for a whole text: how much, how many, how hard."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from luodi.core.batching import pad
from luodi.core.task import AMOUNT, LABELS, Base, Baseline, Engine, OnePassTask, Processor, Recognition, Schema
from luodi.core.types import Array, Batch, Example, Floats, Item, Prediction
from luodi.errors import DataError
from luodi.messages import tr
from luodi.modalities.number import NUMBER_METRICS, Number, middle_and_spread, readable
from luodi.modalities.text import Text, cut_middle, owners_of, text_likeness

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

_SAME = 0.1
"""Of the spread: answers that lie nearer are one answer to whoever reads them."""
_LEAST_DISTINCT = 10
# What people call a column of numbers, and what numbers that name a row or a day are called.
_AMOUNTS = {
    "price", "score", "rating", "stars", "amount", "cost", "duration", "hours", "minutes", "days", "quantity", "grade",
    "价格", "评分", "分数", "得分", "金额", "费用", "时长", "数量", "成绩", "销量",
}  # fmt: skip
_NAMES = {
    "id", "no", "index", "date", "time", "timestamp", "year", "phone", "编号", "序号", "日期", "时间", "年份", "电话",
}  # fmt: skip


class TextRegression(OnePassTask[str, float]):
    name = "text_regression"
    input, output = Text(), Number()
    metrics: ClassVar = NUMBER_METRICS
    strength_unit: ClassVar = AMOUNT
    losses: ClassVar = ("mse", "huber")  # squared error is what R2 is made of

    @classmethod
    def recognise(cls, table: Mapping[str, Sequence[Any]]) -> Recognition | None:
        """A column of long, varied texts beside one of numbers that measure something."""
        texts = {name: text_likeness(values) for name, values in table.items()}
        if not any(texts.values()):
            return None
        text = max(texts, key=lambda name: texts[name])
        numbers = {name: _number_likeness(name, values) for name, values in table.items() if name != text}
        best = max(numbers, key=lambda name: numbers[name], default="")
        if not best or not numbers[best]:
            return None
        reason: str = tr("{text!r} holds varied texts and {number!r} numbers, which are the answer.")
        reason = reason.format(text=text, number=best)
        return Recognition(input=(text,), target=best, confidence=numbers[best], reason=reason)

    def learn(self, examples: Sequence[Example[str, float]], schema: Schema) -> Schema:
        middle, spread = middle_and_spread([e.target for e in examples])
        if not spread > 1e-12 * abs(middle):
            message = tr("All {n} training rows have the answer {number}: there is nothing to learn.")
            told = message.format(n=len(examples), number=self.output.caption(middle))
            raise DataError(told, code="data.one_number", hint=tr("Is it the right column?"))
        return replace(schema, middle=middle, spread=spread)

    def corpus(self, examples: Iterable[Example[str, float]]) -> Iterable[str]:
        return (e.input for e in examples)

    def encode(
        self, inputs: Sequence[str], processor: Processor, targets: Sequence[float] | None = None
    ) -> list[Item]:
        pieces = [cut_middle(item["input_ids"], self.schema.max_length) for item in processor.encode(inputs)]
        items: list[dict[str, Array]] = [{"input_ids": ids} for ids in pieces]
        for item, target in zip(items, targets or (), strict=False):
            item[LABELS] = np.array((target - self.schema.middle) / self.schema.spread, np.float32)
        return [*items]

    def owners(self, value: str, processor: Processor) -> Array:
        return owners_of(value, cut_middle(processor.encode([value])[0]["offsets"], self.schema.max_length))

    def collate(self, items: Sequence[Item]) -> Batch:
        """`labels`: B, in spreads from the middle of the training rows."""
        ids = [item["input_ids"] for item in items]
        batch = {"input_ids": pad(ids), "attention_mask": pad([np.ones(len(i), np.int64) for i in ids])}
        return {**batch, LABELS: np.stack([item[LABELS] for item in items])} if LABELS in items[0] else batch

    def build(self, base: Base) -> Module:
        from luodi.models.encoder_head import EncoderHead

        return EncoderHead(base.encoder(), num_labels=1)

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        from luodi.models.losses import number_loss

        return number_loss(self.objective, outputs["logits"][:, 0], batch[LABELS])

    def aim(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        """The number itself, in spreads."""
        return outputs["logits"][:, 0].mean()

    def strength(
        self, inputs: Sequence[str], answer: Prediction[float], processor: Processor, engine: Engine
    ) -> Floats:
        """The number that each gets."""
        return np.array([found.value for found in self.predict(self.encode(inputs, processor), engine)])

    def decode(self, outputs: Mapping[str, np.ndarray[Any, Any]], items: Sequence[Item]) -> list[Prediction[float]]:
        numbers = outputs["logits"][:, 0].astype(np.float64) * self.schema.spread + self.schema.middle
        return [Prediction(value=readable(float(number), self.schema.spread)) for number in numbers]

    def is_same(self, one: float, other: float) -> bool:
        """Less than a tenth of the training rows' spread apart."""
        return abs(one - other) <= _SAME * self.schema.spread

    def baselines(self, examples: Sequence[Example[str, float]], *, seed: int) -> Mapping[str, Baseline[str, float]]:
        """The mean of the training rows, and a linear model of character n-grams."""
        from luodi.backends.sklearn import fit_tfidf_ridge

        targets = [e.target for e in examples]
        middle, spread = middle_and_spread(targets)
        predictor = fit_tfidf_ridge([e.input for e in examples], targets)

        def constant(asked: Sequence[Example[str, float]]) -> list[Prediction[float]]:
            return [Prediction(value=middle)] * len(asked)

        def linear(asked: Sequence[Example[str, float]]) -> list[Prediction[float]]:
            return [Prediction(value=float(number)) for number in predictor([e.input for e in asked])]

        return {"mean": constant, "tfidf_ridge": linear}


def _number_likeness(name: str, values: Sequence[Any]) -> float:
    """How sure it is that these are measured numbers: 0 for words, few values, and numbers that only name a row."""
    words = set(re.split(r"[\W_\d]+", name.casefold()))
    told = [v for v in values if v is not None and str(v).strip()]
    numbers = [number for v in told if (number := _number(v)) is not None]
    distinct = set(numbers)
    if words & _NAMES or len(numbers) < max(_LEAST_DISTINCT, 0.95 * len(told), 0.5 * len(values)):
        return 0.0
    is_whole = all(number.is_integer() for number in distinct)
    if len(distinct) < _LEAST_DISTINCT or (is_whole and len(distinct) == len(numbers)):
        return 0.0
    if not is_whole:
        return 0.92  # 4.37 is nobody's label, whatever its column is called
    return 0.75 if words & _AMOUNTS else 0.3


def _number(cell: Any) -> float | None:
    try:
        return Number().decode(cell)
    except DataError:
        return None
