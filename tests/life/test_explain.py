"""`luodi explain` as a user gives it: a text, a page, a whole project, a Bundle by itself, and what is wrong usage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from commands import command
from lives import Quiet
from shop import answer, luodi

TEXT = "好吃，满意，推荐 店7"


@pytest.fixture(scope="module")
def shop(quiet: Quiet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained") / "shop"
    shutil.copytree(quiet.project, folder)
    return folder


def test_a_text_is_explained_with_what_lies_beside_it(shop: Path, tmp_path: Path) -> None:
    page = tmp_path / "reasons.html"
    done = luodi("explain", str(shop), TEXT, "<script>alert(1)</script> 难吃，失望", "--html", str(page), "--attention",
                 "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = answer(done)["details"]["explained"]
    assert first["answer"] == "好评"
    assert {"好吃", "满意", "推荐"} <= {unit["name"] for unit in first["units"]}
    assert first["faithful"]["normalised"] > first["faithful"]["normalised_random"]
    assert len(first["nearest"]) >= 5
    assert all(-1 <= row["influence"] <= 1 for row in first["nearest"])
    text = page.read_text(encoding="utf-8")
    assert "Why it answers so" in text
    assert "<script" not in text
    assert "blue" in text
    assert "Where it looks" in text
    assert sum(first["attention"]["rollout"]) == pytest.approx(1.0)


def test_the_terminal_shows_parts_in_both_languages(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for language, head, says in (("en", "explain: DONE", "Believable"), ("zh", "explain: 完成", "理由可信")):
        done = command(capsys, "explain", str(shop), TEXT, "explain.neighbours=0", language=language)
        assert done.code == 0, done.err
        assert done.out.startswith(head)
        assert says in done.out
        assert "    推荐" in done.out
        assert "\x1b" not in done.out  # no terminal, no colour


def test_a_project_has_reasons_on_its_page_and_they_are_found_once(shop: Path) -> None:
    done = luodi("explain", str(shop), "explain.rows=8", "--json")
    assert done.returncode == 0, done.stderr
    told = answer(done)
    assert {"above_random", "same_reasons"} <= set(told["numbers"])
    assert told["numbers"]["same_reasons"]["n"] == 8
    page = Path(told["report"]).read_text(encoding="utf-8")
    assert "Can the reasons be believed?" in page
    again = luodi("explain", str(shop), "explain.rows=8", "--json")
    assert answer(again)["numbers"] == told["numbers"]
    assert "explaining" not in again.stderr


def test_a_bundle_explains_itself(shop: Path) -> None:
    (bundle,) = (shop / "runs").glob("train-*/bundle")
    done = luodi("explain", str(bundle), TEXT, "--method", "integrated", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = answer(done)["details"]["explained"]
    assert row["missing"] <= 0.01
    assert row["nearest"] == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("{shop}", " "), "explain.nothing"), (("{shop}", TEXT, "--method", "magic"), "config.type"),
        (("{shop}", TEXT, "explain.orders=1"), "config.value"), (("{shop}", "--html", "x.html"), "usage.explain"),
        (("{shop}", TEXT, "--html", "nowhere/x.html"), "explain.folder"), (("nowhere", TEXT), "project.folder"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line(
    shop: Path, words: tuple[str, ...], code: str, both_languages: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = command(capsys, "explain", *(word.format(shop=shop) for word in words), language=both_languages)
    assert done.code == 2
    assert done.err.strip().splitlines()[-1].endswith(f"[{code}]")
    assert "Traceback" not in done.err


def test_words_that_are_no_input_get_one_line(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A text longer than a file's name may be is a text; a setting of another stage is none."""
    told = command(capsys, "explain", "好" * 200, language="en")
    assert told.code == 2
    assert told.err.strip().count("\n") <= 1, told.err
    other = command(capsys, "explain", str(shop), "train.epochs=3", language="en")
    assert other.code == 2
    assert "train.epochs=3 is no setting of explain" in other.err
    bundle = next((shop / "runs").glob("train-*")) / "bundle"
    few = command(capsys, "explain", str(bundle), "a text of some words", "explain.orders=1", language="en")
    assert few.code == 2
    assert "explain.orders is 1" in few.err
