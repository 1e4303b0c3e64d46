"""What cannot be used: exit code 2, one line that says what and where and what to do, and nothing left behind."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import luodi
from commands import Command
from planted import Project, reviews, table

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + random.Random(0).randbytes(500)


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, "text,label\na,b\n")
    return out.getvalue()


@dataclass(frozen=True)
class Trap:
    code: str
    words: Sequence[str]
    """In both languages: names, places, numbers."""
    data: bytes | None = None
    file: str = "reviews.csv"
    page: Mapping[str, Any] = field(default_factory=dict)
    """Laid over luodi.yaml."""
    settings: Sequence[str] = ()
    """On the command line."""


FILES = {
    "empty": Trap("data.empty", ["reviews.csv"], b""),
    "blanks alone": Trap("data.empty", ["reviews.csv"], b" \n\n \n"),
    "header alone": Trap("data.empty", ["reviews.csv"], b"text,label\n"),
    "a picture": Trap("data.binary", ["reviews.csv"], PNG),
    "random bytes": Trap("data.binary", ["reviews.csv", "UTF-8"], random.Random(1).randbytes(5000)),
    "an archive": Trap("data.binary", ["reviews.csv"], zipped("a.csv")),
    "a workbook": Trap(
        "data.binary", ["reviews.csv", "Excel", "CSV"], zipped("[Content_Types].xml", "xl/workbook.xml")
    ),
    "gzip without its ending": Trap("data.binary", ["reviews.csv", ".gz"], gzip.compress(table(reviews(60)))),
    "gzip cut short": Trap(
        "data.gzip",
        ["reviews.csv.gz"],
        gzip.compress(table(reviews(60)))[:-20],
        "reviews.csv.gz",
        {"data": "reviews.csv.gz"},
    ),
    "not gzip": Trap("data.gzip", ["reviews.csv.gz"], table(reviews(60)), "reviews.csv.gz", {"data": "reviews.csv.gz"}),
    "a gzip bomb": Trap(
        "data.gzip",
        ["reviews.csv.gz", "67 MB"],
        gzip.compress(b"text,label\n" + b"0" * (80 << 20), 9),
        "reviews.csv.gz",
        {"data": "reviews.csv.gz"},
    ),
    "another alphabet": Trap(
        "data.encoding", ["reviews.csv", "UTF-8"], "text,label\ncafé crème brûlée,é\n".encode("latin-1") * 40
    ),
    "quote never closed": Trap("data.csv", ["reviews.csv", "3"], b'text,label\na,b\n"never,b\nc,d\n'),
    "broken JSON": Trap("data.json", ["reviews.json"], b'[{"text": "a"},', "reviews.json", {"data": "reviews.json"}),
    "lines that are no JSON": Trap("data.no_rows", ["2"], b"{a\n{b\n", "reviews.jsonl", {"data": "reviews.jsonl"}),
    "an unknown kind": Trap("data.format", ["reviews.docx", ".csv"], b"x", "reviews.docx", {"data": "reviews.docx"}),
    "a missing file": Trap("data.missing", ["review.csv", "reviews.csv"], page={"data": "review.csv"}),
    "a missing split": Trap("config.split", ["train"], page={"data": {"test": "reviews.csv"}}),
    "an unknown split": Trap(
        "config.split", ["tset", "test"], page={"data": {"train": "reviews.csv", "tset": "reviews.csv"}}
    ),
}
COLUMNS = {
    "input": Trap("data.column", ["reviews.csv", "txet", "text"], page={"input": "txet"}),
    "target": Trap("data.column", ["reviews.csv", "labels", "label"], page={"target": "labels"}),
    "group": Trap("data.column", ["reviews.csv", "user", "label, text"], page={"group": "user"}),
    "in another case": Trap("data.column", ["Text", "text"], page={"input": "Text"}),
    "end of a range": Trap("data.column", ["txet", "text"], page={"input": "txet:label"}),
    "a range backwards": Trap("data.range", ["text", "label"], page={"input": "label:text"}),
    "a range with the answer": Trap("data.range", ["label"], page={"input": "text:label"}),
}
SETTINGS = {
    "an unknown key": Trap("config.unknown_key", ["modle", "model"], page={"modle": "auto"}),
    "an unknown key of a stage": Trap(
        "config.unknown_key", ["train", "epochz", "epochs"], page={"train": {"epochz": 3}}
    ),
    "an unknown key on the line": Trap("config.unknown_key", ["bugdet", "budget"], settings=["bugdet=2m"]),
    "a word for a number": Trap("config.type", ["train.epochs"], page={"train": {"epochs": "many"}}),
    "a list for a word": Trap("config.type", ["target"], page={"target": ["a", "b"]}),
    "a word for a mapping": Trap("config.type", ["train"], page={"train": "fast"}),
    "a word for the seed": Trap("config.type", ["seed"], page={"seed": "x"}),
    "a list for the contract": Trap("config.type", ["accept"], page={"accept": ["accuracy"]}),
    "a choice that there is not": Trap("config.type", ["prepare.leaks"], page={"prepare": {"leaks": "yes"}}),
    "an impossible number": Trap("config.range", ["prepare.test"], page={"prepare": {"test": 1.5}}),
    "an unknown limit": Trap("config.limit", ["acuracy", "accuracy"], page={"accept": {"acuracy": ">= 0.9"}}),
    "a limit that is none": Trap("config.limit", ["accuracy", "0.90"], page={"accept": {"accuracy": "high"}}),
    "an unknown task": Trap(
        "config.task", ["text_clasification", "text_classification"], page={"task": "text_clasification"}
    ),
    "no task": Trap("config.task", ["luodi.yaml", "text_classification"], page={"task": ""}),
    "an impossible budget": Trap("config.budget", ["budget", "soon"], page={"budget": "soon"}),
    "nothing to read": Trap("config.incomplete", ["luodi.yaml"], page={"data": ""}),
}
ALL = {**FILES, **{f"column: {k}": v for k, v in COLUMNS.items()}, **{f"setting: {k}": v for k, v in SETTINGS.items()}}


def left_behind(project: Path) -> list[str]:
    """All in runs/ but the empty file that keeps two commands apart."""
    return [p.name for p in (project / "runs").glob("*") if p.name != ".lock"]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", ALL)
def test_it_is_one_line_and_nothing_is_left(name: str, language: str, project: Project, command: Command) -> None:
    trap = ALL[name]
    folder = project(table(reviews(60)) if trap.data is None else trap.data, trap.file, **trap.page)
    done = command("run", str(folder), *trap.settings, language=language)
    print(done.err)
    assert (done.code, done.out) == (2, ""), done.err
    assert done.line.startswith("luodi run: ")
    assert done.line.endswith(f"[{trap.code}]")
    assert [word for word in trap.words if word not in done.line] == []
    assert any("\u4e00" <= c <= "\u9fff" for c in done.line) == (language == "zh")
    assert left_behind(folder) == []


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of somebody who may not read everything, who the test then is (root may read all)."""
    if os.name == "nt":
        pytest.skip("Windows has other permissions")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    for path in folder.rglob("*"):
        path.chmod(0o777)
    shutil.rmtree(folder)


