"""A smaller vocabulary cuts every known text as before, and still cuts unknown ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from luodi.backends.tokenizers import TextProcessor, open_processor
from luodi.errors import ParityError
from luodi.stages.compress.vocabulary import (
    Trim,
    choose,
    pieces_of,
    prove,
    trim_network,
    trim_processor,
    trim_weights,
)

WORDS = (
    *("the", "food", "was", "very", "good", "we", "liked", "this", "place", "a", "lot", "overall", "breakfast"),
    *("好吃", "不错", "房间", "很", "干净", "服务", "态度", "太", "差", "了", "性价比", "早餐"),
)


@pytest.fixture(scope="module")
def unigram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As SentencePiece has it: Unigram pieces with scores, special tokens at both ends."""
    rng = np.random.default_rng(0)
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([" ".join(rng.choice(WORDS, 12)) for _ in range(400)], trainer)
    tokenizer.add_special_tokens(["<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    folder = tmp_path_factory.mktemp("unigram")
    TextProcessor(tokenizer).save(folder)
    return folder


def trimmed(source: Path, target: Path, texts: list[str], most: int) -> tuple[TextProcessor, TextProcessor, Trim]:
    before = open_processor(source)
    trim = choose(source, before, texts, most)
    trim_processor(source, target, trim)
    return before, open_processor(target), trim


def test_known_texts_are_cut_as_before(unigram: Path, tmp_path: Path) -> None:
    texts = ["the food was good", "房间 很 干净", "unknown ☃ sign", ""]
    before, after, trim = trimmed(unigram, tmp_path, texts, 0)
    assert len(trim.kept) < trim.size
    assert set(trim.kept[trim.kept >= trim.size]) == {before.tokenizer.token_to_id("<mask>")}
    assert prove(before, after, texts, trim) == len(texts)


def test_unknown_texts_keep_their_characters(unigram: Path, tmp_path: Path) -> None:
    before, after, _ = trimmed(unigram, tmp_path, ["好吃"], 0)
    unknown = after.tokenizer.token_to_id("<unk>")
    assert unknown == before.tokenizer.token_to_id("<unk>")
    for text in ("we liked this place", "服务 态度 太 差 了"):
        assert unknown not in after.encode([text])[0]["input_ids"]


def test_a_character_needs_no_second_piece_for_the_beginning_of_words(unigram: Path, tmp_path: Path) -> None:
    pieces = [piece for piece, _ in pieces_of(unigram) or []]
    twins = {piece for piece in pieces if len(piece) == 2 and piece[0] == "▁" and piece[1] in pieces}
    assert twins
    assert "▁" in pieces
    _, after, trim = trimmed(unigram, tmp_path, ["好吃"], 0)
    kept = {pieces[i] for i in trim.kept if i < trim.size}
    assert {piece[1] for piece in twins} <= kept
    assert not twins & kept
    assert after.tokenizer.token_to_id("<unk>") not in after.encode(["a 太 了"])[0]["input_ids"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_any_text_that_is_seen_is_cut_as_before(unigram: Path, tmp_path: Path, texts: list[str]) -> None:
    before, after, trim = trimmed(unigram, tmp_path, texts, 0)
    assert prove(before, after, texts, trim) == len(texts)


def test_room_goes_to_the_most_probable(unigram: Path) -> None:
    pieces = pieces_of(unigram)
    assert pieces is not None
    few = choose(unigram, open_processor(unigram), ["好吃"], 0).kept
    more = choose(unigram, open_processor(unigram), ["好吃"], len(few) + 1).kept
    added, left = set(more) - set(few), set(range(len(pieces))) - set(more)
    assert len(added) >= 1
    assert left
    assert min(pieces[i][1] for i in added) >= max(pieces[i][1] for i in left)


def test_a_proof_that_fails_names_the_text(unigram: Path, tmp_path: Path) -> None:
    before, after, trim = trimmed(unigram, tmp_path, ["好吃"], 0)
    with pytest.raises(ParityError, match="the food"):
        prove(before, after, ["the food was very good"], trim)


def test_special_tokens_move_with_their_numbers(unigram: Path, tmp_path: Path) -> None:
    _, after, trim = trimmed(unigram, tmp_path, ["好吃"], 0)
    config = {"vocab_size": 301, "pad_token_id": 1, "eos_token_id": None, "hidden_size": 8}
    network = trim_network({"base": "x", "config": config}, trim)
    assert network["config"] == {**config, "vocab_size": len(trim.kept), "pad_token_id": 1}
    ids = after.encode(["好吃"])[0]["input_ids"]
    assert (ids[0], ids[-1]) == (0, 2)
    assert after.tokenizer.token_to_id("<mask>") is not None


def test_wordpiece(tmp_path: Path) -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "##ness", "bad", "##ly", "g", "##o", "##d", "b", "##a"]
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(pieces[:4])
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    TextProcessor(tokenizer).save(tmp_path / "before")
    before, after, trim = trimmed(tmp_path / "before", tmp_path / "after", ["badly good?"], 0)
    assert [pieces[i] for i in trim.kept if len(pieces[i].removeprefix("##")) > 1][4:] == ["good", "bad", "##ly"]
    assert prove(before, after, ["badly good?", "god"], trim) == 2


def test_rows_follow_their_pieces(tmp_path: Path) -> None:
    table = np.arange(20, dtype=np.float32).reshape(10, 2)
    save_file({"words": table, "bias": table[:, 0].copy(), "position": table, "other": table[:4]}, tmp_path / "a")
    trim_weights(tmp_path / "a", tmp_path / "b", Trim(kept=np.array([0, 3, 9]), size=10), 10)
    found = load_file(tmp_path / "b")
    assert np.array_equal(found["words"], table[[0, 3, 9]])
    assert np.array_equal(found["bias"], [0, 6, 18])
    assert np.array_equal(found["position"], table)
    assert np.array_equal(found["other"], table[:4])


def test_merges_are_left_alone(tmp_path: Path) -> None:
    TextProcessor(Tokenizer(models.BPE())).save(tmp_path)
    assert pieces_of(tmp_path) is None
    shutil.rmtree(tmp_path)
    assert pieces_of(tmp_path) is None
