"""Readers: every format and encoding gives the same rows; what cannot be read says so in one line."""

import codecs
import csv
import gzip
import io
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luodi.errors import ConfigError, DataError
from luodi.stages.prepare.readers import Table, read_table
from luodi.stages.prepare.sources import Source, expand_braces, find_sources

ROWS = [
    ("房间很干净，服务也好，下次还会来住", "好评"), ("屏幕有坏点,客服不理,“退货”也不给退", "差评"),
    ('a "quoted"\nword', "好评"),
]  # fmt: skip


def read(path: Path) -> Table:
    return read_table(Source(path=path, name=path.name))


def cells(table: Table) -> list[tuple[str, str]]:
    return [(row.cells["text"], row.cells["label"]) for row in table.rows]


def table_text(delimiter: str = ",", end: str = "\n") -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerows([("text", "label"), *ROWS])
    return out.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030", "utf-16-le", "utf-16-be"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    path = tmp_path / "reviews.csv"
    path.write_bytes(mark + table_text(end="\r\n").encode(encoding))
    table = read(path)
    assert cells(table) == ROWS
    assert table.columns == ("text", "label")
    assert table.encoding == encoding.removesuffix("-le").removesuffix("-be")
    assert sum("was read as" in note for note in table.notes) == (not encoding.startswith("utf-8"))
    assert sum("byte order mark" in note for note in table.notes) == (encoding == "utf-8-sig")


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends(tmp_path: Path, delimiter: str, end: str) -> None:
    path = tmp_path / "reviews.csv"
    path.write_bytes(table_text(delimiter, end).encode())
    assert cells(read(path)) == ROWS


def test_row_numbers_are_lines_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"one\ntwo",x\n\nthree,y\nfour,y,stray\n')
    table = read(path)
    assert [row.row for row in table.rows] == [2, 5, 6]
    assert [bool(row.fault) for row in table.rows] == [False, False, True]


def test_all_formats_give_the_same_rows(tmp_path: Path) -> None:
    dicts = [{"text": text, "label": label} for text, label in ROWS]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(d) for d in dicts))
    (tmp_path / "a.json").write_text(json.dumps(dicts, ensure_ascii=False, indent=1), encoding="utf-8")
    (tmp_path / "a.csv").write_text(table_text(), encoding="utf-8")
    (tmp_path / "a.tsv").write_text(table_text("\t"), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(dicts), tmp_path / "a.parquet")
    found = [cells(read(path)) for path in sorted(tmp_path.iterdir())]
    assert found == [ROWS] * 5


