"""The documentation as its tests see it: pages, their code blocks, and what the running program can say."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import messages

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LANGUAGES = ("en", "zh")
_FENCE = re.compile(r'^( *)```(\w+)?(?: +title="([^"]*)")?\n(.*?)^\1```$', re.DOTALL | re.MULTILINE)
_SNIPPET = re.compile(r'^--8<-- "([^"]+)"$', re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    page: Path
    kind: str
    title: str
    body: str

    @property
    def is_output(self) -> bool:
        """A text with a title is what a command has really said; one without is a drawing of a folder or the like."""
        return self.kind == "text" and bool(self.title)

    def __str__(self) -> str:
        return f"{self.page.parent.name}/{self.page.name}: {self.title or self.body.splitlines()[0][:40]}"


def pages(language: str) -> list[Path]:
    return sorted((DOCS / language).glob("*.md"))


def text_of(page: Path) -> str:
    """With what it includes from other files."""
    told = page.read_text(encoding="utf-8")
    return _SNIPPET.sub(lambda m: (ROOT / m[1]).read_text(encoding="utf-8").rstrip("\n"), told)


@cache
def blocks(*kinds: str) -> tuple[Block, ...]:
    """Of all pages, both languages."""
    found = [block for language in LANGUAGES for page in pages(language) for block in blocks_of(page)]
    return tuple(b for b in found if b.kind in kinds)


def blocks_of(page: Path) -> Iterator[Block]:
    for indent, kind, title, body in _FENCE.findall(text_of(page)):
        lines = [line.removeprefix(indent) for line in body.splitlines(keepends=True)]
        yield Block(page=page, kind=kind, title=title, body="".join(lines))


def commands(kinds: Sequence[str] = ("sh",)) -> Iterator[tuple[Block, str]]:
    """Each command of each shell block; `a && b` are two."""
    for block in blocks(*kinds):
        for line in block.body.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s+&&\s+", line):
                if part.strip() and not part.lstrip().startswith("#"):
                    yield block, re.sub(r"\s+#\s.*$", "", part).strip()


@cache
def sentences(language: str) -> Mapping[str, str]:
    """English sentence to what is said in this language."""
    chinese = messages.entries(messages.read(messages.PO))
    return {key: key if language == "en" else chinese.get(key, key) for key in messages.sentences()}


@cache
def said(language: str) -> re.Pattern[str]:
    """One sentence of the program, whatever stands in its fields."""
    worded = [s for s in sentences(language).values() if re.search(r"\w", re.sub(r"\{[^}]*\}", "", s))]
    return re.compile("|".join(f"(?:{_pattern(s)})" for s in worded))


def _pattern(sentence: str) -> str:
    parts = []
    for literal, name, _, _ in string.Formatter().parse(sentence):
        parts.append(re.escape(literal) + (".*?" if name is not None else ""))
    return "".join(parts)
