"""Everything that people read is there in both languages."""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from functools import cache

import messages as catalogue
import pytest
from sources import sources, tree_of, where

from luodi import errors
from luodi.messages import speaking, tr

HAN = re.compile(r"[\u4e00-\u9fff]")
ERRORS = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}


@cache
def translated() -> dict[str, str]:
    return catalogue.entries(catalogue.read(catalogue.PO))


def test_every_sentence_is_a_literal() -> None:
    """What is not a literal cannot be found, and so cannot be translated."""
    assert [where(path, line) for path, line, sentence in catalogue.calls() if sentence is None] == []


def test_every_sentence_has_its_chinese() -> None:
    lacking = {s: place for s, place in catalogue.sentences().items() if not translated().get(s)}
    assert lacking == {}


def test_there_is_nothing_that_nobody_says() -> None:
    assert set(translated()) - set(catalogue.sentences()) == set()
    read = catalogue.read(catalogue.PO)
    assert not read.obsolete
    assert [m.id for m in read if m.fuzzy and m.id] == []


def test_both_languages_have_the_same_fields() -> None:
    wrong = [s for s, zh in translated().items() if catalogue.fields(s) != catalogue.fields(zh)]
    assert wrong == []


def test_chinese_is_chinese() -> None:
    """Apart from sentences with nothing to translate (a name, a unit)."""
    worded = {s for s in translated() if re.search("[a-z]{3} [a-z]{2}", re.sub(r"\{[^}]*\}", "", s))}
    wrong = [s for s, zh in translated().items() if s in worded and not HAN.search(zh)]
    assert wrong == []


def test_what_runs_is_what_was_written() -> None:
    assert catalogue.running() == translated()


@pytest.mark.parametrize("sentence", ["Luodi failed: {error}", "It is not opened."])
def test_the_chosen_language_is_spoken(sentence: str) -> None:
    with speaking("zh"):
        assert HAN.search(tr(sentence))
    with speaking("en"):
        assert tr(sentence) == sentence


def test_errors_speak_the_users_language() -> None:
    """`raise DataError("...")` with a bare sentence would be English for everybody."""
    wrong = []
    for path in sources():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ERRORS and node.args:
                told = node.args[0]
                if isinstance(told, ast.JoinedStr) or (isinstance(told, ast.Constant) and isinstance(told.value, str)):
                    wrong.append(where(path, node.lineno))
    assert wrong == []


def test_every_error_has_a_code_of_the_form_area_what() -> None:
    found: Counter[str] = Counter()
    for path in sources():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ERRORS:
                codes = [k.value for k in node.keywords if k.arg == "code"]
                assert codes, where(path, node.lineno)
                if isinstance(codes[0], ast.Constant):
                    found[str(codes[0].value)] += 1
    assert found
    # "internal" stands for whatever escapes: no area is to blame.
    assert [code for code in found if not re.fullmatch(r"[a-z]+\.[a-z0-9_]+|internal", code)] == []
