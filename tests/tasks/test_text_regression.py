"""A number for a text, through all stages: nothing in them knows of it."""

from __future__ import annotations

import csv
import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luodi.core.bundle import Bundle, compare, golden_pairs, open_bundle
from luodi.core.config import Brief
from luodi.core.contract import parse_contract
from luodi.core.task import LABELS, Schema, load_task
from luodi.core.types import Dataset, Example, Prediction
from luodi.errors import ConfigError, DataError
from luodi.modalities.number import MAE, R2, Number, middle_and_spread, readable
from luodi.predict import predict_file
from luodi.propose import propose
from luodi.stages.compress.compress import Compressed, TestSet, compress
from luodi.stages.compress.config import CompressSettings
from luodi.stages.compress.gate import agreement, judge
from luodi.stages.evaluate.config import EvaluateSettings
from luodi.stages.evaluate.evaluate import Scorecard, evaluate
from luodi.stages.serve.config import ServeSettings
from luodi.stages.train.config import TrainSettings, check
from serving import served
from tiny import make_numbers, train_bundle

QUICK = CompressSettings(timed=4, rounds=1, calibration=10, threads=1, candidates=["onnx"])
TASK = load_task("text_regression")
CONTRACT = parse_contract({"r2": ">= 0.6", "beats_baseline": True}, [m.name for m in TASK.metrics])


@pytest.fixture(scope="module")
def data() -> Dataset[str, float]:
    return make_numbers()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, data: Dataset[str, float]) -> Bundle[str, float]:
    folder = tmp_path_factory.mktemp("numbers") / "bundle"
    train_bundle(folder, "text_regression", data, rounds=12)
    return open_bundle(folder, threads=1)


@pytest.fixture(scope="module")
def compressed(
    tmp_path_factory: pytest.TempPathFactory, bundle: Bundle[str, float], data: Dataset[str, float]
) -> tuple[Path, Compressed]:
    folder = tmp_path_factory.mktemp("compressed")
    test = TestSet(examples=data.test, baselines={})
    return folder, compress(bundle, data.train, data.validation, lambda: test, CONTRACT, QUICK, folder)


@pytest.fixture(scope="module")
def scored(
    tmp_path_factory: pytest.TempPathFactory, bundle: Bundle[str, float], data: Dataset[str, float]
) -> tuple[Path, Scorecard]:
    folder = tmp_path_factory.mktemp("scored")
    return folder, evaluate(bundle, data, CONTRACT, EvaluateSettings(), folder)


def learned(**changes: Any) -> Any:
    return load_task("text_regression", Schema(middle=400.0, spread=50.0, **changes))


# --- the answers --------------------------------------------------------------------------------------------------


def test_targets_are_learned_in_spreads_and_told_in_their_own_unit(data: Dataset[str, float]) -> None:
    schema = TASK.learn(data.train, Schema())
    numbers = [e.target for e in data.train]
    assert (schema.middle, schema.spread) == pytest.approx((np.mean(numbers), np.std(numbers)))
    task = load_task("text_regression", schema)
    assert task.decode({"logits": np.array([[0.0]])}, [{}])[0].value == pytest.approx(schema.middle, abs=1e-3)
    told = task.decode({"logits": np.array([[2.0]])}, [{}])[0]
    assert told.value == pytest.approx(schema.middle + 2 * schema.spread, abs=1e-3)
    assert told.confidence is None
    assert told.scores == {}


def test_items_hold_the_standardised_target() -> None:
    class Words:
        def encode(self, parts: Any) -> list[dict[str, Any]]:
            return [{"input_ids": np.arange(4)} for _ in parts]

    items = learned().encode(["a", "b"], Words(), [300.0, 500.0])
    assert learned().collate(items)[LABELS].tolist() == [-2.0, 2.0]


@pytest.mark.parametrize(
    ("number", "spread", "told"),
    [(3.123456789, 1.0, 3.1235), (3.123456789, 0.99, 3.12346), (41234.5678, 2000.0, 41234.6), (4.6e-7, 2e-3, 5e-7)],
)
def test_answers_have_no_more_figures_than_can_be_meant(number: float, spread: float, told: float) -> None:
    assert readable(number, spread) == pytest.approx(told, abs=1e-12)
    assert math.isnan(readable(float("nan"), spread))


@pytest.mark.parametrize(
    ("cell", "told"), [("1,299.00", 1299.0), (" −3．５ ", -3.5), (".5", 0.5), ("1e-4", 1e-4), (7, 7.0), ("-0", 0.0)]
)
def test_numbers_are_read_as_people_write_them(cell: Any, told: float) -> None:
    number = Number().decode(cell)
    assert number == told
    assert math.copysign(1, number) == math.copysign(1, told)


