"""The contract decides; so what it decides is held here, limit by limit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luodi.core.contract import VERBS, Judgement, State, explain_judgement, parse_contract, stage_names, verdict_of
from luodi.core.measure import Measure
from luodi.core.report import Verdict
from luodi.errors import ConfigError

METRICS = ("accuracy", "macro_f1")


def measure(value: float, low: float | None = None, high: float | None = None) -> Measure:
    return Measure(value=value, low=value if low is None else low, high=value if high is None else high, n=100)


def judge(accept: dict[str, Any], verb: str, numbers: dict[str, Measure]) -> list[Judgement]:
    return list(parse_contract(accept, METRICS).judge(verb, numbers))


def states(accept: dict[str, Any], verb: str, numbers: dict[str, Measure]) -> list[State]:
    return [j.state for j in judge(accept, verb, numbers)]


@pytest.mark.parametrize(
    ("wanted", "at_least", "at_most"),
    [(">= 0.9", 0.9, None), ("<=30", None, 30), (" >= 90 % ", 0.9, None), (">= 1", 1, None)],
)
def test_limits_are_read(wanted: str, at_least: float | None, at_most: float | None) -> None:
    limit = parse_contract({"accuracy": wanted}, METRICS).limits[0]
    assert (limit.at_least, limit.at_most) == (at_least, at_most)


@pytest.mark.parametrize("wanted", ["0.9", "> 0.9", ">= high", "", None, 0.9, ">= -1", "== 1", ">= 0.9 <= 1"])
def test_what_is_no_limit_is_told(wanted: Any, both_languages: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_contract({"accuracy": wanted}, METRICS)
    assert caught.value.code == "config.limit"
    assert "accuracy" in caught.value.message


def test_an_unknown_limit_is_told_with_the_one_meant() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_contract({"acuracy": ">= 0.9"}, METRICS)
    assert "accuracy" in caught.value.hint
    with pytest.raises(ConfigError):
        parse_contract({"rouge": ">= 0.9"}, METRICS)


def test_beats_baseline_takes_yes_or_no() -> None:
    assert parse_contract({"beats_baseline": False}, METRICS).limits == ()
    with pytest.raises(ConfigError):
        parse_contract({"beats_baseline": ">= 1"}, METRICS)


@given(value=st.floats(0, 1), limit=st.integers(0, 100))
@settings(deadline=None)
def test_kept_if_and_only_if_the_number_is_within(value: float, limit: int) -> None:
    number = {"accuracy": measure(value)}
    assert (states({"accuracy": f">= {limit / 100}"}, "evaluate", number) == [State.KEPT]) == (value >= limit / 100)
    assert (states({"accuracy": f"<= {limit / 100}"}, "evaluate", number) == [State.KEPT]) == (value <= limit / 100)


@pytest.mark.parametrize(
    ("name", "wanted", "due"),
    [
        ("accuracy", ">= 0.9", "evaluate"), ("slices.*", ">= 0.9", "evaluate"), ("beats_baseline", True, "evaluate"),
        ("robustness", ">= 0.9", "secure"), ("p95_ms", "<= 30", "compress"), ("size_mb", "<= 45", "compress"),
    ],
)  # fmt: skip
def test_open_before_its_verb_and_broken_when_it_was_not_measured(name: str, wanted: Any, due: str) -> None:
    for verb in VERBS:
        is_open = VERBS.index(verb) < VERBS.index(due) or due not in stage_names()
        expected = State.OPEN if is_open else State.BROKEN
        assert states({name: wanted}, verb, {}) == [expected]


SLICES = {
    "accuracy": measure(0.95), "slices.language.zh": measure(0.9), "slices.language.en": measure(0.7),
    "slices.length.short": measure(0.6),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "where", "value"),
    [
        ("slices.*", "length.short", 0.6),
        ("slices.language.*", "language.en", 0.7),
        ("slices.language.zh", "language.zh", 0.9),
    ],
)
def test_a_slice_limit_is_judged_on_its_worst_slice(name: str, where: str, value: float) -> None:
    [found] = judge({name: ">= 0.8"}, "evaluate", SLICES)
    assert found.where == where
    assert found.measured is not None
    assert found.measured.value == value
    assert found.state is (State.KEPT if value >= 0.8 else State.BROKEN)


def test_the_worst_of_an_upper_limit_is_the_highest() -> None:
    [found] = judge({"slices.*": "<= 0.8"}, "evaluate", SLICES)
    assert found.where == "language.zh"


def test_better_than_the_baseline_by_chance_is_not_better() -> None:
    numbers = {
        "beats_baseline.majority": measure(0.4, 0.3, 0.5), "beats_baseline.tfidf": measure(0.02, -0.01, 0.05)
    }  # fmt: skip
    [found] = judge({"beats_baseline": True}, "evaluate", numbers)
    assert (found.state, found.where) == (State.BROKEN, "tfidf")
    sure = {**numbers, "beats_baseline.tfidf": measure(0.02, 0.001, 0.04)}
    assert states({"beats_baseline": True}, "evaluate", sure) == [State.KEPT]


@given(found=st.lists(st.sampled_from(list(State)), max_size=6))
@settings(deadline=None)
def test_one_broken_limit_refuses_and_nothing_due_is_done(found: list[State]) -> None:
    limit = parse_contract({"accuracy": ">= 0.9"}, METRICS).limits[0]
    verdict = verdict_of([Judgement(limit=limit, state=state, measured=None) for state in found])
    if State.BROKEN in found:
        assert verdict is Verdict.REFUSED
    else:
        assert verdict is (Verdict.ACCEPTED if State.KEPT in found else Verdict.DONE)
    assert verdict.exit_code == (1 if State.BROKEN in found else 0)


def test_the_first_quality_limit_names_the_metric() -> None:
    accept = {"size_mb": "<= 45", "slices.*": ">= 0.5", "beats_baseline": True, "macro_f1": ">= 0.8"}
    accept["accuracy"] = ">= 0.9"
    assert [limit.name for limit in parse_contract(accept, METRICS).quality] == ["macro_f1", "accuracy"]


def test_every_judgement_is_said_in_words(both_languages: str) -> None:
    accept = {"accuracy": ">= 0.9", "slices.*": ">= 0.8", "beats_baseline": True, "p95_ms": "<= 30"}
    accept["macro_f1"] = ">= 0.1"
    numbers = {**SLICES, "beats_baseline.tfidf": measure(0.1, 0.05, 0.15)}
    said = [explain_judgement(j) for j in judge(accept, "evaluate", numbers)]
    assert len(said) == len(accept)
    assert "0.95" in said[0]
    assert "length.short" in said[1]
    assert "tfidf" in said[2]
    assert "compress" in said[3]
    row = judge(accept, "evaluate", numbers)[0].as_row()
    assert row == {
        "limit": "accuracy >= 0.9", "state": "kept", "where": "", "due": "evaluate", "value": 0.95, "low": 0.95,
        "high": 0.95, "n": 100,
    }  # fmt: skip
