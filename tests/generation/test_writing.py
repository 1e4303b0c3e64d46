"""The decoding loop: with a cache or without, alone or among others, at once or piece by piece, one text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luodi.backends.tokenizers import TextProcessor, open_processor, train_writer
from luodi.core.sampling import Sampling
from luodi.core.task import IGNORED, LABELS
from luodi.models.writing import bits_of
from poet import POEMS, Forgetful, examples, make_writer

PROMPTS = ["春", "明月何时照我还，千里", "the quick brown fox jumps", "轻舟", "第7首。😀"]
BOTH = pytest.mark.parametrize("family", ["gpt", "llama"])
WAYS = pytest.mark.parametrize(
    "settings", [{}, {"temperature": 1.0, "seed": 3}, {"temperature": 0.7, "top_k": 5, "repetition_penalty": 1.3}],
    ids=["greedy", "sampled", "top-k"],
)  # fmt: skip


@BOTH
@WAYS
def test_a_cache_a_batch_and_a_stream_change_nothing(family: str, settings: dict[str, Any]) -> None:
    task, engine, _ = make_writer(family, **settings)
    items = task.encode(PROMPTS, task.writer)
    together = [answer.value for answer in task.predict(items, engine)]
    assert len(set(together)) == len(PROMPTS)
    assert together == [task.predict([item], engine)[0].value for item in items]
    assert together == [answer.value for answer in task.predict(items[::-1], engine)][::-1]
    assert together == [answer.value for answer in task.predict(items, Forgetful(engine))]
    assert together == ["".join(task.stream(item, engine)) for item in items]


@BOTH
def test_logits_with_the_cache_are_those_without(family: str) -> None:
    """In three parts, one of them padded on the left and one on the right."""
    task, engine, _ = make_writer(family)
    ids = task.encode(["绿岸，何时我还？quick！里千"], task.writer)[0]["input_ids"][None]
    assert ids.shape[1] > 8
    whole = engine.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})["logits"]
    zero = np.zeros((1, 2), np.int64)
    past, mask, found = None, np.zeros((1, 0), np.int64), []
    for part, left, right in ((ids[:, :4], True, False), (ids[:, 4:5], False, True), (ids[:, 5:], False, False)):
        real = [*([zero] if left else []), np.ones_like(part), *([zero] if right else [])]
        read = [*([zero] if left else []), part, *([zero] if right else [])]
        batch = {"input_ids": np.concatenate(read, 1), "attention_mask": np.concatenate(real, 1)}
        told = engine.run(batch if past is None else {**batch, "past": past, "past_mask": mask})
        found.append(told["logits"][:, batch["attention_mask"][0].astype(bool)])
        past = told["present"] if past is None else np.concatenate([past, told["present"]], 1)
        mask = np.concatenate([mask, batch["attention_mask"]], 1)
    assert np.concatenate(found, 1) == pytest.approx(whole, abs=1e-4)


def test_seeds_choose_the_answer() -> None:
    task, engine, _ = make_writer(temperature=1.0)
    item = task.encode(["春风"], task.writer)
    answers = {
        task.with_sampling(Sampling(temperature=1.0, seed=seed, max_new_tokens=12)).predict(item, engine)[0].value
        for seed in (1, 2, 3, 1)
    }
    assert len(answers) == 3


def test_confidence_is_the_mean_probability_of_the_tokens() -> None:
    task, engine, _ = make_writer(max_new_tokens=1)
    item = task.encode(["春风"], task.writer)[0]
    logits = engine.run(task.collate([item]))["logits"][0, -1].astype(np.float64)
    shares = np.exp(logits - logits.max())
    answer = task.predict([item], engine)[0]
    assert answer.confidence == pytest.approx(shares.max() / shares.sum(), abs=1e-6)


@BOTH
def test_stop_words_cut_exactly(family: str) -> None:
    """Wherever they fall: each stretch of the free answer, taken for a stop word, ends it where it first stood."""
    task, engine, _ = make_writer(family)
    item = task.encode(["明月"], task.writer)[0]
    free = task.predict([item], engine)[0].value
    for start in range(1, len(free) - 3, 3):
        word = free[start : start + 3]
        stopped = task.with_sampling(replace(task.schema.sampling, stop=("never this", word)))
        pieces = list(stopped.stream(item, engine))
        assert "".join(pieces) == free[: free.index(word)] == stopped.predict([item], engine)[0].value


class Spelled:
    """A writer of bytes: each token is one."""

    ends = (256,)

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")


class Dictated:
    """An engine that writes what it is told."""

    def __init__(self, text: str) -> None:
        self.ids = [*text.encode(), 256]

    def run(self, batch: Any) -> Any:
        count = batch["input_ids"].shape[1] - 1
        logits = np.zeros((1, count + 1, 257), np.float32)
        logits[0, -1, self.ids[count]] = 9.0
        return {"logits": logits}


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda t: not t.endswith("\ufffd")))
@settings(max_examples=60, deadline=None)
def test_characters_are_never_shown_in_part(text: str) -> None:
    task, _, _ = CACHED
    task = task.with_processor(Spelled()).with_sampling(Sampling(max_new_tokens=100))  # type: ignore[arg-type]
    pieces = list(task.stream({"input_ids": np.array([1])}, Dictated(text)))
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


CACHED = make_writer()
TRAINED = train_writer(POEMS, vocabulary=330)


@given(text=st.text(st.characters(codec="utf-8"), max_size=40) | st.text("春风 the<0x41>end\n\t😀", max_size=40))
@settings(max_examples=200, deadline=None)
def test_every_text_comes_back_from_its_tokens(text: str) -> None:
    ids = TRAINED.encode([text])[0]["input_ids"]
    assert TRAINED.decode(ids.tolist()) == text
    assert not set(ids.tolist()) & set(TRAINED.ends)


def test_the_end_cannot_be_typed_and_two_runs_give_one_vocabulary(tmp_path: Any) -> None:
    ids = TRAINED.encode(["<end>"])[0]["input_ids"].tolist()
    assert TRAINED.ends == (0,)
    assert 0 not in ids
    assert train_writer(POEMS, vocabulary=330).tokenizer.to_str() == TRAINED.tokenizer.to_str()
    TRAINED.save(tmp_path)
    again: TextProcessor = open_processor(tmp_path)
    assert again.tokenizer.to_str() == TRAINED.tokenizer.to_str()


def test_bits_in_windows_are_those_of_one_pass_where_all_fits() -> None:
    task, engine, _ = CACHED
    items = task.encode([e.input for e in examples()], task.writer, [e.target for e in examples()])
    texts = [np.concatenate([item["input_ids"], item[LABELS][-1:]]) for item in items]
    starts = [int(item["prompt"]) for item in items]
    whole = bits_of(engine, task.collate, texts, starts, 200)
    assert [len(bits) for bits in whole] == [len(t) - s for t, s in zip(texts, starts, strict=True)]
    logits = engine.run({"input_ids": texts[3][None, :-1], "attention_mask": np.ones((1, len(texts[3]) - 1), np.int64)})
    shares = np.exp(logits["logits"][0].astype(np.float64))
    shares /= shares.sum(1, keepdims=True)
    expected = -np.log2(shares[np.arange(len(texts[3]) - 1), texts[3][1:]])[starts[3] - 1 :]
    assert whole[3] == pytest.approx(expected, abs=1e-3)
    for most in (3, 8, 17):
        short = task.with_processor(task.writer)
        short.schema = replace(task.schema, max_length=most)
        cut = bits_of(engine, short.collate, texts, starts, most)
        assert [len(bits) for bits in cut] == [len(bits) for bits in whole]
        first = min(most - starts[3] + 1, len(whole[3]))
        if first > 0:
            assert cut[3][:first] == pytest.approx(whole[3][:first], abs=1e-3)
        assert all(np.isfinite(bits).all() for bits in cut)


def test_training_sees_the_whole_text_and_answers_alone_where_there_are_questions() -> None:
    task, _, _ = CACHED
    plain = task.encode(["春风"], task.writer, ["又绿"])[0]
    assert plain[LABELS].tolist()[:-1] == plain["input_ids"].tolist()[1:]
    assert plain[LABELS][-1] in task.writer.ends
    asked = task.with_processor(task.writer)
    asked.schema = replace(task.schema, template="{{ messages[0].content }}\n")
    item = asked.encode(["春风"], task.writer, ["又绿"])[0]
    count = int(item["prompt"])
    assert (item[LABELS][: count - 1] == IGNORED).all()
    assert task.writer.decode(item[LABELS][count - 1 : -1].tolist()) == "又绿"
