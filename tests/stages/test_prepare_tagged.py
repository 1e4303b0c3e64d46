"""Column files: every tagging scheme, what is mended, and what is told of a line that is none."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from luodi.propose import propose
from luodi.stages.prepare.readers import Table, read_table
from luodi.stages.prepare.sources import Source, find_sources

BMES = "李 B-PER\n明 E-PER\n在 O\n北 B-LOC\n京 M-LOC\n市 E-LOC\n， O\n他 S-PER\n"
SAID = [("李明", "PER"), ("北京市", "LOC"), ("他", "PER")]


def table(folder: Path, text: str, name: str = "a.bmes") -> Table:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return read_table(Source(path=path, name=name))


def said(cells: Any) -> list[tuple[str, str]]:
    return [(cells["text"][e["start"] : e["end"]], e["label"]) for e in cells["entities"]]


@pytest.mark.parametrize(
    "tags",
    [
        BMES, BMES.replace("M-", "I-"), BMES.replace("E-", "I-").replace("M-", "I-").replace("S-", "B-"),
        BMES.replace("M-", "I-").replace("E-", "L-").replace("S-", "U-"), BMES.replace(" ", "\t"),
        BMES.replace("-", "_"), BMES.replace("\n", "\r\n"), BMES.replace(" ", " NN x "), f"\ufeff{BMES}",
    ],
)  # fmt: skip
def test_every_scheme_gives_the_same_row(tmp_path: Path, tags: str) -> None:
    found = table(tmp_path, tags + "\n\n" + tags.removeprefix("\ufeff"))
    assert found.columns == ("text", "entities")
    assert len(found.rows) == 2
    for row in found.rows:
        assert not row.fault
        assert row.cells["text"] == "李明在北京市，他"
        assert said(row.cells) == SAID
    assert found.rows[1].row == 11


def test_in_iob1_only_neighbours_of_one_type_need_a_b(tmp_path: Path) -> None:
    found = table(tmp_path, "aa I-X\nbb I-X\ncc B-X\ndd I-Y\nee O\nff I-Y\n", "a.conll")
    assert said(found.rows[0].cells) == [("aa bb", "X"), ("cc", "X"), ("dd", "Y"), ("ff", "Y")]
    assert found.notes == ()


def test_bad_sequences_are_mended_as_conlleval_does_and_that_is_said(tmp_path: Path, both_languages: str) -> None:
    found = table(tmp_path, "甲 B-X\n乙 I-Y\n丙 O\n丁 E-X\n戊 I-X\n己 S-X\n庚 I-X\n")
    assert said(found.rows[0].cells) == [("甲", "X"), ("乙", "Y"), ("丁", "X"), ("戊", "X"), ("己", "X"), ("庚", "X")]
    assert len(found.notes) == 1
    assert "4" in found.notes[0]


def test_words_have_a_space_between_them_and_characters_have_none(tmp_path: Path) -> None:
    lines = "-DOCSTART- -X- O O\n\nEU NNP B-ORG\nrejects VBZ O\nNew I-X B-LOC\nYork x I-LOC\n"
    words = table(tmp_path, lines, "a.conll")
    assert words.rows[0].cells["text"] == "EU rejects New York"
    assert said(words.rows[0].cells) == [("EU", "ORG"), ("New York", "LOC")]
    letters = table(tmp_path, "".join(f"{c} O\n" for c in "在IBM和2008年") + "  O\nI B-X\nB E-X\n")
    assert letters.rows[0].cells["text"] == "在IBM和2008年 IB"
    assert said(letters.rows[0].cells) == [("IB", "X")]
    mixed = table(tmp_path, "中国 B-LOC\n的 O\nNew B-LOC\nYork I-LOC\n。 O\n")
    assert mixed.rows[0].cells["text"] == "中国的New York。"


def test_a_line_without_a_tag_costs_its_sentence_alone(tmp_path: Path, both_languages: str) -> None:
    found = table(tmp_path, f"{BMES}\n甲 O\n乙丙\n丁 O\n\n{BMES}# 注释\n\n甲 X-PER\n")
    faults = [row.fault for row in found.rows]
    assert [bool(f) for f in faults] == [False, True, False, True]
    assert "11" in faults[1]
    assert "乙丙" in faults[1]
    assert "X-PER" in faults[3]


def test_tagged_characters_in_a_txt_are_seen(tmp_path: Path) -> None:
    assert said(table(tmp_path, BMES, "a.txt").rows[0].cells) == SAID
    prose = table(tmp_path, "这 是 O\n一 段 文字\n", "b.txt")
    assert (prose.columns[0], len(prose.rows)) == ("text", 2)
    assert table(tmp_path, "plan O\nplan O\n", "c.txt").columns[0] == "text"  # no entity: not a file of tags


def test_packed_and_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "train.bmes.gz").write_bytes(gzip.compress(BMES.encode()))
    (tmp_path / "test.bmes").write_text(BMES, encoding="utf-8")
    sources = find_sources(str(tmp_path), Path())
    assert [(s.path.name, s.split) for s in sources] == [("test.bmes", "test"), ("train.bmes.gz", "train")]
    assert [len(read_table(s).rows) for s in sources] == [1, 1]


def test_new_makes_a_project_of_a_column_file(tmp_path: Path, both_languages: str) -> None:
    from tiny import make_entities

    blocks = []
    for example in make_entities().train[:120]:
        tags = ["O"] * len(example.input)
        for span in example.target:
            tags[span.start : span.end] = [f"B-{span.label}", *[f"I-{span.label}"] * (span.end - span.start - 1)]
        blocks.append("".join(f"{c} {t}\n" for c, t in zip(example.input, tags, strict=True)))
    (tmp_path / "names.char.bio").write_text("\n".join(blocks), encoding="utf-8")
    proposal = propose(tmp_path / "names.char.bio")
    assert (proposal.task, proposal.input, proposal.target) == ("token_classification", ("text",), "entities")
    assert proposal.limits[0].name == "entity_f1"
    assert "PER" in proposal.notes[0]
