"""The pages that come from the code are as the code is, and explain all that it can say."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import messages
import pytest
import reference

import luodi
from handbook import DOCS, LANGUAGES

VERDICTS = pytest.mark.parametrize("language", LANGUAGES)
SPEAKING = (
    "stages/prepare/datasheet.py", "stages/prepare/giveaway.py", "stages/evaluate/findings.py",
    "stages/evaluate/advice.py", "stages/evaluate/compare.py",
    "stages/explain/findings.py", "stages/compress/gate.py", "stages/compress/findings.py", "core/contract.py",
)  # fmt: skip
NOT_ALONE = re.compile(
    r"kept|broken|accept[ .].*|the mention of the answer itself|the value|the (beginning|end) of the text"
    r"|answering with \{name\}|The two do not answer .*|Compare .*|\{name\} has learned from all .*"
    r"|word \{n\} (of the text|from the end)|\{where\} in the column \{column\}"
)
"""Parts of other sentences, and errors (which have a page of their own)."""


def keys_of(path: str) -> list[str]:
    tree = ast.parse((messages.SOURCE / path).read_text(encoding="utf-8"))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "tr"]
    return [str(n.args[0].value) for n in calls if isinstance(n.args[0], ast.Constant)]


def told(language: str) -> dict[str, str]:
    """Sentence to its explanation on the page of verdicts."""
    page = (DOCS / language / "verdicts.md").read_text(encoding="utf-8")
    parts = re.split(r"<!-- says: (.*?) -->\n", page)[1:]
    below = [re.split(r"^## ", text, flags=re.MULTILINE)[0] for text in parts[1::2]]
    return dict(zip(parts[::2], below, strict=True))


def test_the_pages_are_as_the_code_is() -> None:
    """If not: python scripts/reference.py"""
    assert reference.stale() == []


@VERDICTS
@pytest.mark.parametrize("path", SPEAKING)
def test_every_verdict_and_finding_is_explained(path: str, language: str) -> None:
    lacking = [key for key in keys_of(path) if not NOT_ALONE.fullmatch(key) and key not in told(language)]
    assert lacking == []
    assert keys_of(path)


@VERDICTS
def test_an_explanation_is_more_than_the_sentence(language: str) -> None:
    for key, text in told(language).items():
        below = [line for line in text.splitlines() if line.strip() and not line.startswith(">")]
        assert below, key
        assert len(" ".join(below)) >= (15 if language == "en" else 7), key


@VERDICTS
def test_nothing_is_explained_that_nobody_says(language: str) -> None:
    assert set(told(language)) - set(messages.sentences()) == set()


def test_every_error_says_what_to_do() -> None:
    """In the hint of the error itself, or in docs/words.yaml."""
    fixes = reference.words()["fixes"]
    vague = {"Did you mean {name}?", "Known: {names}."}
    lacking = [code for code, c in reference.codes().items() if code not in fixes and not set(c.hints) - vague]
    assert lacking == []
    assert set(fixes) - set(reference.codes()) == set(), "codes that there are no more"


def test_every_error_has_its_sentence() -> None:
    found = reference.codes()
    assert [code for code, c in found.items() if not c.sentences] == []
    assert found["data.encoding"].sentences == ["The encoding of {file} is not recognised."]
    assert found["data.encoding"].hints == ["Save it as UTF-8."]
    assert found["request.key"].hints == ["Send the header: Authorization: Bearer YOUR_KEY"]


def test_no_code_is_overlooked() -> None:
    """Counted another way: every word that follows `code=` in the source."""
    written: set[str] = set()
    for path in messages.SOURCE.rglob("*.py"):
        written |= set(re.findall(r'code="([a-z]+\.[a-z0-9_]+)"', path.read_text(encoding="utf-8")))
    assert written - set(reference.codes()) == set()


@VERDICTS
def test_every_setting_has_a_sentence(language: str) -> None:
    page = (DOCS / language / "configuration.md").read_text(encoding="utf-8")
    assert "&nbsp;" not in page
    assert page.count("\n:   ") >= 40


@VERDICTS
def test_every_public_name_is_explained(language: str) -> None:
    page = (DOCS / language / "python.md").read_text(encoding="utf-8")
    assert [name for name in luodi.__all__ if f"\n## {name}\n" not in page] == []


def test_a_field_is_shown_by_its_name_alone() -> None:
    assert reference.shown("{share:.1%} of {name!r} [x] `a_b`") == r"{share} of {name} \[x\] `a_b`"


def test_a_changed_sentence_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "commands.md"
    page.write_text("what the code said\n", encoding="utf-8")
    monkeypatch.setattr(reference, "pages", lambda: {page: "what the code says\n"})
    assert reference.stale() == [page]