def test_tabs_without_quoting(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('label\ttext\n1\t"奇书"算不上\n0\t"只开头有引号\n1\t普通\n0\t又一个"\n', encoding="utf-8")
    assert [row.cells["text"] for row in read(path).rows] == ['"奇书"算不上', '"只开头有引号', "普通", '又一个"']


def test_stray_spaces_in_header(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(" text ,\u3000label\na,b\n", encoding="utf-8")
    table = read(path)
    assert table.columns == ("text", "label")
    assert any("stray spaces" in note for note in table.notes)


def test_bad_json_lines_are_faults_and_the_others_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a\u2028b", "label": "x"}\n{broken\n[1]\n' + "[" * 100_000 + "\n", encoding="utf-8")
    assert [bool(row.fault) for row in read(path).rows] == [False, True, True, True]


BAD = {
    "empty.csv": b"", "blank.csv": b"  \n\n", "header.csv": b"text,label\n", "binary.csv": bytes(range(256)) * 8,
    "latin.csv": "text,label\ncafé au lait crème brûlée,é\n".encode("latin-1") * 20,
    "open.csv": b'text,label\na,b\n"never closed,b\nc,d\n', "no.parquet": b"PAR0 no table", "bad.json": b'[{"a": 1},',
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(BAD[name])
    with pytest.raises(DataError) as caught:
        read(path)
    assert name in caught.value.message
    assert "\n" not in str(caught.value)


def test_a_little_damage_is_counted_and_not_fatal(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\n" + "很好的房间,好\n".encode() * 500 + b"\xff\xfe bad,x\n")
    table = read(path)
    assert len(table.rows) == 501
    assert any("damaged" in note for note in table.notes)


def test_honest_replacement_characters_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n\ufffd好,x\n", encoding="utf-8-sig")
    assert not any("damaged" in note for note in read(path).notes)


def test_sources(tmp_path: Path) -> None:
    for name in ("pos/1.txt", "pos/2.txt", "neg/1.txt", "lines/good.txt", "lines/bad.txt", "split/train.csv"):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_text("text,label\na,b\n")
    (tmp_path / "d/split/test.csv").write_text("text,label\na,b\n")
    lines = find_sources("d/lines", tmp_path)
    assert [(s.name, s.label) for s in lines] == [("d/lines/bad.txt", "bad"), ("d/lines/good.txt", "good")]
    assert [s.split for s in find_sources("d/split", tmp_path)] == ["test", "train"]
    assert [s.label for s in find_sources("d", tmp_path)][:1] == ["lines"]
    one = find_sources({"train": "d/lines/good.txt"}, tmp_path)
    assert one[0].label is None
    with pytest.raises(ConfigError, match="dev"):
        find_sources({"train": "a.csv", "dev": "b.csv"}, tmp_path)
    for bad in ("none.csv", "package:no_such_package_here/a.txt", "package:yaml/../../x.txt", "package:yaml/no.txt"):
        with pytest.raises(DataError):
            find_sources(bad, tmp_path)
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(DataError, match=r"a\.docx"):
        find_sources("a.docx", tmp_path)


def test_package_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "explosive"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "good.txt").write_text("fine\nvery fine\n")
    (package / "bad.txt").write_text("awful\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    sources = find_sources("package:explosive/{good,bad}.txt", tmp_path)
    assert [s.name for s in sources] == ["explosive/good.txt", "explosive/bad.txt"]
    assert cells(read_table(sources[0])) == [("fine", "good"), ("very fine", "good")]


def test_expand_braces() -> None:
    assert expand_braces("{a,b}/{1,2}.txt") == ["a/1.txt", "a/2.txt", "b/1.txt", "b/2.txt"]
    assert expand_braces("plain{1}.csv") == ["plain{1}.csv"]


# Characters that all encodings have, line breaks and marks of the format included.
WORDS = st.text(st.sampled_from('abé好坏的是在, \t;|"\'\n，。'), min_size=1, max_size=12).filter(
    lambda text: text.strip() != ""
)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=8), windows=st.booleans(), sig=st.booleans())
def test_any_table_reads_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], windows: bool, sig: bool
) -> None:
    """What csv writes, every cell quoted, comes back cell for cell."""
    path = tmp_path_factory.mktemp("t") / "a.csv"
    out = io.StringIO(newline="")
    end = "\r\n" if windows else "\n"
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    path.write_bytes(out.getvalue().encode("utf-8-sig" if sig else "utf-8"))
    assert cells(read(path)) == rows


@settings(deadline=None, max_examples=40)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    for suffix in (".csv", ".tsv", ".json", ".jsonl", ".txt", ".parquet"):
        path = tmp_path_factory.mktemp("b") / f"a{suffix}"
        path.write_bytes(data)
        try:
            told = "" if read(path).rows else "no rows\n"
        except DataError as error:
            told = error.message
        assert "\n" not in told


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("1,2.5,-3\n4,5,6e2\n", ("1", "2", "3")),
        ("１,２\n3,4\n", ("1", "2")),
        ("5\n6\n", ("1",)),
        ("1,2,3\na,5,6\n", None),
        ("1,,3\n4,5,6\n", None),
        ("0,1,2,3\n7,8,9,4\n", None),
        ("1,2,3,4\n7,8,9,4\n", None),
    ],
)
def test_only_lines_of_numbers_have_no_header(tmp_path: Path, text: str, columns: tuple[str, ...] | None) -> None:
    """0, 1, 2, 3 are names that a program gave."""
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    table = read(path)
    assert table.has_header == (columns is None)
    if columns:
        assert table.columns == columns
        assert [row.row for row in table.rows] == [1, 2]
        assert any("has no line with names" in note for note in table.notes)


def test_packed_files_keep_their_kind_and_name(tmp_path: Path) -> None:
    for name in ("good.txt.gz", "bad.txt.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"one\ntwo\n"))
    sources = find_sources(str(tmp_path), Path())
    assert [source.label for source in sources] == ["bad", "good"]
    assert cells(read_table(sources[1])) == [("one", "good"), ("two", "good")]


def test_what_unpacks_too_far_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text,label\n" + b"0" * (200 << 20), 9))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"a\.csv\.gz unpacks to more than 67 MB"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 150 << 20
    tracemalloc.stop()
