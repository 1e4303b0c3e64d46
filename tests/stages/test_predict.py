"""A file in, the same rows with answers out: encodings, bad rows, order, nothing lost."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luodi.core.bundle import Bundle, open_bundle
from luodi.errors import DataError, InputError, UsageError
from luodi.predict import answers_path, predict_file, predict_wires

GOOD, BAD = "好吃 不错", "难吃 太差"


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle[str, str]:
    opened = open_bundle(tiny_bundle)
    manifest = replace(opened.manifest, recipe={"brief": {"input": "text"}})
    return replace(opened, manifest=manifest)


def rows_of(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as handle:
        return list(csv.DictReader(handle, delimiter=delimiter))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_same_rows_with_answers(bundle: Bundle[str, str], tmp_path: Path, encoding: str) -> None:
    texts = [GOOD, BAD, f"“引号”, 逗号\n换行 {GOOD}", BAD] * 3
    with (tmp_path / "in.csv").open("w", encoding=encoding, newline="") as handle:
        csv.writer(handle).writerows([["id", "text"], *([i, t] for i, t in enumerate(texts))])
    report = predict_file(bundle, tmp_path / "in.csv", tmp_path / "out.csv")
    written = rows_of(tmp_path / "out.csv")
    assert [row["id"] for row in written] == [str(i) for i in range(len(texts))]
    assert [row["text"] for row in written] == texts
    assert [row["answer"] for row in written] == [bundle.predict([t])[0].value for t in texts]
    assert all(0.5 <= float(row["confidence"]) <= 1 and row["reason"] == "" for row in written)
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbf")  # or Excel garbles the Chinese
    assert report.numbers["rows"].value == report.numbers["answered"].value == len(texts)


def test_rows_that_cannot_be_answered_keep_their_place(bundle: Bundle[str, str], tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(f"text,note\n{GOOD},a\n,b\n{BAD},c,d\n{BAD},e\n", encoding="utf-8")
    report = predict_file(bundle, tmp_path / "in.csv", tmp_path / "out.csv")
    written = rows_of(tmp_path / "out.csv")
    assert [row["answer"] for row in written] == ["好评", "", "", "差评"]
    assert [bool(row["reason"]) for row in written] == [False, True, True, False]
    assert written[2]["unread"] == f"{BAD},c,d"
    assert (report.numbers["rows"].value, report.numbers["answered"].value) == (4, 2)
    assert any("2 of 4 rows" in finding for finding in report.findings)


def test_jsonl(bundle: Bundle[str, str], tmp_path: Path) -> None:
    lines = [
        json.dumps({"text": GOOD, "n": 1.5}),
        "{broken",
        json.dumps({"text": BAD, "tags": ["x"]}),
        '{"text": {"a": 1}}',
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines), encoding="utf-8")
    predict_file(bundle, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["answer"] for row in written] == ["好评", None, "差评", None]
    assert written[0]["n"] == 1.5
    assert written[2]["tags"] == ["x"]
    assert written[1]["unread"] == "{broken"
    assert "A text must be a string" in written[3]["reason"]


def test_tsv_and_plain_lines(bundle: Bundle[str, str], tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text(f"{GOOD}\n\n{BAD}\n", encoding="utf-8")
    predict_file(bundle, tmp_path / "in.txt", tmp_path / "out.tsv")
    assert [row["answer"] for row in rows_of(tmp_path / "out.tsv", "\t")] == ["好评", "差评"]


def test_numbers_of_the_file_are_not_touched(bundle: Bundle[str, str], tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": GOOD, "price": 1234567.891}) + "\n", encoding="utf-8")
    predict_file(bundle, tmp_path / "in.jsonl", tmp_path / "out.csv")
    assert rows_of(tmp_path / "out.csv")[0]["price"] == "1234567.891"


def test_columns_that_have_our_names_are_kept(bundle: Bundle[str, str], tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(f"text,answer,reason\n{GOOD},mine,why\n", encoding="utf-8")
    predict_file(bundle, tmp_path / "in.csv", tmp_path / "out.csv")
    (row,) = rows_of(tmp_path / "out.csv")
    assert (row["answer"], row["reason"], row["luodi_answer"], row["luodi_reason"]) == ("mine", "why", "好评", "")


def test_which_column(bundle: Bundle[str, str], tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(f"review,n\n{GOOD},1\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no column text"):
        predict_file(bundle, source, out)
    with pytest.raises(DataError, match=r"has no column reviw\. Did you mean review\?"):
        predict_file(bundle, source, out, "reviw")
    predict_file(bundle, source, out, "review")
    assert rows_of(out)[0]["answer"] == "好评"
    source.write_text(f"whatever\n{BAD}\n", encoding="utf-8")  # the only one there is
    predict_file(bundle, source, out)
    assert rows_of(out)[0]["answer"] == "差评"
    unknown = replace(bundle, manifest=replace(bundle.manifest, recipe={}))
    source.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(DataError, match="several columns"):
        predict_file(unknown, source, out)


def test_files_that_cannot_be(bundle: Bundle[str, str], tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text(f"text\n{GOOD}\n", encoding="utf-8")
    with pytest.raises(InputError, match="no file"):
        predict_file(bundle, tmp_path / "none.csv", tmp_path / "out.csv")
    with pytest.raises(UsageError, match="written over"):
        predict_file(bundle, source, tmp_path / "." / "in.csv")
    with pytest.raises(UsageError, match="not written"):
        predict_file(bundle, source, tmp_path / "out.parquet")
    with pytest.raises(InputError, match="no folder"):
        predict_file(bundle, source, tmp_path / "none" / "out.csv")
    (tmp_path / "in.pdf").write_bytes(b"%PDF")
    with pytest.raises(DataError, match="not read"):
        predict_file(bundle, tmp_path / "in.pdf", tmp_path / "out.csv")


def test_an_input_that_breaks_the_model_breaks_its_row_alone(bundle: Bundle[str, str]) -> None:
    class Breaking:
        def run(self, batch: Any) -> Any:
            if batch["input_ids"].shape[1] > 15:
                raise RuntimeError("too long")
            return bundle.engine.run(batch)

    answers = predict_wires(replace(bundle, engine=Breaking()), [GOOD, GOOD * 9, BAD], Path())
    assert [a.value for a in answers] == ["好评", None, "差评"]
    assert "too long" in answers[1].reason


def test_many_rows_go_in_chunks(bundle: Bundle[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luodi.predict.CHUNK", 7)
    wires: Sequence[str | None] = [(GOOD, BAD, None)[i % 3] for i in range(50)]
    assert [a.value for a in predict_wires(bundle, wires, Path())] == [("好评", "差评", None)[i % 3] for i in range(50)]
    assert predict_wires(bundle, [], Path()) == []


@pytest.mark.parametrize(
    ("file", "answers"),
    [
        ("a.csv", "a.answers.csv"), ("a.parquet", "a.answers.csv"), ("b.jsonl.gz", "b.answers.jsonl"),
        ("A.TSV", "A.answers.tsv"),
    ],
)
def test_answers_go_beside_the_file(file: str, answers: str) -> None:
    assert answers_path(Path("in") / file) == Path("in") / answers
