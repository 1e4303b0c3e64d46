"""Words that are missing from a text: pre-training on plain text, and filling in [MASK]."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from luodi.core.batching import batches_by_length, item_size, pad
from luodi.core.measure import Metric
from luodi.core.task import IGNORED, LABELS, Base, Baseline, Engine, OnePassTask, Processor, Schema
from luodi.core.types import Array, Batch, Columns, Example, Item, Prediction, Row
from luodi.errors import ConfigError
from luodi.messages import tr
from luodi.modalities.label import softmax
from luodi.modalities.text import Text
from luodi.models.cloze import (
    CLOZE_METRICS,
    Neighbours,
    disturbed,
    draw_places,
    examined,
    filled,
    fixed_rng,
    likeliest,
)

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from luodi.backends.tokenizers import Vocabulary

MARK = "[MASK]"
"""What people write where a word is missing, whatever the tokenizer's own mark is."""
IDS, HOLES, SPANS, TEXT = "input_ids", "holes", "spans", "text"
_TOLD = 5  # words of a hole


class MaskedLanguageModel(OnePassTask[str, str]):
    """Input and answer are whole texts. One without a mark has 15 % of its pieces hidden, the same ones every time."""

    name = "masked_language_model"
    input, output = Text(), Text(exact=True)
    metrics: ClassVar = CLOZE_METRICS
    losses: ClassVar = ("cross_entropy", "label_smoothing")
    default_model = "bert:mini"
    default_frozen = 0.0  # what the table of tokens answers it has to learn as well

    def read(self, row: Row, columns: Columns, folder: Path = Path()) -> Example[str, str]:
        """The text is its own answer. Raises ConfigError where a column of answers is named."""
        if columns.target not in (None, *columns.input[:1]) or len(columns.input) != 1:
            message = tr("The task {task} reads one column of texts and no answers.").format(task=self.name)
            raise ConfigError(message, code="config.target", hint=tr("Leave target out."))
        example = super().read(row, replace(columns, target=columns.input[0]), folder)
        return replace(example, target=example.input)

    def learn(self, examples: Sequence[Example[str, str]], schema: Schema) -> Schema:
        return schema

    def corpus(self, examples: Iterable[Example[str, str]]) -> Iterable[str]:
        return (e.input for e in examples)

    def make_processor(self, base: Base, examples: Iterable[Example[str, str]]) -> Processor:
        """The base's own, with a mark where it begins from nothing. Raises ConfigError where a pretrained one has
        none."""
        from luodi.backends.tokenizers import with_mask

        processor: Any = base.processor(self.corpus(examples))
        if base.is_pretrained and processor.mask is None:
            message = tr("The tokenizer of {model} has no mark for a missing word.").format(model=base.name)
            hint = tr("Take a model that was pretrained with masks, or one with random weights: bert:mini.")
            raise ConfigError(message, code="config.model", hint=hint)
        made: Processor = with_mask(processor)
        return made

    def encode(
        self, inputs: Sequence[str], processor: Processor, targets: Sequence[str] | None = None
    ) -> list[Item]:
        """Pieces with the hidden ones hidden, places of the holes (one for which nothing is to be found where there is
        none), from where to where in the text each stands, and the text itself."""
        known = _known(processor)
        texts = [text.replace(MARK, known.mask_word) for text in inputs]
        items = []
        for told, text in zip(processor.encode(texts), texts, strict=True):
            item = _item({name: array[: self.schema.max_length] for name, array in told.items()}, text, known)
            items.append(item if targets is not None else {k: a for k, a in item.items() if k != LABELS})
        return items

    def collate(self, items: Sequence[Item]) -> Batch:
        ids = [item[IDS] for item in items]
        batch = {
            IDS: pad(ids), "attention_mask": pad([np.ones(len(i), np.int64) for i in ids]),
            HOLES: pad([item[HOLES] for item in items]),
        }  # fmt: skip
        if LABELS in items[0]:
            batch[LABELS] = pad([item[LABELS] for item in items], IGNORED)
        return batch

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """Other holes, and not all of them hidden (models/cloze.py)."""
        known = _known(self.processor)
        whole = _whole(item)
        places = draw_places(whole, known.special, rng)
        if not len(places):
            return item
        ids = disturbed(whole, places, known.mask, known.size, rng)
        return {**item, IDS: ids, HOLES: places, LABELS: whole[places]}

    def stretched(self, item: Item, length: int) -> Item:
        return {**item, IDS: np.resize(item[IDS], length), HOLES: np.resize(item[HOLES], length) % length}

    def build(self, base: Base) -> Module:
        from luodi.models.masked_lm import MaskedLM

        return MaskedLM(base.encoder())

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        """Mean over the pieces that are to be found; 0 where there are none."""
        from luodi.models.losses import class_loss

        labels = batch[LABELS].flatten()
        summed = class_loss(self.objective, outputs["logits"].flatten(0, 1), labels, reduction="sum")
        return summed / (labels != IGNORED).sum().clamp(min=1)

    def decode(self, outputs: Mapping[str, np.ndarray[Any, Any]], items: Sequence[Item]) -> list[Prediction[str]]:
        rows = zip(items, outputs["logits"], strict=True)
        return [self._answer(item, softmax(row[: len(item[HOLES])])) for item, row in rows]

    def examine(self, items: Sequence[Item], engine: Engine, metrics: Sequence[Metric]) -> list[Prediction[str]]:
        """With the bits of what was hidden, and how much of it was found."""
        found: dict[int, Prediction[str]] = {}
        for places in batches_by_length([item_size(item) for item in items]):
            part = [items[place] for place in places]
            rows = engine.run(self.collate([{k: a for k, a in item.items() if k != LABELS} for item in part]))["logits"]
            for place, item, row in zip(places, part, rows, strict=True):
                found[place] = self._examined(item, softmax(row[: len(item[HOLES])]))
        return [found[place] for place in range(len(items))]

    def baselines(self, examples: Sequence[Example[str, str]], *, seed: int) -> Mapping[str, Baseline[str, str]]:
        """How often each piece comes; and which stood between the same two neighbours."""
        known = _known(self.processor)
        pieces = [_whole(item) for item in self._items(examples)]
        plain = Neighbours(pieces, known.special, known.size, looks=False)
        return {
            "pieces": partial(self._guess, plain),
            "neighbours": partial(self._guess, Neighbours(pieces, known.special, known.size)),
        }

    def _guess(self, model: Neighbours, examples: Sequence[Example[str, str]]) -> list[Prediction[str]]:
        items = self._items(examples)
        return [self._examined(item, model.probabilities(item[IDS], item[HOLES])) for item in items]

    def _items(self, examples: Sequence[Example[str, str]]) -> list[Item]:
        assert self.processor is not None
        return self.encode([e.input for e in examples], self.processor, [e.target for e in examples])

    def _examined(self, item: Item, probabilities: Any) -> Prediction[str]:
        counted = item[LABELS] != IGNORED
        told = examined(probabilities[counted], item[LABELS][counted])
        return replace(self._answer(item, probabilities), examined=told)

    def _answer(self, item: Item, probabilities: Any) -> Prediction[str]:
        """The text with the likeliest word in each hole, and how likely these are on average; of a text that somebody
        has put marks into, the likeliest words of each, numbered where there are several."""
        known = _known(self.processor)
        text = _text(item)
        hidden = item[IDS][item[HOLES]] == known.mask
        rows = probabilities[hidden]
        if not len(rows):
            return Prediction(value=text)
        best = rows.argmax(-1)
        value = filled(text, item[SPANS][hidden], [known.words[i] for i in best.tolist()])
        confidence = float(np.mean(rows[np.arange(len(best)), best]))
        scores = {}
        if known.mask_word in text:
            for number, row in enumerate(rows, 1):
                mark = f"{number} " if len(rows) > 1 else ""
                scores.update({mark + word: p for word, p in likeliest(row, known.words, _TOLD)})
        return Prediction(value=value, confidence=min(confidence, 1.0), scores=scores)


