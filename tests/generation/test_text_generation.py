"""The task: what is read, what is measured, what is recognised; and a whole life of it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luodi.core.bundle import open_bundle
from luodi.core.task import load_task
from luodi.core.types import Columns
from luodi.errors import DataError
from luodi.modalities.prompt import Message, question
from luodi.models.likelihood import first_line, lines_to_rank
from luodi.tasks.text_generation import TextGeneration, split_text
from poet import POEMS, examples, make_writer
from shop import answer, luodi


@pytest.mark.parametrize(
    ("text", "beginning", "rest"), [
        ("雨恨云愁，江南依旧称佳丽。水村渔市。", "雨恨云愁，江南依旧称佳丽。", "水村渔市。"),
        ("Title\nFirst line. Second.", "Title\n", "First line. Second."),
        ("He paid 3.50 for it. Then he left.", "He paid 3.50 for it.", " Then he left."),
        ("真的吗？！“是。”他说。", "真的吗？！", "“是。”他说。"),
        ("一片春愁待酒浇，江上舟摇。", "一片春愁待酒浇，", "江上舟摇。"),
        ("  no mark at all ", "no ", "mark at all"),
    ],
)  # fmt: skip
def test_texts_are_cut_where_a_sentence_ends(text: str, beginning: str, rest: str) -> None:
    assert split_text(text) == (beginning, rest)
    assert beginning + rest == text.strip()


def test_a_text_that_cannot_be_cut_is_told(both_languages: str) -> None:
    with pytest.raises(DataError):
        split_text("春。")


def test_rows_become_texts_to_go_on_from_or_questions_to_answer() -> None:
    task = load_task("text_generation")
    plain = task.read({"poem": "一。\n二。"}, Columns(input=("poem",)))
    assert (plain.input, plain.target) == ("一。", "\n二。")
    lines = task.read({"lines": ["一，", "二。", "三。"]}, Columns(input=("lines",)))
    assert (lines.input, lines.target) == ("一，\n", "二。\n三。")
    row = {"instruction": "Add", "input": "1 and 2", "output": "3"}
    asked = task.read(row, Columns(input=("instruction", "input"), target="output"))
    assert (asked.input, asked.target) == (question("Add\n1 and 2"), "3")
    alone = task.read({**row, "input": None}, Columns(input=("instruction", "input"), target="output"))
    assert alone.input == question("Add")
    told = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}, {"role": "user", "content": "?"}]
    many = task.read({"messages": told, "answer": "!"}, Columns(input=("messages",), target="answer"))
    assert many.input[1] == Message(role="assistant", content="ho")


def test_marks_in_a_strangers_words_lose_their_meaning() -> None:
    task, _, _ = make_writer()

    class Marked:
        marks, ends = ("<|im_end|>",), (0,)
        seen: list[str] = []

        def encode(self, parts: Any) -> Any:
            self.seen += parts
            return [{"input_ids": np.arange(3)} for _ in parts]

    from dataclasses import replace

    task.schema = replace(task.schema, template="{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}")
    task.encode(["a<|im_end|>b", question("<|im_<|im_end|>end|>")], Marked())  # type: ignore[arg-type]
    assert [text.count("<|im_end|>") for text in Marked.seen] == [1, 1]


def test_templates_run_in_a_sandbox() -> None:
    from jinja2.exceptions import SecurityError

    from luodi.backends.jinja2 import render_chat

    assert render_chat("{{ messages[0].content }}", [{"role": "user", "content": "{{ 7*7 }} <b>"}]) == "{{ 7*7 }} <b>"
    for attack in ("{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ cycler.__init__.__globals__ }}"):
        with pytest.raises(SecurityError):
            render_chat(attack, [{"role": "user", "content": "x"}])


def test_ten_lines_are_the_true_one_and_nine_others() -> None:
    targets = [f"第{i % 40}句。后面{i}。" for i in range(60)]
    chosen = lines_to_rank(targets)
    for place, ten in enumerate(chosen):
        lines = [first_line(targets[i]) for i in ten]
        assert ten[0] == place
        assert len(set(lines)) == 10
    assert chosen == lines_to_rank(targets)
    assert len({tuple(ten[1:]) for ten in chosen}) > 50
    assert lines_to_rank(targets[:9]) == []


def test_chunks_do_not_change_what_is_examined() -> None:
    task, engine, _ = make_writer()
    told = examples()
    items = task.encode([e.input for e in told], task.writer, [e.target for e in told])
    together = task.examine(items, engine, task.metrics)
    chunks = [items[start : start + 7] for start in range(0, len(items), 7)]
    parts = [found for chunk in chunks for found in task.examine(chunk, engine, task.metrics)]
    assert [a.value for a in together] == [a.value for a in parts]
    assert [a.examined["bits"] for a in together] == pytest.approx([a.examined["bits"] for a in parts], abs=1e-3)
    assert [a.examined["next_line_accuracy"] for a in together] == [a.examined["next_line_accuracy"] for a in parts]
    asked = task.predict(items, engine)
    assert [a.value for a in asked] == [a.value for a in together]
    quick = task.examine(items, engine, task.metrics[:1])
    assert all("next_line_accuracy" not in a.examined for a in quick)
    assert all(whole.value.startswith(first.value) for whole, first in zip(together, quick, strict=True))


def test_bits_of_model_and_baselines_are_of_the_same_characters() -> None:
    """A network that finds all tokens alike needs their number times the vocabulary's bits, end included."""
    task, engine, _ = make_writer()

    class Flat:
        def run(self, batch: Any) -> Any:
            return {"logits": np.zeros((*batch["input_ids"].shape, 400), np.float32)}

    told = examples()[:4]
    items = task.encode([e.input for e in told], task.writer, [e.target for e in told])
    for item, found in zip(items, task.examine(items, Flat(), task.metrics[:1]), strict=True):
        count = len(item["input_ids"]) - int(item["prompt"]) + 1
        assert found.examined["bits"] == pytest.approx(count * np.log2(400), rel=1e-5)
    sums = task.metrics[0].sums([e.target for e in told], task.examine(items, engine, task.metrics[:1]))
    assert sums[:, 1].tolist() == [len(e.target) + 1 for e in told]


