"""What stands on the pages holds: both languages say the same, commands and settings exist, output has the form that it
has today."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from handbook import DOCS, LANGUAGES, ROOT, Block, blocks, blocks_of, commands, pages, said, text_of
from luodi.cli import COMMANDS, _verb_parser
from luodi.core.config import _from_yaml, lay_over, split_brief
from luodi.core.contract import parse_contract
from luodi.core.project import settings_types
from luodi.core.task import load_task, task_names
from luodi.models.source import _sizes, family_names

OTHERS = {
    "pip", "python", "python3", "python3.11", "curl", "export", "echo", "apt-get", ".", "cd", "git", "mkdir", "cp",
}  # fmt: skip
PAGE = pytest.mark.parametrize("page", [p.name for p in pages("en")])
GENERATED = {"configuration.md", "errors.md", "commands.md", "python.md"}


def named(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", blocks(*kinds), ids=str)


def test_both_languages_have_the_same_pages_and_the_menus_have_them_all() -> None:
    names = [[p.name for p in pages(language)] for language in LANGUAGES]
    assert names[0] == names[1]
    for menu in ("mkdocs.yml", "mkdocs.zh.yml"):
        listed = re.findall(r": (\w+\.md)$", (ROOT / menu).read_text(encoding="utf-8"), re.MULTILINE)
        assert sorted(listed) == names[0]
        assert len(set(listed)) == len(listed)


@PAGE
def test_both_languages_have_the_same_headings(page: str) -> None:
    """In number and depth; and a link to a part of a page leads there in either language."""
    levels, anchors = [], []
    for language in LANGUAGES:
        text = re.sub(r"^```.*?^```$", "", text_of(DOCS / language / page), flags=re.DOTALL | re.MULTILINE)
        headings = re.findall(r"^(#+) (.*)$", text, re.MULTILINE)
        levels.append([depth for depth, _ in headings])
        anchors.append([slug(title) for depth, title in headings if depth != "#"])
    assert levels[0] == levels[1]
    if page not in GENERATED:
        assert anchors[0] == anchors[1]


def slug(title: str) -> str:
    own = re.search(r"\{ #([\w-]+) \}", title)
    return own[1] if own else re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower())).strip("-")


@PAGE
def test_both_languages_have_the_same_code(page: str) -> None:
    code = [
        [(b.kind, b.body) for b in blocks_of(DOCS / language / page) if b.kind not in ("text", "json")]
        for language in LANGUAGES
    ]
    assert code[0] == code[1]
    counts = [[b.kind for b in blocks_of(DOCS / language / page)] for language in LANGUAGES]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_chinese_pages_are_chinese_and_english_ones_english(language: str) -> None:
    """A translation of half a page would look whole to all other tests."""
    for page in pages(language):
        plain = re.sub(r"^```.*?^```$|`[^`]*`|<!--.*?-->|\(.*?\)", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
        paragraphs = [p for p in plain.split("\n\n") if len(p) > 60 and not p.startswith("|")]
        han = [bool(re.search(r"[\u4e00-\u9fff]", p)) for p in paragraphs]
        wrong = [p for p, h in zip(paragraphs, han, strict=True) if h != (language == "zh")]
        assert wrong == [], page.name


@pytest.mark.parametrize(("block", "command"), [*commands()], ids=lambda v: str(v)[:60])
def test_every_command_exists(block: Block, command: str) -> None:
    words = shlex.split(command.partition(" > ")[0])
    if words[0] == "torchrun":
        words = words[words.index("luodi") :]
    if words[0] != "luodi":
        assert words[0] in OTHERS, words[0]
        return
    if words[1].startswith("-"):
        assert words[1] in ("--help", "--version")
        return
    assert words[1] in COMMANDS
    parsed = vars(_verb_parser(words[1]).parse_intermixed_args(words[2:]))
    settings = [word for word in words[2:] if "=" in word and not word.startswith("-")]
    assert set(settings) <= {*parsed.get("settings", ()), parsed.get("folder")}
    laid: dict[str, Any] = {}
    for setting in settings:
        lay_over(laid, setting)
    split_brief(laid, settings_types())


@named("yaml")
def test_every_page_of_settings_is_one(block: Block) -> None:
    told = _from_yaml(block.body)
    assert isinstance(told, dict)
    brief, _ = split_brief(told, settings_types())
    known = {m.name for name in task_names() for m in load_task(name).metrics}
    parse_contract({k: v for k, v in brief.accept.items() if k != "off_by"}, sorted(known))
    if brief.task and "." not in brief.task:
        parse_contract(brief.accept, [m.name for m in load_task(brief.task).metrics])


@named("json")
def test_every_object_is_one(block: Block) -> None:
    assert [json.loads(line) for line in block.body.strip().split("\n\n")]


@named("python")
def test_every_program_is_python(block: Block) -> None:
    if not re.match(r"(class )?luodi\.", block.body):  # a signature
        ast.parse(block.body)


HEAD = re.compile(r"(\w+): (?:ACCEPTED|REFUSED|DONE|通过|未通过|完成)(?: \((?:\d+:)?\d+:\d\d\))?")
NEXT = re.compile(r"  (?:Bundle|Report|Next|模型包|报告|下一步): .+")
BAR = re.compile(r"\S.* \[[#.]{24}\] \d+/\d+.*")


@named("text")
def test_output_is_what_the_program_says_today(block: Block) -> None:
    """Every line: a sentence of the catalogue, with some numbers and names in it, or of the form of a summary."""
    if not block.is_output:
        return
    language = block.page.parent.name
    lines = [line for line in block.body.splitlines() if line.strip()]
    forms = (HEAD, NEXT, BAR, said(language), *FREE)
    wrong = [line for line in lines if not any(f.fullmatch(line) or f.fullmatch(line.strip()) for f in forms)]
    assert wrong == []


FREE = (
    re.compile(r"[\w\u4e00-\u9fff-]+ \d+(?:, [\w\u4e00-\u9fff-]+ \d+)*"),  # `luodi predict` counts the answers
    re.compile(r'data: \{".*"\}'),  # a piece of a streamed answer
    # `luodi train --search`: names of columns, a trial
    re.compile(r"\s*(?:Trial|试验)\s{2,}\w+\s{2,}(?:95 % interval|95% 区间)\s{2,}(?:Settings|设置)"),
    re.compile(r"\s*\d+\s{2,}\d\.\d{4}\s{2,}[\d.]+ – [\d.]+\s{2,}\S.*"),
    # `luodi explain`: an answer or a part of the input, and a number
    re.compile(r"\s*\S+\s{2,}[+-]?\d[\d.e-]*"),
    # `luodi runs`: names of columns, a result, a number or a setting of two results
    re.compile(r"\s*(?:Result|结果)(?:\s{2,}\w+){5}"),
    re.compile(r"\s*(?:prepare|train|evaluate|compress)-[0-9a-f]{12}\s{2,}\S.*"),
    re.compile(r"\s*[a-z0-9_]+(?:\.[a-z0-9_]+)*\s{2,}[-\d\[].*"),
)


@pytest.mark.parametrize("page", ["reviews", "entities", "pictures", "generation", "tasks", "runs"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_tutorial_shows_what_was_really_said(language: str, page: str) -> None:
    shown = [b for b in blocks_of(DOCS / language / f"{page}.md") if b.is_output]
    assert shown
    if page != "runs":
        assert any(HEAD.fullmatch(line) for b in shown for line in b.body.splitlines())


def test_a_made_up_line_would_be_found() -> None:
    assert not said("en").fullmatch("The model is brilliant.")
    assert said("en").fullmatch("17387 of 35123 rows are kept: 1 to train, 2 to choose, 3 to test.")


def test_the_readmes_lead_here() -> None:
    for readme, language in (("README.md", "en"), ("README.zh.md", "zh")):
        assert f"](docs/{language}/index.md)" in (ROOT / readme).read_text(encoding="utf-8")


def test_links_lead_somewhere() -> None:
    """Zensical looks at pages; here the parts of pages too."""
    wrong = []
    for language in LANGUAGES:
        for page in pages(language):
            plain = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
            for target, _, part in re.findall(r"\]\(([\w./-]*)(#([\w.-]+))?\)", plain):
                goal = DOCS / language / target if target else page
                if not goal.is_file() or (part and part not in parts_of(goal)):
                    wrong.append(f"{language}/{page.name}: {target}#{part}")
    assert wrong == []


def parts_of(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    return {slug(title) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def test_the_menus_have_the_same_order() -> None:
    menus: list[Mapping[str, Any]] = [
        yaml.safe_load((ROOT / name).read_text(encoding="utf-8")) for name in ("mkdocs.yml", "mkdocs.zh.yml")
    ]
    order = [re.findall(r"\w+\.md", str(menu["nav"])) for menu in menus]
    assert order[0] == order[1]


def part_of(language: str, anchor: str) -> str:
    """Of the page of concepts, from a heading to the next of its depth or above."""
    text = text_of(DOCS / language / "concepts.md")
    found = next(m for m in re.finditer(r"^(#+) (.*)$", text, re.MULTILINE) if slug(m[2]) == anchor)
    return re.split(rf"^#{{1,{len(found[1])}}} ", text[found.end() :], maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_table_of_families_is_true(language: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([a-z, ]+) \|$", part_of(language, "networks"), re.MULTILINE)
    there = {name: list(_sizes(name)) for name in family_names()}
    assert {name: sizes.split(", ") for name, sizes in rows} == there


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_formulas_stand_where_the_page_says(language: str) -> None:
    part = part_of(language, "the-formulas")
    file = re.findall(r"`(src/luodi/[\w/]+\.py)`", part)
    assert file == ["src/luodi/models/transformer.py"]
    defined = {n.name for n in ast.parse(text_of(ROOT / file[0])).body if isinstance(n, ast.ClassDef | ast.FunctionDef)}
    named = set(re.findall(r"`(\w+)`", part)) - {"transformer"}
    assert named
    assert named <= defined