def _known(processor: Processor | None) -> Vocabulary:
    """Raises TypeError where the task was given no processor."""
    from luodi.backends.tokenizers import vocabulary_of

    if processor is None:
        raise TypeError("a text cannot be filled without its processor: with_processor")
    return vocabulary_of(processor)  # type: ignore[arg-type]


def _item(encoded: Item, text: str, known: Vocabulary) -> Item:
    whole = encoded[IDS]
    places = np.flatnonzero(whole == known.mask)
    if not len(places):
        places = draw_places(whole, known.special, fixed_rng(whole))
    if not len(places):  # marks and unknown characters alone
        places = np.zeros(1, np.int64)
    hidden = ~np.isin(whole[places], known.special)
    labels = np.where(hidden, whole[places], IGNORED)
    ids = whole.copy()
    ids[places[hidden]] = known.mask
    spans = np.array([_word_span(text, start, end) for start, end in encoded["offsets"][places].tolist()], np.int32)
    letters = np.frombuffer(text.encode("utf-32-le"), np.uint32)[None]  # one row: it is no position of a batch
    return {IDS: ids, HOLES: places, SPANS: spans, TEXT: letters, LABELS: labels}


def _word_span(text: str, start: int, end: int) -> tuple[int, int]:
    """Without the space before it, which pieces of SentencePiece have."""
    return start + len(text[start:end]) - len(text[start:end].lstrip()), end


def _text(item: Item) -> str:
    return item[TEXT].tobytes().decode("utf-32-le")


def _whole(item: Item) -> Array:
    """The pieces as they were before some were hidden."""
    ids, known = item[IDS].copy(), item[LABELS] != IGNORED
    ids[item[HOLES][known]] = item[LABELS][known]
    return ids