def test_the_order_of_rows_changes_no_bit() -> None:
    numbers = [random.Random(i).gauss(1e6, 1) for i in range(999)]
    assert middle_and_spread(numbers) == middle_and_spread(sorted(numbers))


def test_one_number_alone_is_nothing_to_learn(both_languages: str) -> None:
    same = [Example(id=str(i), input="x", target=0.1) for i in range(7)]
    with pytest.raises(DataError, match=r"0\.1") as caught:
        TASK.learn(same, Schema())
    assert caught.value.code == "data.one_number"


# --- training -----------------------------------------------------------------------------------------------------


def test_a_loss_of_classes_is_refused(both_languages: str) -> None:
    for name in ("mse", "huber", "auto"):
        check(replace(TrainSettings(), loss=name), TASK)
        if name != "auto":
            with pytest.raises(ConfigError, match=name):
                check(replace(TrainSettings(), loss=name), load_task("text_classification"))
    for name in ("cross_entropy", "focal"):
        with pytest.raises(ConfigError, match="mse, huber") as caught:
            check(replace(TrainSettings(), loss=name), TASK)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("losses", "epochs"), [(("huber",), 1), pytest.param(("huber", "mse"), 4, marks=pytest.mark.long)]
)
def test_wild_numbers_do_not_decide_by_huber(
    losses: tuple[str, ...], epochs: int, tmp_path: Path, data: Dataset[str, float]
) -> None:
    """Five of 200 prices are thirty times too high. The limit names the error, so the least of it is kept."""
    pytest.importorskip("torch")
    from luodi.stages.train.train import train

    rows = [replace(e, target=30 * e.target) if i % 40 == 0 else e for i, e in enumerate(data.train)]
    brief = Brief(
        task="text_regression", data="a.csv", input="text", target="price", model="bert:tiny", accept={"mae": "<= 50"}
    )
    error = {}
    for loss in losses:
        settings = TrainSettings(loss=loss, epochs=epochs, tokens_per_batch=256, max_length=24)  # type: ignore[arg-type]
        made = train(TASK, rows, data.validation, brief, settings, tmp_path / loss)
        error[loss] = made.numbers["validation_mae"].value
        assert error[loss] == pytest.approx(min(score["value"] for score in made.details["scores"]))
        schema = open_bundle(made.bundle).manifest.schema
        assert schema.objective is not None
        assert schema.objective.name == loss
        assert schema.spread > 1000
    assert error["huber"] < 0.7 * error.get("mse", 1e9)


# --- judging ------------------------------------------------------------------------------------------------------


def test_it_is_held_against_the_mean_and_a_linear_model(scored: tuple[Path, Scorecard]) -> None:
    _, found = scored
    assert {b["name"] for b in found.details["baselines"]} == {"mean", "tfidf_ridge"}
    assert found.numbers["r2"].value > 0.6
    assert found.numbers["baseline.mean"].value == pytest.approx(0.0, abs=0.1)
    assert found.numbers["baseline.tfidf_ridge"].value > 0.5
    assert found.numbers["mae"].unit == "units"
    assert 0 < found.numbers["mae"].value < found.numbers["rmse"].value
    assert found.numbers["spearman"].value > 0.6
    assert not {"confusion", "calibration", "per_class"} & set(found.details)


def test_the_work_list_begins_with_what_is_furthest_off(
    bundle: Bundle[str, float], data: Dataset[str, float], scored: tuple[Path, Scorecard]
) -> None:
    folder, found = scored
    with (folder / "errors.csv").open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.DictReader(handle))
    off = [abs(float(row["target"]) - float(row["answer"])) for row in rows]
    assert off == sorted(off, reverse=True)
    assert len(off) == found.details["wrong"]
    assert min(off, default=99) > bundle.manifest.schema.spread / 10
    answers = bundle.predict([e.input for e in data.test])
    near = [abs(a.value - e.target) for a, e in zip(answers, data.test, strict=True)]
    assert sum(gap > bundle.manifest.schema.spread / 10 for gap in near) == len(off)


def test_answers_a_hair_apart_are_one() -> None:
    task = learned()
    ours = [Prediction(value=400.0), Prediction(value=404.9), Prediction(value=420.0)]
    assert agreement(task, ours, [Prediction(value=400.0)] * 3) == pytest.approx(2 / 3)