def table(*columns: tuple[str, list[str]]) -> dict[str, list[str]]:
    return dict(columns)


def test_it_recognises_its_own_and_leaves_the_others() -> None:
    recognise = TextGeneration.recognise
    rng = random.Random(0)
    poems = [f"{poem}{''.join(rng.choices('春江花月夜', k=rng.randint(1, 9)))}{i}" for i, poem in enumerate(POEMS)]
    only = recognise(table(("text", poems), ("label", ["poems"] * 36)))
    assert only is not None
    assert (only.input, only.target) == (("text",), "")
    asked = recognise(table(("问题", poems), ("回答", poems[::-1]), ("id", [str(i) for i in range(36)])))
    assert asked is not None
    assert (asked.input, asked.target) == (("问题",), "回答")
    assert recognise(table(("text", poems), ("label", ["好评", "差评"] * 18))) is None
    assert recognise(table(("a", poems), ("b", poems[::-1]))) is None
    assert recognise(table(("sku", [f"B00{i:06d}" for i in range(36)]))) is None


@pytest.mark.slow
def test_a_whole_life(tmp_path: Path) -> None:
    """From a file of poems that nobody described to a Bundle that goes on writing."""
    rng = random.Random(1)
    lines = [line for poem in POEMS for line in poem.split("\n")[0].rstrip("！").split("。")]
    poems = ["。".join(rng.sample(lines, 3)) + "！" for _ in range(160)]
    (tmp_path / "poems.txt").write_text("\n".join(poems), encoding="utf-8")
    made = luodi("new", str(tmp_path / "poems.txt"), "--out", str(tmp_path / "p"), "--json")
    assert made.returncode == 0, made.stderr
    page = (tmp_path / "p" / "luodi.yaml").read_text(encoding="utf-8")
    assert "task: text_generation" in page
    assert "target" not in page
    settings = (
        "model=gpt:tiny", "train.epochs=1", "accept.bits_per_character=<= 30", "accept.beats_baseline=no",
        "train.max_length=48", "compress.timed=4", "compress.rounds=1", "compress.candidates=[onnx]",
    )  # fmt: skip
    done = luodi("run", str(tmp_path / "p"), *settings, "--json", OMP_NUM_THREADS="1")
    told = answer(done)
    assert done.returncode in (0, 1), done.stderr
    assert told["numbers"]["bits_per_character"]["unit"] == "bits"
    assert told["numbers"]["p95_ms"]["value"] > 0, told["findings"]
    bundle = open_bundle(Path(told["bundle"]))
    assert bundle.replay().holds
    asked = luodi("predict", str(Path(told["bundle"])), str(tmp_path / "poems.txt"), "--json")
    assert answer(asked)["numbers"]["answered"]["value"] == 160
