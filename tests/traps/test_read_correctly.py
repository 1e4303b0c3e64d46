"""Tables as other programs write them: the same examples as of a clean file, and a line that says what was found."""

from __future__ import annotations

import codecs
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from commands import Command
from planted import Project, lines, prepared, reviews, table
from shop import luodi


@dataclass(frozen=True)
class Trap:
    en: str
    zh: str
    form: Mapping[str, Any] = field(default_factory=dict)
    """How the table is written, as `planted.table` takes it."""
    labels: tuple[str, str] = ("positive", "negative")
    spelled: Mapping[str, str] = field(default_factory=dict)
    """Answer to how it stands in the spoilt file."""
    first: int = 20
    """In so many rows."""
    texts: Mapping[int, str] = field(default_factory=dict)
    """Row to a text, in both files."""


BE, LE = codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE
TRAPS = {
    "gbk": Trap("was read as GB 18030 (GBK)", "按 GB 18030 (GBK)", {"encoding": "gb18030"}),
    "utf-16, little end": Trap("was read as UTF-16", "按 UTF-16", {"encoding": "utf-16-le", "mark": LE}),
    "utf-16, big end": Trap("was read as UTF-16", "按 UTF-16", {"encoding": "utf-16-be", "mark": BE}),
    "utf-16 without mark": Trap("was read as UTF-16", "按 UTF-16", {"encoding": "utf-16-le"}),
    "utf-16 without mark, big end": Trap("was read as UTF-16", "按 UTF-16", {"encoding": "utf-16-be"}),
    "byte order mark": Trap("byte order mark at its beginning", "字节序标记", {"mark": codecs.BOM_UTF8}),
    "spaces in the header": Trap("(text, label)", "（text, label）", {"header": ("text ", "\u3000label")}),
    "windows": Trap("Windows line ends", "Windows 换行符", {"end": "\r\n"}),
    "old macintosh": Trap("old Macintosh line ends", "旧式 Mac 换行符", {"end": "\r"}),
    "line breaks in quotes": Trap(
        "2 rows hold line breaks in quotes (the first one begins on line 5)",
        "2 行数据的引号内有换行（第一处从第 5 行开始）",
        texts={3: '好吃\n"真的"\n\n推荐', 4: "a,b\nc"},
    ),
    "semicolons": Trap("separated by ';'", "';'", {"delimiter": ";"}),
    "two spellings": Trap(
        "spelled the answer 'Positive' otherwise ('POSITIVE')",
        "'POSITIVE'",
        labels=("Positive", "no"),
        spelled={"Positive": "POSITIVE"},
    ),
    "wide letters": Trap(
        "otherwise ('ＰＯＳＩＴＩＶＥ')",
        "'ＰＯＳＩＴＩＶＥ'",
        labels=("Positive", "no"),
        spelled={"Positive": "ＰＯＳＩＴＩＶＥ"},
    ),
    "spaces around answers": Trap(
        "answers were removed ('positive ')", "首尾的空格", spelled={"positive": "positive "}
    ),
    "wide numbers": Trap("full-width digits were read", "全角数字", labels=("1", "0"), spelled={"1": "１", "0": "０"}),
    "wide decimals": Trap("(５．０ as 5.0)", "５．０ 读作 5.0", labels=("5.0", "1.0"), spelled={"5.0": "５．０"}),
    "wide answers": Trap("(５星 as 5星)", "５星 读作 5星", labels=("5星", "1星"), spelled={"5星": "５星"}, first=99),
    "wide digits in texts": Trap(
        "1 texts have full-width digits or letters (１２３)", "如 １２３", texts={0: "编号１２３，ｏｋ"}
    ),
    "gbk, windows, spaces, line breaks": Trap(
        "(the first one begins on line 2)",
        "第 2 行",
        {"encoding": "gb18030", "header": ("text ", "label"), "end": "\r\n"},
        texts={0: "好吃\n推荐"},
    ),
    "utf-16, tabs, windows": Trap(
        "Windows line ends", "按 UTF-16", {"encoding": "utf-16", "delimiter": "\t", "end": "\r\n"}
    ),
}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", TRAPS)
def test_it_is_read_correctly_and_told(name: str, language: str, project: Project, command: Command) -> None:
    trap = TRAPS[name]
    rows = [(trap.texts.get(i, text), label) for i, (text, label) in enumerate(reviews(60, *trap.labels))]
    spoilt = [(t, trap.spelled.get(a, a) if i < trap.first else a) for i, (t, a) in enumerate(rows)]
    clean = project(lines(rows), "reviews.jsonl")
    dirty = project(table(spoilt, **trap.form))
    assert command("prepare", str(clean), language="en").code == 0
    done = command("prepare", str(dirty), "--json", language=language)
    assert done.code == 0, done.err
    assert prepared(dirty) == prepared(clean)
    findings = json.loads(done.out)["findings"]
    assert [told for told in findings if {"en": trap.en, "zh": trap.zh}[language] in told], findings


def test_several_at_once_are_all_told(project: Project, command: Command) -> None:
    folder = project(
        table([*reviews(59), ("好吃\n推荐", "positive ")], header=("text ", "label"), end="\r\n", encoding="gbk")
    )
    told = json.loads(command("prepare", str(folder), "--json", language="en").out)["findings"]
    wanted = (
        "GB 18030",
        "Windows",
        "line breaks in quotes",
        "stray spaces around column names",
        "spaces around 1 answers",
    )
    assert [word for word in wanted if not any(word in line for line in told)] == []


def test_nothing_is_said_of_a_clean_file(project: Project, command: Command) -> None:
    folder = project(reviews(60))
    assert len(json.loads(command("prepare", str(folder), "--json", language="en").out)["findings"]) == 2


def test_in_a_process_of_its_own(project: Project) -> None:
    folder = project(table(reviews(60), encoding="gb18030", end="\r\n"))
    done = luodi("prepare", str(folder), LUODI_LANG="zh")
    assert done.returncode == 0, done.stderr
    assert "按 GB 18030 (GBK)" in done.stdout


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_packed_tables(kind: str, project: Project, command: Command) -> None:
    rows = reviews(60)
    plain = lines(rows) if kind == "jsonl" else table(rows, delimiter="\t" if kind == "tsv" else ",")
    packed, clean = project(gzip.compress(plain), f"reviews.{kind}.gz"), project(lines(rows), "reviews.jsonl")
    for folder in (packed, clean):
        assert command("prepare", str(folder), language="en").code == 0
    assert prepared(packed) == prepared(clean)


def numbers(count: int) -> list[tuple[str, ...]]:
    return [(str(i % 2), str(i), str(i * i), "0.5") for i in range(count)]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_table_of_numbers_without_header(language: str, project: Project, command: Command) -> None:
    folder = project(table(numbers(60), header=None), input="2", target=1, **{"prepare": {"near_duplicates": 1.0}})  # type: ignore[arg-type]
    done = command("prepare", str(folder), "--json", language=language)
    assert done.code == 0, done.err
    assert len([row for part in prepared(folder).values() for row in part]) == 60
    assert {"en": "called 1 to 4", "zh": "1 到 4"}[language] in done.out
