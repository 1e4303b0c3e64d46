"""The trees in both READMEs list what exists, two levels deep, a line each: no more, no less."""

from __future__ import annotations

import re

import pytest
from sources import PACKAGE, ROOT

IGNORED = {"__init__.py", "__pycache__", "py.typed"}
READMES = pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])


def told(readme: str) -> dict[str, str]:
    """Path to what is said of it."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    block = re.search(r"```text\nsrc/luodi/\n(.*?)```", text, re.DOTALL)
    assert block, f"{readme} has no tree"
    found: dict[str, str] = {}
    above = ""
    for line in block[1].splitlines():
        match = re.fullmatch(r"( {2}| {4})(\S+)\s{2,}(\S.*)", line)
        assert match, f"{readme}: {line!r} is no line of the tree"
        if len(match[1]) == 2:
            above = match[2]
        name = match[2] if len(match[1]) == 2 else above + match[2]
        assert name not in found, name
        found[name] = match[3]
    return found


def there() -> set[str]:
    found = set()
    for path in PACKAGE.iterdir():
        if path.name in IGNORED or path.name.startswith("."):
            continue
        found.add(path.name + "/" * path.is_dir())
        if path.is_dir():
            inner = [p for p in path.iterdir() if p.name not in IGNORED and not p.name.startswith(".")]
            found |= {f"{path.name}/{p.name}" + "/" * p.is_dir() for p in inner}
    return found


@READMES
def test_the_tree_is_true(readme: str) -> None:
    listed = set(told(readme))
    assert listed - there() == set(), "listed, but not there"
    assert there() - listed == set(), "there, but not listed"


@READMES
def test_folders_come_before_their_files_and_lines_are_short(readme: str) -> None:
    for name in told(readme):
        assert "/" not in name.rstrip("/") or name.partition("/")[0] + "/" in told(readme)
    text = (ROOT / readme).read_text(encoding="utf-8")
    tree = text[text.index("```text\nsrc/luodi/") :].partition("```\n")[0]
    assert max(len(line) for line in tree.splitlines()) <= 120
