"""Entities in a text: names, companies, places, each from one character to another.

The text is cut into units (`tasks/_tagging.py`), each unit gets a tag from the network, and the best sequence of tags
that makes sense is read as entities. So their ends are exact, however the tokenizer cuts words. A text longer than
`schema.max_length` pieces is read in windows that overlap by a quarter, each unit where it has most around it: nothing
is cut off and no entity is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from luodi.backends.tokenizers import TextProcessor, by_units
from luodi.core.batching import pad
from luodi.core.task import IGNORED, LABELS, Base, Baseline, Engine, OnePassTask, Processor, Recognition, Schema
from luodi.core.types import Array, Batch, Columns, Example, Floats, Item, Prediction, Row
from luodi.errors import DataError
from luodi.messages import tr
from luodi.modalities.label import softmax
from luodi.modalities.spans import SPAN_METRICS, Span, Spans, with_words
from luodi.modalities.text import Text, owners_of
from luodi.tasks._tagging import best_tags, place_units, spans_of, tags_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

Entities = tuple[Span, ...]
IDS, MASK, PLACES, TEXT = "input_ids", "attention_mask", "places", "text"
_SAMPLE = 500  # rows that `recognise` reads
_LEAST = 8  # pieces of a window: fewer would be special pieces alone


class TokenClassification(OnePassTask[str, Entities]):
    name = "token_classification"
    input, output = Text(exact=True), Spans()
    metrics: ClassVar = SPAN_METRICS
    losses: ClassVar = ("cross_entropy", "label_smoothing", "focal", "weighted")
    default_length = 256
    default_epochs = 6  # on the Resume corpus the score on validation rows rises for four or five
    default_frozen = 0.0  # there, after five epochs: 0.932 with half of the layers frozen, 0.943 with none

    @property
    def window(self) -> int:
        """Pieces that the network reads at once."""
        return max(self.schema.max_length, _LEAST)

    @classmethod
    def recognise(cls, table: Mapping[str, Sequence[Any]]) -> Recognition | None:
        """A column of entities, and the column of texts that they fit into."""
        best: tuple[float, str, str] = (0.0, "", "")
        for target, cells in table.items():
            spans = [_entities(cell) for cell in cells[:_SAMPLE]]
            if not any(spans) or sum(s is not None for s in spans) < 0.9 * len(spans):
                continue
            for name, texts in table.items():
                if name != target and (share := _fitting(spans, texts)) > best[0]:
                    best = share, name, target
        share, name, target = best
        if share < 0.9:
            return None
        types = Counter(s.label for cell in table[target][:_SAMPLE] for s in _entities(cell) or ())
        reason: str = tr("{target!r} marks stretches of {text!r} with a type ({types}): entities that are to be found.")
        named = ", ".join(label for label, _ in types.most_common(8))
        reason = reason.format(target=target, text=name, types=named)
        return Recognition(input=(name,), target=target, confidence=0.95, reason=reason)

    def read(self, row: Row, columns: Columns, folder: Path = Path()) -> Example[str, Entities]:
        """With the words of each entity. DataError where one does not lie in the text."""
        example = super().read(row, columns, folder)
        return replace(example, target=with_words(example.target, example.input))

    def learn(self, examples: Sequence[Example[str, Entities]], schema: Schema) -> Schema:
        return replace(schema, labels=tuple(sorted({s.label for e in examples for s in e.target})))

    def corpus(self, examples: Iterable[Example[str, Entities]]) -> Iterable[str]:
        return (e.input for e in examples)

    def make_processor(self, base: Base, examples: Iterable[Example[str, Entities]]) -> Processor:
        made = super().make_processor(base, examples)
        return by_units(made) if isinstance(made, TextProcessor) else made

    def encode(
        self, inputs: Sequence[str], processor: Processor, targets: Sequence[Entities] | None = None
    ) -> list[Item]:
        items: list[Item] = []
        for place, (text, pieces) in enumerate(zip(inputs, processor.encode(inputs), strict=True)):
            ids, places = _windowed(pieces[IDS], pieces["offsets"], text, self.window)
            item: dict[str, Array] = {IDS: ids, PLACES: places, TEXT: np.array(text)}
            if targets is not None:
                item[LABELS] = np.full(len(ids), IGNORED, np.int64)
                is_kept = places[:, 0] >= 0
                item[LABELS][is_kept] = tags_of(targets[place], places[is_kept], self.schema.labels)
            items.append(item)
        return items

    def collate(self, items: Sequence[Item]) -> Batch:
        """A row for each window."""
        length = self.window
        cuts = [(item, slice(i, i + length)) for item in items for i in range(0, max(len(item[IDS]), 1), length)]
        ids = [item[IDS][cut] for item, cut in cuts]
        batch = {IDS: pad(ids), MASK: pad([np.ones(len(i), np.int64) for i in ids])}
        if items and LABELS in items[0]:
            batch[LABELS] = pad([item[LABELS][cut] for item, cut in cuts], IGNORED)
        return batch

    def build(self, base: Base) -> Module:
        from luodi.models.token_head import TokenHead

        return TokenHead(base.encoder(), num_tags=1 + 4 * len(self.schema.labels))

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        """Mean over units; 0 where the batch has none."""
        from luodi.models.losses import class_loss

        logits, tags = outputs["logits"].flatten(0, 1), batch[LABELS].flatten()
        summed = class_loss(self.objective, logits, tags, reduction="sum")
        return summed / (tags != IGNORED).sum().clamp(min=1)

    def strength(
        self, inputs: Sequence[str], answer: Prediction[Entities], processor: Processor, engine: Engine
    ) -> Floats:
        """How much of the answer is still found: its entities by their words, since places move when words are hidden.
        Of an answer without entities: 1 where none is found."""
        wanted = Counter((span.label, span.text) for span in answer.value)
        found = self.predict(self.encode(inputs, processor), engine)
        kept = [(Counter((s.label, s.text) for s in p.value) & wanted).total() for p in found]
        alone = [float(not p.value) for p in found]
        return np.array([k / wanted.total() for k in kept] if wanted else alone)

    def owners(self, value: str, processor: Processor) -> Array:
        """Of texts that are read at once; windows of a longer one repeat its pieces."""
        offsets = processor.encode([value])[0]["offsets"]
        return owners_of(value, offsets) if len(offsets) <= self.window else super().owners(value, processor)

    def slices(self, example: Example[str, Entities]) -> Mapping[str, str]:
        """Texts without an entity are in no slice of their number: what is found in them can only be wrong, so that F1
        would be all or nothing."""
        count = len(example.target)
        several = {"entities": "one" if count == 1 else "several"} if count else {}
        return {**super().slices(example), **several}

    def decode(self, outputs: Mapping[str, Array], items: Sequence[Item]) -> list[Prediction[Entities]]:
        """Confident as in its least certain tag, "no entity" among them."""
        sizes = [len(item[IDS]) for item in items]
        chances = _rows_of_items(softmax(outputs["logits"]), sizes, self.window)
        kept = [p[item[PLACES][:, 0] >= 0] for p, item in zip(chances, items, strict=True)]
        tags = best_tags(np.log(np.maximum(pad(kept), 1e-12)), [len(p) for p in kept])
        answers = []
        for item, p, row in zip(items, kept, tags, strict=True):
            places = item[PLACES][item[PLACES][:, 0] >= 0]
            told = row[: len(p)]
            spans = spans_of(told, places, self.schema.labels, str(item[TEXT]))
            sure = p[np.arange(len(p)), told].min(initial=1.0)
            answers.append(Prediction(value=spans, confidence=float(sure)))
        return answers

    def baselines(
        self, examples: Sequence[Example[str, Entities]], *, seed: int
    ) -> Mapping[str, Baseline[str, Entities]]:
        from luodi.tasks._simple_tagger import fit_dictionary, fit_windows

        return {"dictionary": fit_dictionary(examples), "windows": fit_windows(examples, seed=seed)}


def _windowed(ids: Array, offsets: Array, text: str, length: int) -> tuple[Array, Array]:
    """Pieces and the places that they answer for. Of a long text all windows, one after the other: each as long as
    may be but the last, and each with the special pieces around it."""
    places = place_units(text, offsets)
    if len(ids) <= length:
        return ids, places
    inner = np.flatnonzero(offsets[:, 0] < offsets[:, 1])
    if not len(inner):
        return ids[:length], places[:length]
    before, behind = ids[: inner[0]], ids[inner[-1] + 1 :]
    ids, places = ids[inner[0] : inner[-1] + 1], places[inner[0] : inner[-1] + 1]
    room = max(1, length - len(before) - len(behind))
    step = max(1, room - room // 4)
    starts = range(0, max(len(ids) - room, 0) + step, step)
    ends = [min(start + room, len(ids)) for start in starts]
    found_ids, found_places = [], []
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        own = places[start:end].copy()
        if i:
            own[: (ends[i - 1] - start) // 2] = -1  # this much of the overlap the window before answers for
        if i + 1 < len(ends):
            own[len(own) - (end - starts[i + 1]) + (end - starts[i + 1]) // 2 :] = -1
        found_ids += [before, ids[start:end], behind]
        found_places += [np.full((len(before), 2), -1), own, np.full((len(behind), 2), -1)]
    return np.concatenate(found_ids), np.concatenate(found_places).astype(np.int32)


def _rows_of_items(rows: Array, sizes: Sequence[int], length: int) -> list[Array]:
    """Of a batch as `collate` makes it: each item's own windows, one after the other and without padding."""
    found = []
    row = 0
    for size in sizes:
        ends = [min(length, size - begun) for begun in range(0, max(size, 1), length)]
        found.append(np.concatenate([rows[row + i, :end] for i, end in enumerate(ends)]))
        row += len(ends)
    return found


def _entities(cell: Any) -> Entities | None:
    """None where the cell is no list of entities."""
    if not isinstance(cell, (list, tuple)) and not (isinstance(cell, str) and cell.lstrip().startswith("[")):
        return None
    try:
        return Spans().load(cell, Path())
    except DataError:
        return None


def _fitting(spans: Sequence[Entities | None], texts: Sequence[Any]) -> float:
    """Share of the entities' rows whose text is long enough for them."""
    told = [(s, t) for s, t in zip(spans, texts, strict=False) if s]
    return sum(isinstance(t, str) and len(t) >= s[-1].end for s, t in told) / len(told)
