"""Search: the page's own settings come first, what is hopeless is cut short, and a kill changes nothing."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broken import cut_at
from luodi import lifecycle
from luodi.backends.optuna import Knob, Tried, importances, is_hopeless, next_values
from luodi.cli import main
from luodi.core.config import Brief
from luodi.core.project import open_project
from luodi.core.report import Report
from luodi.core.task import load_task, task_names
from luodi.errors import ConfigError, ResourceError
from luodi.stages.train import loop, search
from luodi.stages.train import train as stage
from luodi.stages.train.checkpoints import ScorePoint
from luodi.stages.train.config import TrainSettings
from luodi.stages.train.space import dearest, differing, find_knobs, lay_settings
from luodi.stages.train.trials import FILE, Study, Trial, write_study
from shop import write_reviews

PAGE = """\
task: text_classification
data: reviews.csv
input: text
target: label
model: bert:tiny
seed: 1
train:
  epochs: 4
  evaluations: 1
  wide: no
  max_length: 32
"""
KNOBS = (Knob(name="rate", default=0.1, low=0.01, high=1.0), Knob(name="size", default=1, choices=(1, 2, 3)))


# ---- what Optuna is asked -------------------------------------------------------------------------------


def tried(rate: float, score: float | None, *scores: float) -> Tried:
    shares = [(place + 1) / max(len(scores), 1) for place in range(len(scores))]
    return Tried(values={"rate": rate, "size": 1}, score=score, scores=tuple(zip(shares, scores, strict=True)))


def test_what_comes_next_hangs_on_the_seed_and_the_trials_alone() -> None:
    trials = [tried(0.01 * 1.5**i, 0.5 + 0.04 * i) for i in range(9)]
    told = [[next_values(KNOBS, trials[:n], seed) for n in range(1, 10)] for seed in (0, 0, 1)]
    assert told[0] == told[1] != told[2]
    for values in told[0]:
        assert 0.01 <= values["rate"] <= 1.0
        assert values["rate"] == float(f"{values['rate']:.2g}")
        assert values["size"] in (1, 2, 3)


def test_a_run_is_hopeless_below_the_median_of_runs_as_far_in_their_plans() -> None:
    # Each has been scored at other shares of its plan, as runs with other batches are.
    done = [tried(0.1, 0.9, 0.4, 0.6, 0.9), tried(0.1, 0.9, *([0.7] * 6)), tried(0.1, 0.8, 0.3, 0.5, 0.6, 0.8)]
    last = tried(0.1, 0.9, 0.6, 0.9)
    assert is_hopeless([*done, last], [(0.2, 0.1), (0.5, 0.4)])
    assert not is_hopeless([*done, last], [(0.5, 0.65)])
    assert not is_hopeless([*done, last], [(0.25, 0.0)]), "too early to tell"
    assert not is_hopeless([*done, last], [(0.04, 0.0)])
    assert not is_hopeless(done, [(0.5, 0.0)]), "too few to tell"
    assert not is_hopeless([*done, tried(0.1, None, 0.9)], [(0.5, 0.0)]), "a pruned one tells nothing"


@pytest.mark.parametrize(("is_higher", "bound"), [(True, 0.9), (False, -0.5)])
def test_a_run_is_given_the_better_end_of_its_interval(is_higher: bool, bound: float) -> None:
    metric = replace(load_task("text_classification").metrics[0], higher_is_better=is_higher)
    assert search._upper(metric, ScorePoint(step=1, seconds=0, value=0.7, low=0.5, high=0.9)) == bound


def test_the_setting_that_matters_is_named() -> None:
    """Pruned trials are of the worse half, and count as such."""
    trials = [replace(tried(0.01 * 1.4**i, 1 - abs(i - 7) / 10), values={"rate": 0.01 * 1.4**i, "size": 1 + i % 3})
              for i in range(14)]  # fmt: skip
    assert max(shares := importances(KNOBS, trials), key=lambda name: shares[name]) == "rate"
    assert sum(shares.values()) == pytest.approx(1)
    pruned = [replace(t, score=t.score if (t.score or 0) > 0.5 else None) for t in trials]
    assert max(shares := importances(KNOBS, pruned), key=lambda name: shares[name]) == "rate"
    assert importances(KNOBS, trials[:9]) == {}


# ---- what is searched -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", task_names())
@pytest.mark.parametrize("kind", ["pretrained", "random"])
def test_few_settings_are_searched_each_with_its_default(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "num_hidden_layers": 8}))
    brief = Brief(model=str(tmp_path) if kind == "pretrained" else "bert:tiny")
    settings, task = TrainSettings(device="auto"), load_task(name)
    knobs = find_knobs(task, brief, settings, ())
    assert 4 <= len(knobs) <= 7
    for knob in knobs:
        assert knob.default in knob.choices if knob.choices else knob.low < float(knob.default) < knob.high
    default = {k.name: k.default for k in knobs}
    assert differing(knobs, default) == {}
    assert lay_settings(settings, knobs, default) is not settings
    assert lay_settings(settings, knobs, default) == settings
    slow = lay_settings(settings, knobs, dearest(knobs))
    assert slow.epochs == (2 * task.default_epochs if kind == "pretrained" else None)
    assert [k.name for k in find_knobs(task, brief, settings, {k.name for k in knobs[1:]})] == ["learning_rate"]


def test_what_is_said_stays() -> None:
    task, brief = load_task("text_classification"), Brief(model="bert:tiny")
    names = {k.name for k in find_knobs(task, brief, TrainSettings(dropout=0.1, label_smoothing=0.2), {"weight_decay"})}
    assert names == {"learning_rate", "tokens_per_batch"}


def test_the_page_remembers_what_it_said(project: Path) -> None:
    made = open_project(project, ["train.dropout=0", "train.epochs=3"])
    assert made.said["train"] == {"epochs", "evaluations", "wide", "max_length", "dropout"}
    assert made.said["evaluate"] == frozenset()


# ---- whole searches -------------------------------------------------------------------------------------


def make_project(folder: Path) -> Path:
    folder.mkdir()
    write_reviews(folder / "reviews.csv", 150)
    (folder / "luodi.yaml").write_text(PAGE, encoding="utf-8")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "shop")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """Three trials without any trouble."""
    folder = make_project(tmp_path_factory.mktemp("search") / "shop")
    return folder, lifecycle.search(open_project(folder), 3)


def study_of(folder: Path) -> Study:
    """The longest there is."""
    told = [msgspec.json.decode(p.read_bytes(), type=Study) for p in (folder / "runs").glob(f"search-*/{FILE}")]
    return max(told, key=lambda study: len(study.trials))


def untimed(folder: Path) -> list[Trial]:
    return [replace(trial, seconds=0.0) for trial in study_of(folder).trials]


def test_the_default_is_first_and_the_best_no_worse(whole: tuple[Path, Report]) -> None:
    folder, report = whole
    trials = study_of(folder).trials
    assert [t.number for t in trials] == [1, 2, 3]
    assert trials[0].values["learning_rate"] == 1e-3
    (best,) = [t for t in trials if t.number == report.details["best"]]
    assert best.score == max(t.score for t in trials if t.score is not None) >= trials[0].score  # type: ignore[type-var]
    assert report.numbers["validation_accuracy"] == best.measure
    # Trials are ordinary results: the page's own, and, with what the report says to lay over it, the best one's.
    project = open_project(folder)
    assert lifecycle.train(project).bundle.endswith(f"train-{trials[0].key}/bundle")
    again = lifecycle.train(open_project(folder, report.details["overrides"]))
    assert again.bundle == report.bundle
    assert report.next == " ".join(["luodi evaluate", str(folder), *report.details["overrides"]])
    assert {r.name for r in project.store.results() if r.verb == "train"} == {
        f"train-{trials[0].key}", f"train-{best.key}"
    }  # fmt: skip
    assert not project.store.drafts()
    assert not list((folder / "runs").glob("test-openings*")), "the test rows were never opened"


def test_the_page_and_the_terminal_tell_of_it(
    whole: tuple[Path, Report], both_languages: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report = whole
    assert main(["train", str(folder), "--search", "3"]) == 0
    told = capsys.readouterr().out
    assert {"en": "Trial", "zh": "试验"}[both_languages] in told.splitlines()[1]
    assert "accuracy" in told.splitlines()[1]
    page = lifecycle.show(open_project(folder)).read_text(encoding="utf-8")
    assert {"en": "All 3 trials", "zh": "全部 3 次试验"}[both_languages] in page
    assert report.details["block"] in page
    assert main(["runs", str(folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["details"]["results"]
    assert [row["verb"] for row in rows if row["verb"] == "search"] == ["search"]


def test_a_search_that_was_killed_and_made_longer_equals_a_whole_one(
    whole: tuple[Path, Report], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off within its second trial; then two trials, then a third."""
    original, runs = loop.training_steps, []

    def broken(*given: Any) -> Any:
        runs.append(given)
        return cut_at(original(*given), 9) if len(runs) == 2 else original(*given)

    monkeypatch.setattr(search, "say_cost", lambda made, cost: "")
    monkeypatch.setattr(stage, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(stage, "training_steps", broken)
    with pytest.raises(KeyboardInterrupt):
        lifecycle.search(open_project(project), 2)
    assert len(study_of(project).trials) == 1
    assert len(list((project / "runs").glob("train-*.work"))) == 1
    lifecycle.search(open_project(project), 2)
    assert len(study_of(project).trials) == 2
    report = lifecycle.search(open_project(project), 3)
    assert untimed(project) == untimed(whole[0])
    assert report.details["best"] == whole[1].details["best"]
    assert len(runs) == 4, "what was done was not done again"
    assert len(list((project / "runs").glob("search-*/manifest.json"))) == 2, "of two trials, and of three"


def test_what_is_hopeless_is_cut_short_and_what_diverges_is_passed_over(
    whole: tuple[Path, Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shop"
    shutil.copytree(whole[0], folder)
    shutil.rmtree(next((folder / "runs").glob("search-*")))
    before = study_of(whole[0])
    good = replace(before.trials[0], score=1.0, scores=((0.1, 1.0), (1.0, 1.0)))
    (draft := folder / "runs" / "search-earlier.work").mkdir()
    write_study(draft, replace(before, trials=tuple(replace(good, number=n) for n in range(1, 5))))
    rates = iter((1e-9, 1e30))
    usual = good.values
    monkeypatch.setattr(search, "next_values", lambda *given: {**usual, "learning_rate": next(rates)})
    report = lifecycle.search(open_project(folder), 6)
    *_, hopeless, diverging = study_of(folder).trials
    assert (hopeless.state, diverging.state) == ("pruned", "diverged")
    assert hopeless.score is None
    assert 0.3 <= hopeless.scores[-1][0] < 1
    assert report.numbers["pruned"].value == 1
    assert report.details["best"] == 1
    assert not [d for d in (folder / "runs").glob("train-*.work")]
    assert main(["train", str(folder), "--search", "6"]) == 0, "such trials have a place on the page and in the table"


def test_a_beaten_bundle_goes_unless_it_is_older_than_the_search(whole: tuple[Path, Report], tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    shutil.copytree(whole[0], folder)
    project, study = open_project(folder), study_of(folder)
    beaten = replace(study.trials[0], number=2, score=0.0)
    other = replace(study, trials=(replace(study.best, number=1, key="elsewhere"), beaten))
    search._forget_beaten(project, replace(other, began="9999"))
    assert project.store.find("train", beaten.key)
    search._forget_beaten(project, other)
    assert not project.store.find("train", beaten.key)


def test_the_same_settings_are_not_trained_twice(
    whole: tuple[Path, Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shop"
    shutil.copytree(whole[0], folder)
    monkeypatch.setattr(search, "next_values", lambda *given: dict(study_of(whole[0]).trials[0].values))
    monkeypatch.setattr("luodi.stages.train.train.set_up", lambda *given: pytest.fail("nothing is to be trained"))
    lifecycle.search(open_project(folder), 4)
    last = study_of(folder).trials[-1]
    assert replace(last, number=1) == study_of(folder).trials[0]


# ---- before it begins -----------------------------------------------------------------------------------


def test_the_estimate_is_of_all_that_is_left_and_leaves_nothing(
    whole: tuple[Path, Report], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = whole
    names = {p.name for p in (folder / "runs").iterdir()}
    found = []
    for count in ("4", "103"):
        assert main(["train", str(folder), "--search", count, "--estimate", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        found.append(told["numbers"]["run_seconds"]["value"])
        assert f"--search {count}" in told["next"]
    assert found[1] > 10 * found[0], "a hundred are left, not one"
    assert {p.name for p in (folder / "runs").iterdir()} == names


@pytest.mark.parametrize("count", ["0", "-3", "x", "2.5"])
def test_a_number_of_trials_that_cannot_be_is_one_line(
    count: str, project: Path, both_languages: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(project), "--search", count]) == 2
    assert capsys.readouterr().err.count("usage.search") == 1
    assert not (project / "runs").exists()


def test_where_all_is_said_there_is_nothing_to_search(project: Path) -> None:
    said = ["learning_rate=1e-3", "tokens_per_batch=512", "dropout=0", "weight_decay=0.01", "loss=auto"]
    with pytest.raises(ConfigError) as caught:
        lifecycle.search(open_project(project, [f"train.{one}" for one in said]), 3)
    assert caught.value.code == "search.nothing"


def test_optuna_missing_is_one_line_naming_the_extra(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ResourceError) as caught:
        lifecycle.search(open_project(project), 3)
    assert caught.value.hint == 'pip install "luodi[search]"'
    assert not (project / "runs").exists()