@contextmanager
def without_rights() -> Iterator[None]:
    """All modules must have been imported: they may lie where a stranger may not look."""
    user = os.geteuid()
    os.seteuid(65534 if user == 0 else user)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    ("closed", "code"),
    [("data/reviews.csv", "data.unreadable"), ("data", "data.unreadable"), ("luodi.yaml", "config.unreadable")],
)
def test_what_may_not_be_read(
    closed: str, code: str, language: str, stranger: Path, project: Project, command: Command
) -> None:
    package = Path(luodi.__file__).parent
    if os.geteuid() == 0 and not all(p.stat().st_mode & 0o001 for p in (package / "tasks", *package.parents)):
        pytest.skip("the package lies where another user may not look")
    shutil.copytree(project(table(reviews(60)), data="data/reviews.csv"), stranger / "p")
    (stranger / "p" / "data").mkdir()
    (stranger / "p" / "reviews.csv").rename(stranger / "p" / "data" / "reviews.csv")
    assert command("prepare", str(stranger / "p"), language=language).code == 0
    shutil.rmtree(stranger / "p" / "runs")
    (stranger / "p").chmod(0o777)
    (stranger / "p" / closed).chmod(0)
    with without_rights():
        done = command("run", str(stranger / "p"), language=language)
    print(done.err)
    assert (done.code, done.out) == (2, ""), done.err
    assert closed.split("/")[-1] in done.line
    assert done.line.endswith(f"[{code}]")
    assert not (stranger / "p" / "runs").exists()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_folder_where_a_file_should_be(language: str, project: Project, command: Command) -> None:
    """An empty folder called reviews.csv; a folder to `predict`; one without data to `new`."""
    folder = project(table(reviews(60)))
    (folder / "reviews.csv").unlink()
    (folder / "reviews.csv").mkdir()
    for words in (("run", str(folder)), ("new", str(folder / "reviews.csv"))):
        done = command(*words, language=language)
        print(done.err)
        assert done.code == 2
        assert "reviews.csv" in done.line
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", FILES)
def test_new_says_the_same(name: str, language: str, project: Project, command: Command) -> None:
    trap = FILES[name]
    if "data" in trap.page and not isinstance(trap.page["data"], str):
        pytest.skip("`new` takes one file")
    folder = project(table(reviews(60)) if trap.data is None else trap.data, trap.file)
    out = folder / "made"
    done = command("new", str(folder / str(trap.page.get("data", trap.file))), "--out", str(out), language=language)
    print(done.err)
    assert done.code == 2
    assert [word for word in trap.words if word not in done.line] == []
    assert not out.exists()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("verb", ["prepare", "train"])
def test_a_disk_that_is_full(
    verb: str, language: str, project: Project, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before the first step, with how much is there and how much is needed."""
    folder = project(table(reviews(60)), train={"epochs": 1, "max_length": 32})
    if verb == "train":
        assert command("prepare", str(folder), language=language).code == 0
    free = shutil.disk_usage(folder)._replace(free=600_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    done = command("run", str(folder), language=language)
    print(done.err)
    assert done.code == 2, done.err
    last = done.err.strip().splitlines()[-1]
    assert last.endswith("[disk.full]")
    assert "600 kB" in last
    assert [name for name in left_behind(folder) if name.startswith(verb)] == []
