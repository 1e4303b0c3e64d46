"""Entity scores beside a small reference that shares no code with them: tags read into chunks, counted by loops."""

from __future__ import annotations

import numpy as np
import pytest

from luodi.core.measure import with_interval
from luodi.core.types import Prediction
from luodi.modalities.spans import SPAN_METRICS, Span

TYPES = ("LOC", "ORG", "PER")
Tags = list[str]


def random_tags(rng: np.random.Generator, length: int) -> Tags:
    tags: Tags = []
    while len(tags) < length:
        if rng.random() < 0.5:
            tags.append("O")
        else:
            kind = TYPES[rng.integers(3)]
            tags += [f"B-{kind}", *[f"I-{kind}"] * int(rng.integers(3))]
    return tags[:length]


def chunks(tags: Tags) -> list[tuple[str, int, int]]:
    """Of valid IOB2."""
    found, begun = [], 0
    for i, tag in enumerate(tags):
        if tag.startswith("B-"):
            begun = i
        if tag != "O" and (i + 1 == len(tags) or not tags[i + 1].startswith("I-")):
            found.append((tag[2:], begun, i + 1))
    return found


def spans(tags: Tags) -> tuple[Span, ...]:
    return tuple(Span(a, b, kind) for kind, a, b in chunks(tags))


def reference(truth: list[Tags], given: list[Tags]) -> dict[str, float]:
    each = {}
    for kind in (*TYPES, None):
        right = said = there = 0
        for t, g in zip(truth, given, strict=True):
            one = [c for c in chunks(t) if kind in (None, c[0])]
            other = [c for c in chunks(g) if kind in (None, c[0])]
            right += sum(c in one for c in other)
            said += len(other)
            there += len(one)
        p, r = right / said if said else 0.0, right / there if there else 0.0
        each[kind] = (p, r, 2 * p * r / (p + r) if p + r else 0.0, said + there)
    met = [each[k][2] for k in TYPES if each[k][3]]
    p, r, f, _ = each[None]
    return {"entity_f1": f, "entity_precision": p, "entity_recall": r, "entity_macro_f1": sum(met) / len(met)}


@pytest.mark.parametrize("seed", range(20))
def test_scores_are_those_of_the_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = [random_tags(rng, int(rng.integers(1, 12))) for _ in range(int(rng.integers(1, 40)))]
    given = [t if rng.random() < 0.4 else random_tags(rng, len(t)) for t in truth]
    expected = reference(truth, given)
    answers = [Prediction(value=spans(g)) for g in given]
    for metric in SPAN_METRICS:
        assert metric.value([spans(t) for t in truth], answers) == pytest.approx(expected[metric.name], abs=1e-12)


def test_sums_of_parts_are_the_sum_of_the_whole_and_bootstrap() -> None:
    rng = np.random.default_rng(0)
    truth = [spans(random_tags(rng, 9)) for _ in range(60)]
    answers = [Prediction(value=t if rng.random() < 0.7 else ()) for t in truth]
    for metric in SPAN_METRICS:
        measure = with_interval(metric, metric.sums(truth, answers))
        assert measure.low < measure.value < measure.high or metric.name == "entity_precision"
        assert measure.n == 60


def test_nothing_to_find_and_nothing_found_is_right() -> None:
    for metric in SPAN_METRICS:
        assert metric.value([()], [Prediction(value=())]) == 1.0
        assert metric.value([()], [Prediction(value=(Span(0, 1, "A"),))]) == 0.0
        assert metric.value([(Span(0, 1, "A"),)], [Prediction(value=())]) == 0.0
