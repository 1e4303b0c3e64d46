"""Entities: from spans to tags and back, the best sequence, windows, and what a file of them looks like."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luodi.backends.tokenizers import TextProcessor, by_units, train_processor
from luodi.core.task import IGNORED, LABELS, Schema
from luodi.core.types import Columns, Example
from luodi.errors import DataError
from luodi.modalities.spans import SPAN_METRICS, Span, Spans, with_words
from luodi.modalities.text import Text
from luodi.tasks._simple_tagger import fit_dictionary, fit_windows
from luodi.tasks._tagging import best_tags, place_units, spans_of, tags_of, units, window_features
from luodi.tasks.token_classification import TokenClassification

LABELS_USED = ("LOC", "PER")
MIXED = st.text("好坏的，。abXY 019é😀𠮷の한ไ\n", max_size=40)
COLUMNS = Columns(input=("text",), target="entities")
quick = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def processor() -> TextProcessor:
    corpus = ["李小四住在New York 2008年", "Anna Berg，了不起的 engineer", "哈尔滨的冬天很长。"] * 5
    return by_units(train_processor(corpus, vocabulary=300))


def task(length: int = 64) -> TokenClassification:
    return TokenClassification(Schema(labels=LABELS_USED, max_length=length))


def drawn_spans(data: st.DataObject, text: str) -> tuple[Span, ...]:
    """Any that begin and end where units do."""
    places = units(text).tolist()
    ends = sorted(data.draw(st.sets(st.integers(0, len(places)), max_size=6)))
    pairs = data.draw(st.just(list(zip(ends[::2], ends[1::2], strict=False))))
    kinds = [data.draw(st.sampled_from(LABELS_USED)) for _ in pairs]
    return tuple(Span(places[a][0], places[b - 1][1], k) for (a, b), k in zip(pairs, kinds, strict=True))


# --- units, tags, sequences -------------------------------------------------------------------------------------------


def test_units_are_characters_words_numbers_and_marks() -> None:
    text = "常建良，2008年IBM（中国）hello wörld 3.5㎡ ソニーの서울𠮷"
    told = [text[a:b] for a, b in units(text)]
    chinese = ["常", "建", "良", "，", "2008", "年", "IBM", "（", "中", "国", "）"]
    assert told == [*chinese, "hello", "wörld", "3", ".", "5", "㎡", *"ソニーの서울𠮷"]


@given(data=st.data(), text=MIXED)
@quick
def test_spans_become_tags_and_the_same_spans_again(data: st.DataObject, text: str) -> None:
    spans = drawn_spans(data, text)
    places = units(text)
    tags = tags_of(spans, places, LABELS_USED)
    again = spans_of(tags, places, LABELS_USED, text)
    assert again == spans
    assert all(s.text == text[s.start : s.end] for s in again)
    scores = np.eye(9)[tags] if len(tags) else np.zeros((0, 9))
    assert best_tags(scores[None], [len(tags)])[0].tolist() == tags.tolist()


def test_a_span_within_a_unit_takes_it_whole_and_an_unknown_type_is_ignored() -> None:
    places = units("abc def")
    assert spans_of(tags_of([Span(1, 2, "PER")], places, LABELS_USED), places, LABELS_USED, "abc def") == (
        Span(0, 3, "PER"),
    )
    assert tags_of([Span(0, 3, "ORG")], places, LABELS_USED).tolist() == [IGNORED, 0]
    both = tags_of([Span(0, 1, "PER"), Span(1, 3, "LOC")], places, LABELS_USED)  # one unit cannot have two tags
    assert len(spans_of(both, places, LABELS_USED, "abc def")) == 1


def is_allowed(tags: Sequence[int]) -> bool:
    """BIOES, said as a regular expression over letters: bies of the first type, wxyz of the second."""
    told = "".join("obiesbies"[t] if t < 5 else "owxyzwxyz"[t - 4] for t in tags)
    return re.fullmatch(r"(o|s|z|bi*e|wx*y)*", told) is not None


@pytest.mark.parametrize("seed", range(4))
def test_the_best_sequence_is_the_best_of_all_that_are_allowed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(3, 4, 9))
    lengths = [4, 2, 1]
    found = best_tags(scores, lengths)
    for row, length, tags in zip(scores, lengths, found, strict=True):
        every = itertools.product(range(9), repeat=length)
        best = max((t for t in every if is_allowed(t)), key=lambda t: sum(row[i, tag] for i, tag in enumerate(t)))
        assert tags[:length].tolist() == list(best)
        assert not tags[length:].any()


def test_no_types_no_units_no_texts() -> None:
    assert best_tags(np.zeros((2, 3, 1)), [3, 1]).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert best_tags(np.zeros((1, 0, 9)), [0]).shape == (1, 0)


def test_477_sentences_are_traced_in_well_under_a_second() -> None:
    import time

    scores = np.random.default_rng(0).normal(size=(477, 180, 33))
    began = time.process_time()
    best_tags(scores, [180] * 477)
    assert time.process_time() - began < 3  # 0.5 s alone on a core; the bound is for a busy machine


# --- pieces of a tokenizer --------------------------------------------------------------------------------------------


@given(text=MIXED)
@quick
def test_every_unit_has_one_piece_that_answers_for_it(processor: TextProcessor, text: str) -> None:
    item = processor.encode([text])[0]
    places = place_units(text, item["offsets"])
    assert places[places[:, 0] >= 0].tolist() == units(text).tolist()


def test_a_tokenizer_that_crosses_units_answers_for_all_of_them_together() -> None:
    text = "中国人abc"
    pieces = np.array([[0, 0], [0, 2], [2, 4], [4, 6], [0, 0]])  # 中国, 人a, bc
    places = place_units(text, pieces)
    assert places.tolist() == [[-1, -1], [0, 2], [-1, -1], [2, 6], [-1, -1]]


def test_a_unit_without_a_piece_is_left_out() -> None:
    places = place_units("a\u200bb", np.array([[0, 1], [2, 3]]))
    assert places.tolist() == [[0, 1], [2, 3]]


def test_byte_tokenizers_are_cut_before_they_count_bytes() -> None:
    library = pytest.importorskip("tokenizers")
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = library.trainers.BpeTrainer(vocab_size=400, show_progress=False, initial_alphabet=[])
    tokenizer.train_from_iterator(["有限公司 hello 2008年"] * 20, trainer)
    text = "有限公司 hello 2008年"
    places = place_units(text, by_units(TextProcessor(tokenizer)).encode([text])[0]["offsets"])
    assert places[places[:, 0] >= 0].tolist() == units(text).tolist()


# --- windows ----------------------------------------------------------------------------------------------------------


def long_example() -> Example[str, tuple[Span, ...]]:
    text, spans = "", []
    for i in range(40):
        name = ("李小四", "Anna Berg", "哈尔滨")[i % 3]
        text += f"第{i}个是"
        spans.append(Span(len(text), len(text) + len(name), LABELS_USED[i % 3 == 2]))
        text += name + "，"
    return Example(id="1", input=text, target=with_words(spans, text))


@pytest.mark.parametrize("length", [2, 8, 13, 32, 33, 100])
def test_a_long_text_is_read_whole_whatever_the_window(processor: TextProcessor, length: int) -> None:
    """Logits that are right in every window, and wrong where the window before or after answers."""
    example, asked = long_example(), task(length)
    item = asked.encode([example.input], processor, [example.target])[0]
    whole = task(10_000).encode([example.input], processor, [example.target])[0]
    kept = item[LABELS] != IGNORED
    assert item["places"][kept].tolist() == whole["places"][whole[LABELS] != IGNORED].tolist()
    assert item[LABELS][kept].tolist() == whole[LABELS][whole[LABELS] != IGNORED].tolist()
    batch = asked.collate([item])
    assert batch["input_ids"].shape[1] <= max(length, 8)
    assert batch["attention_mask"].sum() == len(item["input_ids"])
    wrong = np.random.default_rng(0).normal(size=(*batch[LABELS].shape, 9))
    right = 20 * np.eye(9)[np.maximum(batch[LABELS], 0)]
    logits = np.where((batch[LABELS] == IGNORED)[..., None], wrong, right)
    answer = asked.decode({"logits": logits}, [item])[0]
    assert answer.value == example.target
    assert (answer.confidence or 0) > 0.99


def test_windows_of_several_texts_come_apart_again(processor: TextProcessor) -> None:
    asked = task(16)
    examples = [Example(id="0", input="好", target=()), long_example(), Example(id="2", input=" ", target=())]
    items = asked.encode([e.input for e in examples], processor, [e.target for e in examples])
    batch = asked.collate(items)
    right = 20 * np.eye(9)[np.maximum(batch[LABELS], 0)]
    answers = asked.decode({"logits": right}, items)
    assert [a.value for a in answers] == [e.target for e in examples]
    assert answers[2].confidence == 1.0


def test_frozen_lower_layers_see_the_same_windows(processor: TextProcessor, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from luodi.models.engine import TorchEngine
    from luodi.models.frozen import keep_activations, split_encoder
    from luodi.models.source import resolve

    torch.manual_seed(0)
    asked = task(16)
    model = asked.build(resolve("bert:tiny", "").fitted(processor)).eval()
    items = asked.encode([long_example().input, "李小四住在哈尔滨", long_example().input[30:]], processor)
    whole = TorchEngine(model).run(asked.collate(items))["logits"]
    split = split_encoder(model.encoder, 1)
    assert split is not None
    kept = keep_activations(split, items, asked.collate, tmp_path / "a.f16", "cpu")
    model.encoder = split.upper
    batch = asked.collate(kept)
    again = TorchEngine(model).run(batch)["logits"]
    real = batch["attention_mask"].astype(bool)
    assert np.abs(again - whole)[real].max() < 0.02


# --- reading and recognising ------------------------------------------------------------------------------------------


def read(text: str, entities: Any) -> Example[str, tuple[Span, ...]]:
    return TokenClassification().read({"text": text, "entities": entities}, COLUMNS)


def test_three_forms_of_the_same_entities_are_one() -> None:
    forms: list[Any] = [
        [{"start": 0, "end": 2, "label": "PER"}], [[0, 2, "PER"]], '[[0, 2, "PER"]]',
        [{"id": 7, "start_offset": 0, "end_offset": 2, "label": "PER"}], '[{"start": 0, "end": 2.0, "label": " PER "}]',
    ]  # fmt: skip
    for form in forms:
        example = read("张三在家", form)
        assert example.target == (Span(0, 2, "PER"),)
        assert Spans().encode(example.target) == [{"start": 0, "end": 2, "label": "PER", "text": "张三"}]
    assert Spans().caption(example.target) == "张三 [PER]"
    assert Spans().caption((Span(3, 5, "LOC"),)) == "3-5 [LOC]"


def test_places_stay_where_they_are() -> None:
    """No trimming, no other spelling of a character: both would move what stands behind."""
    text = "  e\u0301tude\r\n张三"
    example = read(text, [[10, 12, "PER"]])
    assert example.input == text
    assert example.target[0].text == "张三"
    assert Text().decode(text) == "étude\n张三"


@pytest.mark.parametrize(
    ("entities", "words"),
    [
        ([[0, 9, "PER"]], "4 characters"), ("not json", "JSON"), ([[0, 2, "A"], [1, 3, "B"]], "overlap"),
        ([{"start": 0, "end": 2, "label": "PER", "text": "三在"}], "张三"), ([["0", 2, "A"]], "whole numbers"),
        ([{"start": 0, "end": 2}], "label"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_text_is_told(entities: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read("张三在家", entities)


def test_a_table_of_entities_is_recognised_and_says_why(both_languages: str) -> None:
    spans: list[Any] = [[[0, 2, "PER"]], [], '[[1, 3, "LOC"]]']
    table = {"id": ["1", "2", "3"], "sentence": ["张三在家", "没有", "在北京"], "label": spans, "x": ["a", "b", "c"]}
    found = TokenClassification.recognise(table)
    assert found is not None
    assert (found.input, found.target) == (("sentence",), "label")
    assert "PER" in found.reason
    assert "sentence" in found.reason


@pytest.mark.parametrize(
    "table",
    [
        {"text": ["好", "坏"], "label": ["a", "b"]}, {"text": ["好", "坏"], "label": ["[1, 2]", "[3]"]},
        {"text": ["好", "坏"], "label": [[[0, 5, "A"]], [[0, 9, "A"]]]}, {"text": ["好"], "label": [[]]}, {},
    ],
)  # fmt: skip
def test_other_tables_are_left_alone(table: dict[str, list[Any]]) -> None:
    assert TokenClassification.recognise(table) is None


# --- the simple models ------------------------------------------------------------------------------------------------


def test_both_simple_models_find_what_is_plain_to_see() -> None:
    from tiny import make_entities

    data = make_entities()
    for fit in (fit_dictionary, lambda rows: fit_windows(rows, seed=0)):
        answers = fit(data.train)(data.test)
        assert SPAN_METRICS[0].value([e.target for e in data.test], answers) > 0.9
        assert all(s.text for a in answers for s in a.value)
        assert fit(data.train)([]) == []


def test_a_word_that_is_mostly_no_entity_is_not_looked_up() -> None:
    rows = [Example(id=str(i), input="红色的红", target=(Span(3, 4, "A"),) if i else ()) for i in range(5)]
    assert fit_dictionary(rows)(rows[:1])[0].value == ()
    nothing = [Example(id="1", input="无", target=())] * 5
    assert fit_windows(nothing, seed=0)(nothing)[0].value == ()


def test_features_are_the_same_everywhere() -> None:
    found = window_features("IBM在中国", units("IBM在中国"), 1000)
    assert found.shape == (4, 13)
    assert found[:, 2].tolist() == window_features("x IBM在中国", units("x IBM在中国"), 1000)[1:, 2].tolist()
    wide = window_features("ＩＢＭ在中国", units("ＩＢＭ在中国"), 1000)
    assert found.tolist() == wide.tolist()


def test_no_boundary_of_the_resume_corpus_lies_within_a_unit(data: Path) -> None:
    from luodi.stages.prepare.readers import read_table
    from luodi.stages.prepare.sources import Source

    file = data / "ner" / "resume_test.char.bmes"
    if not file.is_file():
        pytest.skip("no Resume corpus")
    rows = [row.cells for row in read_table(Source(path=file, name=file.name)).rows]
    assert len(rows) == 477
    count = 0
    for row in rows:
        places = units(row["text"])
        for entity in json.loads(json.dumps(row["entities"])):
            count += 1
            assert entity["start"] in places[:, 0]
            assert entity["end"] in places[:, 1]
    assert count == 1630
