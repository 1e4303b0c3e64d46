"""new: from a file nobody has seen to a project that opens, with limits that fall due somewhere."""

import csv
import random
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from luodi.core.config import Brief
from luodi.core.project import CONFIGURED, open_project
from luodi.core.task import load_task
from luodi.errors import DataError, InputError
from luodi.propose import Proposal, ProposedLimit, _shortened, page, propose, write_project

GOOD = ["great", "tasty", "lovely", "perfect", "fresh", "quick"]
BAD = ["awful", "stale", "late", "broken", "rude", "cold"]


def write(path: Path, n: int = 200, good: float = 0.5, header: bool = True) -> Path:
    rng = random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        if header:
            writer.writerow(("order_id", "shop", "comment text", "stars", "url"))
        for i in range(n):
            words = rng.sample(GOOD if (is_good := rng.random() < good) else BAD, 3)
            text = f"{' '.join(words)} and {rng.randrange(10**6)} " + "so " * rng.randrange(9)
            url = f"https://example.org/a/very/long/address/of/a/product/{rng.randrange(10**9)}"
            writer.writerow((f"A{i:07d}", rng.choice("xyz"), text, "5" if is_good else "1", url))
    return path


def test_a_file_becomes_a_project(tmp_path: Path) -> None:
    proposal = propose(write(tmp_path / "reviews.csv"))
    assert (proposal.task, proposal.input, proposal.target) == ("text_classification", ("comment text",), "stars")
    out = write_project(proposal, tmp_path / "mine" / "project")
    project = open_project(out)
    assert (out / str(project.brief.data)).resolve() == (tmp_path / "reviews.csv").resolve()
    names = [limit.name for limit in project.contract.limits]
    assert names == ["accuracy", "beats_baseline", "slices.*", "p95_ms", "size_mb"]
    assert all(limit.due in CONFIGURED for limit in project.contract.limits)
    assert project.contract.limits[0].at_least == 0.99  # the words tell it all, and no limit is higher
    assert project.contract.limits[2].at_least == 0.89
    assert project.brief.budget_seconds == 600
    with pytest.raises(InputError, match="already"):
        write_project(proposal, out)


def test_lopsided_answers_are_judged_by_macro_f1(tmp_path: Path) -> None:
    proposal = propose(write(tmp_path / "reviews.csv", good=0.85))
    assert proposal.limits[0].name == "macro_f1"
    assert "macro_f1" in proposal.limits[0].reason


def test_named_columns_win(tmp_path: Path) -> None:
    path = write(tmp_path / "reviews.csv")
    assert propose(path, None, "shop").target == "shop"
    assert propose(path, "comment text", None).input == ("comment text",)
    assert propose(path, "order_id", "stars").input == ("order_id",)
    with pytest.raises(DataError, match="order_id"):
        propose(path, "orderid", None)


def test_what_is_no_task_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(50)))
    with pytest.raises(DataError, match="--input"):
        propose(path)


def test_a_missing_header_is_seen(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no header"):
        propose(write(tmp_path / "a.csv", header=False))


def test_bad_data_still_gives_a_project_and_says_what_is_wrong(tmp_path: Path) -> None:
    proposal = propose(write(tmp_path / "a.csv", n=20))
    assert [limit.name for limit in proposal.limits] == ["beats_baseline", "p95_ms", "size_mb"]
    assert any("20 usable rows" in note for note in proposal.notes)


def test_both_languages(tmp_path: Path, both_languages: str) -> None:
    out = write_project(propose(write(tmp_path / "a.csv", n=60)), tmp_path / "p")
    text = (out / "luodi.yaml").read_text(encoding="utf-8")
    assert text.count("#") >= 8
    assert open_project(out).brief.target == "stars"


def test_no_column_of_texts_is_no_classification() -> None:
    recognise = type(load_task("text_classification")).recognise
    assert recognise({"a": ["x"] * 50, "b": list("ab") * 25}) is None
    assert recognise({}) is None
    assert recognise({"a": [None] * 9, "b": [{}] * 9}) is None


@settings(deadline=None, max_examples=30)
@given(column=st.text(min_size=1, max_size=12), target=st.text(min_size=1, max_size=12), reason=st.text(max_size=300))
def test_any_column_name_reads_back(column: str, target: str, reason: str) -> None:
    limit = ProposedLimit(name="accuracy", wanted=">= 0.80", reason=reason)
    proposal = Proposal(
        data="package:x/{a,b}.txt", task="text_classification", input=(column,), target=target, limits=(limit,),
        notes=(),
    )  # fmt: skip
    told = yaml.safe_load(page(proposal, Path()))
    assert (told["input"], told["target"], told["data"]) == (column, target, "package:x/{a,b}.txt")
    assert told["accept"] == {"accuracy": ">= 0.80"}
    assert Brief(input=told["input"], target=told["target"]).columns.target == target


REAL = {
    "sentiment/chnsenticorp_dev.tsv": ("text_a", "label"), "sentiment/online_shopping_10_cats.csv": ("review", "label"),
    "sentiment/small_fine_foods_train.csv": ("review", "score"), "safety/cold_train.csv": ("TEXT", "label"),
}  # fmt: skip
LONG = [pytest.param(name, marks=pytest.mark.long) for name in list(REAL)[1:]]


@pytest.mark.parametrize("name", [next(iter(REAL)), *LONG])
def test_real_files(data: Path, name: str) -> None:
    proposal = propose(data / name)
    assert (*proposal.input, proposal.target) == REAL[name]
    assert proposal.limits[0].name == "accuracy"
    assert 0.7 < float(proposal.limits[0].wanted.removeprefix(">= ")) < 0.95


def test_a_headless_real_file_is_seen(data: Path) -> None:
    with pytest.raises(DataError, match="no header"):
        propose(data / "intent" / "csl_ctg_dev.tsv")


def test_a_range_of_columns_is_written_as_one(tmp_path: Path) -> None:
    """Numbers without a header, one text among them to be a task: columns are called 1 to 3."""
    path = tmp_path / "a.csv"
    path.write_text("a,b,c,d,e\n" + "".join(f"{i},x{i % 7} y,{i},z,{i % 2}\n" for i in range(60)), encoding="utf-8")
    assert _shortened(("a", "b", "c", "d"), list("abcde")) == ("a:d",)
    assert _shortened(("a", "b", "d", "c"), list("abcde")) == ("a", "b", "d", "c")
    with pytest.raises(DataError, match=r"no column 'f'\. .*a"):
        propose(path, "a:f", "e")


def test_a_file_of_numbers_without_a_header_is_no_missing_header(tmp_path: Path) -> None:
    """Column 1 holds answers 1 and 2, and is called like one of them."""
    path = tmp_path / "a.csv"
    path.write_text("".join(f"{1 + i % 2},{i}\n" for i in range(60)), encoding="utf-8")
    proposal = propose(path, "2", "1")
    assert (proposal.input, proposal.target) == (("2",), "1")
    assert any("no line with names" in note for note in proposal.notes)
    assert open_project(write_project(proposal, tmp_path / "p")).brief.columns.target == "1"
