"""The table of tokens without the rows that the data never names: the same learning, fewer weights to move."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel

from luodi.core.config import Brief
from luodi.core.task import load_task
from luodi.core.types import Example
from luodi.models.narrow import narrow_table
from luodi.stages.train import setup
from luodi.stages.train import train as stage
from luodi.stages.train.config import TrainSettings

WORDS = ("好", "坏", "中")
BRIEF = Brief(task="text_classification", data="x.csv", input="text", target="label", model="bert:tiny")
SETTINGS = TrainSettings(
    epochs=2, learning_rate=1e-3, tokens_per_batch=64, max_length=16, weight_decay=0.0, wide=False
)


def rows(count: int, words: tuple[str, ...]) -> list[Example[str, str]]:
    rng = random.Random(0)
    return [Example(id=str(i), input=" ".join(rng.choices(words, k=5)), target="ab"[i % 2]) for i in range(count)]


def encoder(kind: str = "bert", **told: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=500, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **told,
    )  # fmt: skip
    made: torch.nn.Module = AutoModel.from_config(config)
    return made


def items(seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [{"input_ids": rng.integers(0, 40, size=n) * 11, "labels": np.array(0)} for n in range(1, 20)]


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
def test_the_network_answers_as_before(kind: str) -> None:
    """RoBERTa counts positions by where its padding is not: that row must keep its number."""
    model, told = encoder(kind).eval(), items()
    asked = {"input_ids": torch.from_numpy(told[-1]["input_ids"])[None]}
    before = model(**asked).last_hidden_state
    narrowed = narrow_table(model, told)
    assert narrowed is not None
    now = model(input_ids=torch.from_numpy(narrowed.items(told)[-1]["input_ids"])[None]).last_hidden_state
    assert torch.equal(before, now)
    narrowed.restore()
    assert torch.equal(before, model(**asked).last_hidden_state)


def test_what_was_learned_stands_in_the_whole_table_and_nothing_else_moved() -> None:
    model, told = encoder(), items()
    before = model.get_input_embeddings().weight.detach().clone()
    narrowed = narrow_table(model, told)
    assert narrowed is not None
    with torch.no_grad():
        model.get_input_embeddings().weight += 1
    narrowed.restore()
    after = model.get_input_embeddings().weight.detach()
    assert torch.equal(after[narrowed.kept], before[narrowed.kept] + 1)
    others = np.setdiff1d(np.arange(500), narrowed.kept)
    assert len(others) > 400
    assert torch.equal(after[others], before[others])


def test_a_table_that_is_named_nearly_whole_stays() -> None:
    model = encoder()
    assert narrow_table(model, [{"input_ids": np.arange(400)}]) is None
    assert narrow_table(None, items()) is None
    assert narrow_table(model, [{"pixels": np.zeros((3, 3))}]) is None


def test_training_is_the_same_as_with_the_whole_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same losses and weights. The tokenizer knows 200 rare words that the rows learned from do not have."""
    task = load_task("text_classification")
    many = rows(200, tuple(chr(0x4E00 + i) for i in range(800)))
    monkeypatch.setattr(type(task), "corpus", lambda self, examples: (e.input for e in many))
    made: dict[str, stage.Trained] = {}
    for name in ("narrow", "whole"):
        if name == "whole":
            monkeypatch.setattr(setup, "narrow_table", lambda encoder, items: None)
        (tmp_path / name).mkdir()
        made[name] = stage.train(task, rows(60, WORDS), rows(20, WORDS), BRIEF, SETTINGS, tmp_path / name)
    losses = [[point["loss"] for point in run.details["curve"]] for run in made.values()]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    weights = [load_file(run.bundle / "weights" / "model.safetensors") for run in made.values()]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=1e-5), name
    assert made["narrow"].details["plan"]["trainable"] < made["whole"].details["plan"]["trainable"]
