"""Entities: stretches of a text with a type, in order, none over another. Places are code points, as in Python."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from luodi.core.measure import Metric
from luodi.core.modality import Codec
from luodi.core.types import Floats, Prediction
from luodi.errors import DataError
from luodi.messages import tr


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """From character `start` up to `end`, which is no longer part of it."""

    start: int
    end: int
    label: str
    text: str = field(default="", compare=False)
    """The characters themselves, where they are known: for readers, not part of the answer."""


class Spans(Codec[tuple[Span, ...]]):
    def decode(self, wire: Any) -> tuple[Span, ...]:
        """Objects with start, end, label (or doccano's start_offset, end_offset), or lists [start, end, label]."""
        if not isinstance(wire, (list, tuple)):
            raise DataError(tr("Entities must be a list."), code="data.spans")
        spans = sorted(_span(part) for part in wire)
        for one, other in zip(spans, spans[1:], strict=False):
            if other.start < one.end:
                message = tr("Two entities overlap: {one} and {other}.").format(one=_said(one), other=_said(other))
                raise DataError(message, code="data.spans")
        return tuple(spans)

    def encode(self, value: tuple[Span, ...]) -> list[dict[str, Any]]:
        return [
            {"start": s.start, "end": s.end, "label": s.label, **({"text": s.text} if s.text else {})} for s in value
        ]

    def load(self, cell: Any, folder: Path) -> tuple[Span, ...]:
        """A table's cell holds them as JSON."""
        if not isinstance(cell, str):
            return self.decode(cell)
        try:
            return self.decode(json.loads(cell))
        except (json.JSONDecodeError, RecursionError) as error:
            message = tr('Entities must be JSON such as [{"start": 0, "end": 2, "label": "ORG"}].')
            raise DataError(message, code="data.spans") from error

    def caption(self, value: tuple[Span, ...]) -> str:
        """The words before their types; places where the words are not known."""
        return "; ".join(f"{s.text or f'{s.start}-{s.end}'} [{s.label}]" for s in value) or "–"

    def counted(self, value: tuple[Span, ...]) -> Sequence[tuple[str, Any]]:
        return [(span.label, span) for span in value]

    def schema(self) -> Mapping[str, Any]:
        place = {"type": "integer", "minimum": 0}
        words = {"type": "string"}
        properties = {"start": place, "end": place, "label": words, "text": words}
        span = {"type": "object", "properties": properties, "required": ["start", "end", "label"]}
        return {"type": "array", "items": span}

    def fingerprint(self, value: tuple[Span, ...]) -> str:
        told = [[s.start, s.end, s.label.casefold()] for s in value]
        return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()

    def feature_names(self) -> tuple[str, ...]:
        return ("entities", "characters", "types")

    def features(self, value: tuple[Span, ...]) -> Floats:
        lengths = sum(s.end - s.start for s in value)
        return np.array([len(value), lengths, len({s.label for s in value})], np.float64)


def with_words(spans: Sequence[Span], text: str) -> tuple[Span, ...]:
    """With the words that stand there. DataError where a span leaves the text, or says that other words stand there."""
    for span in spans:
        there = text[span.start : span.end]
        if span.end > len(text):
            message = tr("The entity {span} ends behind the text, which has {length} characters.")
            raise DataError(message.format(span=_said(span), length=len(text)), code="data.spans")
        if span.text and span.text != there:
            message = tr("The entity {span} is said to be {said!r}, but {found!r} stands there; are places characters?")
            raise DataError(message.format(span=_said(span), said=span.text, found=there), code="data.spans")
    return tuple(Span(s.start, s.end, s.label, text[s.start : s.end]) for s in spans)


def _span(wire: Any) -> Span:
    if isinstance(wire, Span):
        return wire
    if isinstance(wire, Mapping):
        start, end = (wire.get(name, wire.get(f"{name}_offset")) for name in ("start", "end"))
        label, text = wire.get("label"), wire.get("text")
    elif isinstance(wire, (list, tuple)) and len(wire) == 3:
        (start, end, label), text = wire, None
    else:
        raise DataError(tr("An entity must have start, end and label."), code="data.spans")
    if not isinstance(label, str) or not label.strip():
        raise DataError(tr("An entity must have a label that is a word."), code="data.spans")
    span = Span(_place(start), _place(end), label.strip(), text if isinstance(text, str) else "")
    if span.end <= span.start:
        message = tr("The entity {span} must end behind its start.").format(span=_said(span))
        raise DataError(message, code="data.spans")
    return span


def _place(value: Any) -> int:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or value < 0:
        message = tr("An entity's start and end must be whole numbers from 0, not {value!r}.")
        raise DataError(message.format(value=value), code="data.spans")
    return int(value)


def _said(span: Span) -> str:
    return f"{span.start}-{span.end} {span.label}"


# --- metrics: an entity counts as right where both ends and the type are (CoNLL-2003) ---------------------------------


def _counts(targets: Sequence[tuple[Span, ...]], predictions: Sequence[Prediction[tuple[Span, ...]]]) -> Floats:
    """Hits, answers, truths: n x 3."""
    pairs = [(set(t), set(p.value)) for t, p in zip(targets, predictions, strict=True)]
    return np.array([[len(t & p), len(p), len(t)] for t, p in pairs], np.float64).reshape(-1, 3)


def _counts_by_type(targets: Sequence[tuple[Span, ...]], predictions: Sequence[Prediction[tuple[Span, ...]]]) -> Floats:
    """The same for each type found in targets or answers: n x 3 * types, all hits first."""
    answers = [p.value for p in predictions]
    types = sorted({span.label for spans in (*targets, *answers) for span in spans})
    counts = np.zeros((len(targets), 3, len(types)))
    for row, truth, given in zip(counts, targets, answers, strict=True):
        for kind, spans in enumerate((set(truth) & set(given), given, truth)):
            for label, n in Counter(s.label for s in spans).items():
                row[kind, types.index(label)] = n
    return counts.reshape(len(targets), -1)


def _share(above: Floats, below: Floats, missed: Floats) -> Floats:
    """0 / 0 is 1 where nothing was missed either: where nothing was to be found and nothing was given, all is right."""
    return np.where(below > 0, above / np.maximum(below, 1), np.where(missed > 0, 0.0, 1.0))


def _f1(sums: Floats) -> Floats:
    hits, given, truth = np.moveaxis(sums, -1, 0)
    return _share(2 * hits, given + truth, truth)


def _precision(sums: Floats) -> Floats:
    hits, given, truth = np.moveaxis(sums, -1, 0)
    return _share(hits, given, truth)


def _recall(sums: Floats) -> Floats:
    hits, given, truth = np.moveaxis(sums, -1, 0)
    return _share(hits, truth, given)


def _macro_f1(sums: Floats) -> Floats:
    """Mean over types that were there or were answered, as seqeval takes it."""
    hits, given, truth = np.split(sums, 3, axis=-1)
    present = (given + truth > 0).astype(np.float64)
    each = 2 * hits / np.maximum(given + truth, 1)
    return np.where(present.any(-1), (each * present).sum(-1) / np.maximum(present.sum(-1), 1), 1.0)


ENTITY_F1 = Metric(name="entity_f1", sums=_counts, pool=_f1)
SPAN_METRICS = (
    ENTITY_F1,
    Metric(name="entity_precision", sums=_counts, pool=_precision),
    Metric(name="entity_recall", sums=_counts, pool=_recall),
    Metric(name="entity_macro_f1", sums=_counts_by_type, pool=_macro_f1),
)
