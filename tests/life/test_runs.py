"""`luodi runs`: what lies in a project; nothing goes that a report or a running service points to."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from luodi import runs
from luodi.cli import main
from luodi.core.measure import Measure
from luodi.core.report import Report, Verdict, keep_report
from luodi.core.store import MANIFEST, Result, Store, hash_file, leased
from luodi.errors import LuodiError, ResourceError
from luodi.screen import aligned

CHAIN = {"prepare": (), "train": ("prepare",), "evaluate": ("prepare", "train"),
         "compress": ("prepare", "train", "evaluate")}  # fmt: skip


def make(folder: Path, verb: str, key: str, *parents: Result, recipe: Any = None) -> Result:
    """A published result with a report, as a verb leaves it."""

    def work(draft: Path) -> None:
        (draft / "bundle").mkdir(exist_ok=True)
        (draft / "bundle" / "weights.bin").write_bytes(bytes(1000))
        number = Measure(value=0.9, low=0.8, high=0.95, n=100)
        report = Report(verb=verb, verdict=Verdict.DONE, numbers={"accuracy": number}, details={"metric": "accuracy"})
        keep_report(draft / "report.json", report)

    return Store(folder / "runs").make(verb, key, {p.verb: p.key for p in parents}, work, recipe)


def life(folder: Path, ending: str) -> dict[str, Result]:
    """Four results, each made from those before it; their keys share an ending."""
    made: dict[str, Result] = {}
    for verb, parents in CHAIN.items():
        made[verb] = make(folder, verb, f"{verb[0]}{ending}", *(made[p] for p in parents))
    return made


def names(folder: Path) -> set[str]:
    return {r.name for r in Store(folder / "runs").results()}


def test_what_is_current_and_what_is_old(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = life(tmp_path, "1"), life(tmp_path, "2")
    make(tmp_path, "train", "t3", second["prepare"])
    (tmp_path / "runs" / "evaluate-e3.work").mkdir()
    assert main(["runs", str(tmp_path), "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["details"]["results"]}
    assert {name for name, row in rows.items() if row["state"] == "old"} == {r.name for r in first.values()}
    # An older training is current as long as the newest scores are of its model.
    assert rows["train-t2"]["state"] == rows["train-t3"]["state"] == "current"
    assert rows["evaluate-e3"]["state"] == "unfinished"
    assert rows["compress-c2"]["made_from"] == ["prepare-p2", "train-t2", "evaluate-e2"]
    assert rows["compress-c2"]["number"] == {"value": 0.9, "low": 0.8, "high": 0.95, "n": 100, "unit": ""}
    assert main(["runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len({line.index(" current") for line in lines if line.endswith("current")}) == 1, "columns stand in line"


def test_clean_takes_what_nothing_points_to(tmp_path: Path) -> None:
    first, second = life(tmp_path, "1"), life(tmp_path, "2")
    for draft in ("train-t0.work", "predict-x.work"):
        (tmp_path / "runs" / draft).mkdir()
    make(tmp_path, "train", "t3", second["prepare"])
    with leased(first["compress"].path / "bundle"):
        report = runs.clean_runs(tmp_path)
    # The service's Bundle and all that it was made from stay too; the draft of train has been overtaken.
    assert set(report.details["removed"]) == {"train-t0"}
    report = runs.clean_runs(tmp_path)
    assert set(report.details["removed"]) == {r.name for r in first.values()}
    assert report.details["bytes"] > 4 * 1000
    assert names(tmp_path) == {r.name for r in second.values()} | {"train-t3"}
    assert (tmp_path / "runs" / "predict-x.work").is_dir(), "nobody has gone beyond it"
    assert runs.clean_runs(tmp_path).details["removed"] == []


@pytest.mark.parametrize(
    ("name", "who"),
    [("train-t1", "evaluate-e1, compress-c1"), ("compress-c2", "report page"), ("compress-c1", "process")],
)
def test_what_is_needed_stays_and_the_reason_is_told(name: str, who: str, tmp_path: Path) -> None:
    first, _ = life(tmp_path, "1"), life(tmp_path, "2")
    with leased(first["compress"].path / "bundle"), pytest.raises(ResourceError) as caught:
        runs.remove_run(tmp_path, name)
    assert caught.value.code == "runs.needed"
    assert who in caught.value.message
    assert name in names(tmp_path)


def test_removed_from_the_end_of_the_chain(tmp_path: Path) -> None:
    first, second = life(tmp_path, "1"), life(tmp_path, "2")
    for verb in reversed(CHAIN):
        assert runs.remove_run(tmp_path, first[verb].name).details["removed"] == [first[verb].name]
    assert names(tmp_path) == {r.name for r in second.values()}
    assert {p.name for p in (tmp_path / "runs").iterdir()} == names(tmp_path) | {".lock"}


def test_two_results_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make(tmp_path, "prepare", "p", recipe={"brief": {"data": "a.csv"}, "settings": {}, "code": "c"})
    for key, epochs in (("a1", 3), ("b1", 4)):
        recipe = {"brief": {"model": "bert:tiny", "accept": {"accuracy": key}}, "settings": {"epochs": epochs}}
        make(tmp_path, "train", key, data, recipe=recipe)
    assert main(["runs", str(tmp_path), "train-a", f"{tmp_path}/runs/train-b1/", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["details"]
    assert told["settings"] == [
        {"name": "accept.accuracy", "first": "a1", "second": "b1"}, {"name": "train.epochs", "first": 3, "second": 4}
    ]
    assert [(n["name"], n["first"]["value"], n["second"]["value"]) for n in told["numbers"]] == [("accuracy", 0.9, 0.9)]
    assert runs.compare_runs(tmp_path, "train-a1", "train-a1").findings[0].startswith("They were made with the same")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["{folder}", "train"], "usage.runs"),
        (["{folder}", "--clean", "--remove", "train-t1"], "usage.runs"),
        (["{folder}", "train", "evaluate"], "runs.name"),
        (["{folder}", "--remove", "nothing"], "runs.name"),
        (["{folder}/nowhere"], "project.folder"),
        (["{folder}/empty"], "runs.none"),
    ],
)
def test_bad_words_are_one_line(
    words: list[str], code: str, tmp_path: Path, both_languages: str, capsys: pytest.CaptureFixture[str]
) -> None:
    life(tmp_path, "1"), life(tmp_path, "2")
    (tmp_path / "empty").mkdir()
    assert main(["runs", *(word.format(folder=tmp_path) for word in words)]) == 2
    told = capsys.readouterr().err.strip()
    assert code in told
    assert len(told.splitlines()) == 1
    assert len(names(tmp_path)) == 8


def test_columns_stand_in_line_in_chinese_too() -> None:
    assert aligned([("结果", "a"), ("abcde", "b"), ("é\u0301", "c")]) == ["结果   a", "abcde  b", "é\u0301      c"]


class Shelves(RuleBasedStateMachine):
    """Results made, killed, served, removed and cleaned in any order. Whatever happens: a result is whole, the newest
    of each verb is there with all that it was made from, and what is served is there."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.count = 0
        self.served: dict[str, Any] = {}
        self.newest: dict[str, int] = {}

    @rule(verb=st.sampled_from(list(CHAIN)), old=st.integers(0, 2))
    def make(self, verb: str, old: int) -> None:
        """From the newest results of the verbs before it, or older ones."""
        parents = [[r for r in self.results() if r.verb == v] for v in CHAIN[verb]]
        if all(parents):
            self.count += 1
            make(self.folder, verb, f"k{self.count}", *(found[max(-1 - old, -len(found))] for found in parents))

    @rule(verb=st.sampled_from(list(CHAIN)))
    def kill(self, verb: str) -> None:
        """Nothing cleans up: what the work had written stays."""
        self.count += 1
        draft = self.folder / "runs" / f"{verb}-k{self.count}.work"
        draft.mkdir(parents=True)
        (draft / ".tmpAbCdEf").write_bytes(b"half")
        (draft / MANIFEST).write_text("{", encoding="utf-8")

    @rule(data=st.data())
    def serve_or_stop(self, data: st.DataObject) -> None:
        results = [r for r in self.results() if r.verb == "compress"]
        if self.served and data.draw(st.booleans()):
            self.served.popitem()[1].__exit__(None, None, None)
        elif results:
            result = data.draw(st.sampled_from(results))
            if result.name not in self.served:
                self.served[result.name] = leased(result.path / "bundle")
                self.served[result.name].__enter__()

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.results():
            result = data.draw(st.sampled_from(self.results()))
            needed = runs.open_shelf(self.folder).needed_by(result)
            try:
                runs.remove_run(self.folder, result.name)
            except LuodiError:
                assert needed
            else:
                assert not needed

    @rule()
    def clean(self) -> None:
        if (self.folder / "runs").is_dir():
            runs.clean_runs(self.folder)
            shelf = runs.open_shelf(self.folder)
            assert {r.name for r in shelf.results} == shelf.current | shelf.made_from(
                r for r in shelf.results if r.name in self.served
            )

    @invariant()
    def all_is_there(self) -> None:
        results = self.results()
        keys = {r.key for r in results}
        for result in results:
            assert set(result.parents) <= keys, "an ancestor is gone"
            files = json.loads((result.path / MANIFEST).read_text(encoding="utf-8"))["files"]
            assert all(hash_file(result.path / name) == stamp for name, stamp in files.items())
        assert set(self.served) <= {r.name for r in results}, "a service lost its Bundle"
        newest = {r.verb: int(r.key[1:]) for r in results}
        assert all(newest.get(verb, 0) >= number for verb, number in self.newest.items()), "the newest is gone"
        self.newest = newest

    def results(self) -> list[Result]:
        return Store(self.folder / "runs").results()

    def teardown(self) -> None:
        for lease in self.served.values():
            lease.__exit__(None, None, None)
        shutil.rmtree(self.folder)


TestShelves = Shelves.TestCase
TestShelves.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