def test_what_may_be_lost_of_an_error_is_a_share_of_it() -> None:
    """1 % of an error of 10 is 0.1: candidates that are off by 0.05 more may be taken, by 0.5 more not."""
    examples = [Example(id=str(i), input="好" * 30, target=400.0 + i) for i in range(40)]
    trained = [Prediction(value=e.target + 10) for e in examples]
    for more, is_refused in ((0.05, False), (0.5, True)):
        ours = [Prediction(value=p.value + more) for p in trained]
        judged = judge(learned(), examples, ours, trained, MAE, CompressSettings(max_loss=0.01))
        assert bool(judged.refused) is is_refused
    broken = [Prediction(value=float("nan")), *trained[1:]]
    assert "1" in judge(learned(), examples, broken, trained, R2, CompressSettings()).refused


def test_goldens_are_held_in_spreads() -> None:
    task = learned()
    golden = golden_pairs(task, ["a"], [Prediction(value=412.0)])
    for value, holds in ((412.0, True), (412.04, True), (412.1, False)):
        parity = compare(golden, golden_pairs(task, ["a"], [Prediction(value=value)]), 1e-3, task.schema.spread)
        assert parity.holds is holds
        assert parity.worst == pytest.approx((value - 412.0) / 50)
    assert not compare(golden, golden_pairs(task, ["a"], [Prediction(value=float("nan"))]), 1e-3, 50.0).holds


# --- behind training ----------------------------------------------------------------------------------------------


def test_exports_answer_alike(compressed: tuple[Path, Compressed], bundle: Bundle[str, float], data: Any) -> None:
    folder, result = compressed
    made = {row["name"]: row for row in result.details["candidates"]}
    assert result.details["failed"] == []
    assert made["onnx"]["agreement"] == 1.0
    assert result.details["parity"]["worst"] < 1e-3
    inputs = [e.input for e in data.test]
    pairs = list(zip(open_bundle(folder / "bundle").predict(inputs), bundle.predict(inputs), strict=True))
    assert agreement(bundle.task, [a for a, _ in pairs], [b for _, b in pairs]) >= 0.9


def test_it_answers_over_http_and_in_files(
    compressed: tuple[Path, Compressed], data: Dataset[str, float], tmp_path: Path
) -> None:
    folder, _ = compressed
    made = open_bundle(folder / "bundle", threads=1)
    asked = data.test[0].input
    with served(folder / "bundle", ServeSettings(threads=1)) as service:
        output = service.ask(asked).json()["output"]
        described = service.client.get("/openapi.json").json()
    assert output["value"] == pytest.approx(made.predict([asked])[0].value, abs=0.1)
    assert (output["confidence"], output["scores"]) == (None, {})
    assert described["components"]["schemas"]["Answer"]["properties"]["value"]["type"] == "number"
    (tmp_path / "a.csv").write_text(f"text\n{asked}\n", encoding="utf-8")
    predict_file(made, tmp_path / "a.csv", tmp_path / "b.jsonl")
    row = json.loads((tmp_path / "b.jsonl").read_text(encoding="utf-8"))
    assert row["answer"] == pytest.approx(output["value"], abs=0.1)


# --- from a file --------------------------------------------------------------------------------------------------


def write(path: Path, head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([head, *rows])
    return path


def texts(count: int) -> list[tuple[str, float]]:
    return [(e.input + " so" * (i % 9), e.target) for i, e in enumerate(make_numbers().train[:count])]


def test_a_column_of_decimals_is_recognised(tmp_path: Path) -> None:
    rows = [(text, price / 7) for text, price in texts(120)]
    found = propose(write(tmp_path / "a.csv", ("review", "worth"), rows))
    assert (found.task, found.input, found.target) == ("text_regression", ("review",), "worth")
    assert [limit.name for limit in found.limits] == ["r2", "beats_baseline", "p95_ms", "size_mb"]


def test_a_limit_of_less_than_nothing_is_not_proposed(tmp_path: Path) -> None:
    rng = random.Random(3)
    rows = [(text, rng.gauss(0, 1)) for text, _ in texts(120)]
    found = propose(write(tmp_path / "a.csv", ("review", "worth"), rows))
    name, wanted = found.limits[0].name, found.limits[0].wanted
    assert name == "r2"
    assert parse_contract({name: wanted}, ["r2"]).limits[0].at_least is not None


def test_five_stars_stay_labels_and_order_numbers_nothing(tmp_path: Path) -> None:
    rows = [(i + 1000, text, 1 + i % 5) for i, (text, _) in enumerate(texts(120))]
    assert propose(write(tmp_path / "a.csv", ("order", "review", "stars"), rows)).task == "text_classification"
    assert propose(write(tmp_path / "b.csv", ("order", "review"), [r[:2] for r in rows])).task == "text_generation"
