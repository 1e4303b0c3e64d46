"""What the repository says of itself: the same in both languages, true, and nothing of the machine it was made on."""

from __future__ import annotations

import re
import shlex

import pytest
from sources import ROOT, kept_files, where

from luodi.cli import COMMANDS

TEXTS = (".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".html", ".css", ".svg", ".po", ".sh", ".cfg", "", ".j2")
FORBIDDEN = {
    "a path of one machine": r"(?<![\w.])/(?:work|root|farm|opt|srv|home/\w+|Users/\w+|tmp/\w)/?\w*",
    "a host of a package index": r"\b(?:pypi\.org|files\.pythonhosted\.org|pypi\.tuna\S*|mirrors\.\w+\.\w+)\b",
    "how it was written": r"(?i)\b(?:generated|written|built|made|authored)[- ](?:by|with) (?:an? )?"
    r"(?:ai|llm|model|assistant|agent|chatbot)s?\b|\bco-authored-by\b",
    "another file's task": r"(?i)\bas the (?:brief|issue|ticket) (?:says|asks)\b|\bissue #?\d+\b",
}
ALLOWED: dict[str, str] = {}
"""File to reason, where one of these words has to stand."""


@pytest.mark.parametrize("what", FORBIDDEN)
def test_it_is_nowhere(what: str) -> None:
    found = []
    for path in kept_files():
        if path.suffix not in TEXTS or where(path) in {*ALLOWED, "tests/architecture/test_words.py"}:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if match := re.search(FORBIDDEN[what], line):
                found.append(f"{where(path, number)}: {match[0]}")
    assert found == []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a path of one machine", "see /" + "work/main/x"),
        ("a path of one machine", "/" + "home/anna/x"),
        ("a host of a package index", "https://pypi" + ".org/simple"),
        ("how it was written", "Generated" + " by an AI"),
    ],
)
def test_it_would_be_found(what: str, line: str) -> None:
    assert re.search(FORBIDDEN[what], line)


def readme(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[list[str]]:
    """Lines of every code block, without the tree and without remarks: those are in the language of the page."""
    found = re.findall(r"```(\w*)\n(.*?)```", readme(name), re.DOTALL)
    return [
        [re.sub(r"\s+#\s.*$", "", line) for line in body.splitlines() if line.strip() and not line.startswith("#")]
        for kind, body in found
        if kind != "text"
    ]


def test_both_readmes_have_the_same_headings() -> None:
    levels = [re.findall(r"^(#+) ", readme(name), re.MULTILINE) for name in ("README.md", "README.zh.md")]
    assert levels[0] == levels[1]
    assert len(levels[0]) >= 5


def test_both_readmes_have_the_same_commands() -> None:
    ours, theirs = blocks("README.md"), blocks("README.zh.md")
    assert [b for b in ours if not b[0].startswith("goal")] == [b for b in theirs if not b[0].startswith("goal")]
    assert len(ours) == len(theirs) >= 3


def test_both_readmes_lead_to_the_same_files() -> None:
    pages = {"README.md", "README.zh.md"}
    links = [set(re.findall(r"\]\(([^)#]+)\)", readme(page))) - pages for page in sorted(pages)]
    assert {link.replace(".zh.svg", ".svg").replace("docs/zh/", "docs/en/") for link in links[1]} == links[0]
    for link in (*links[0], *links[1]):
        assert link.startswith("https://") or (ROOT / link).exists(), link


@pytest.mark.parametrize("name", ["README.md", "README.zh.md", "CONTRIBUTING.md"])
def test_every_command_in_it_exists(name: str) -> None:
    lines = [line for block in blocks(name) for line in block]
    said = [shlex.split(part) for line in lines for part in line.split("&&") if part.strip().startswith("luodi ")]
    assert [words for words in said if words[1] not in (*COMMANDS, "--help", "--version")] == []
    assert said or name == "CONTRIBUTING.md"


def test_the_readme_knows_every_command() -> None:
    for name in ("README.md", "README.zh.md"):
        assert [verb for verb in COMMANDS if f"luodi {verb}" not in readme(name)] == []


def test_the_page_in_the_readme_is_the_page_of_the_example() -> None:
    example = (ROOT / "examples" / "reviews" / "luodi.yaml").read_text(encoding="utf-8")
    plain = [re.sub(r"\s+#\s.*$", "", line) for line in example.splitlines()]
    page = [line for line in plain if line.strip() and not line.startswith("#")]
    for name in ("README.md", "README.zh.md"):
        assert page in blocks(name)
