"""A whole small life in seconds: 300 easy reviews, an encoder trained from scratch, a sealed Bundle."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from luodi.core.bundle import Bundle, Manifest, golden_pairs, seal_bundle
from luodi.core.datasets import save_dataset
from luodi.core.task import Schema, load_task
from luodi.core.types import Dataset, Datasheet, Example, Item
from luodi.modalities.spans import Span

GOOD = ("好吃", "不错", "great", "很满意", "喜欢", "物流很快")
BAD = ("难吃", "太差", "terrible", "失望", "退货", "太慢了")
NETWORK = {
    "model_type": "bert", "num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 64,
}  # fmt: skip


def make_dataset() -> Dataset[str, str]:
    """200 / 50 / 50 reviews of which every word gives the answer away."""
    rng = random.Random(0)
    examples = []
    for i in range(300):
        is_good = rng.random() < 0.5
        text = " ".join(rng.sample(GOOD if is_good else BAD, 3)) + f" 第{i}次 hello"
        examples.append(Example(id=str(i), input=text, target="好评" if is_good else "差评", source="tiny"))
    sheet = Datasheet(
        rows_read=300, rows_kept=300, dropped={}, splits={"train": 200, "validation": 50, "test": 50},
        targets={}, slices={}, sources={}, leak_share=0.0,
    )  # fmt: skip
    return Dataset(
        train=tuple(examples[:200]), validation=tuple(examples[200:250]), test=tuple(examples[250:]), datasheet=sheet
    )


def write_dataset(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_dataset(folder, make_dataset(), load_task("text_classification"))


NAMES = ("张三", "李小四", "王五", "Anna Berg", "陈晨", "Li Wei")
PLACES = ("北京", "哈尔滨", "New York", "成都", "上海")


def make_entities() -> Dataset[str, tuple[Span, ...]]:
    """200 / 50 / 50 sentences in which who and where stand beside words that give them away."""
    rng = random.Random(0)
    examples = []
    for i in range(300):
        text, spans = f"第{rng.randrange(1000)}天", []
        both = (("PER", NAMES, "，经理"), ("LOC", PLACES, "，人在"))
        for label, words, before in rng.sample(both, rng.randint(1, 2)):
            word = rng.choice(words)
            start = len(text) + len(before)
            text += before + word + rng.choice(("说", "了", " ok"))
            spans.append(Span(start, start + len(word), label, word))
        examples.append(Example(id=str(i), input=text, target=tuple(spans), source="tiny"))
    sheet = replace(make_dataset().datasheet, targets={})
    return Dataset(
        train=tuple(examples[:200]), validation=tuple(examples[200:250]), test=tuple(examples[250:]), datasheet=sheet
    )


def make_numbers() -> Dataset[str, float]:
    """200 / 50 / 50 orders of which every word has its price, in tens from 300 on."""
    rng = random.Random(0)
    prices = {word: 10 * i for i, word in enumerate(GOOD + BAD)}
    examples = []
    for i in range(300):
        words = rng.sample(GOOD + BAD, 3)
        text = f"{' '.join(words)} 第{i}单 hello"
        price = 300.0 + sum(prices[word] for word in words)
        examples.append(Example(id=str(i), input=text, target=price, source="tiny"))
    sheet = replace(make_dataset().datasheet, targets={})
    return Dataset(
        train=tuple(examples[:200]), validation=tuple(examples[200:250]), test=tuple(examples[250:]), datasheet=sheet
    )


def write_bundle(folder: Path) -> None:
    """Trained on `make_dataset`, to an accuracy near 1."""
    train_bundle(folder, "text_classification", make_dataset())


def items_of(made: Bundle[Any, Any], examples: Sequence[Example[Any, Any]]) -> list[Item]:
    """With their targets."""
    return list(made.task.encode([e.input for e in examples], made.processor, [e.target for e in examples]))


def train_bundle(
    folder: Path, name: str, data: Dataset[Any, Any], rounds: int = 3, *, layers: int = 1, rate: float = 5e-3
) -> None:
    """A Bundle of the task called `name`, from an encoder without a past."""
    import torch

    from luodi.models.engine import TorchEngine, save_network, to_torch
    from luodi.models.source import ScratchBase

    schema = load_task(name).learn(data.train, Schema(max_length=64))
    task = load_task(name, schema)
    torch.manual_seed(0)
    scratch = ScratchBase(name="bert:tiny", config={**NETWORK, "vocab_size": 500, "num_hidden_layers": layers})
    processor = task.make_processor(scratch, data.train)
    base = scratch.fitted(processor)
    model = task.build(base)
    optimiser = torch.optim.AdamW(model.parameters(), rate)
    items = task.encode([e.input for e in data.train], processor, [e.target for e in data.train])
    for start in [*range(0, 200, 20)] * rounds:
        batch = to_torch(task.collate(items[start : start + 20]))
        outputs = model(**{k: v for k, v in batch.items() if k != "labels"})
        task.loss(outputs, batch).backward()
        optimiser.step()
        optimiser.zero_grad()
    save_network(model, folder / "weights")
    processor.save(folder / "processor")
    inputs = [e.input for e in data.validation]
    answers = task.predict(task.encode(inputs, processor), TorchEngine(model))
    manifest = Manifest(
        task=task.name, schema=schema, engine="luodi.models.engine", processor="luodi.backends.tokenizers",
        network={"base": "tiny", "config": dict(base.config)}, made_by=("train",),
    )  # fmt: skip
    seal_bundle(folder, manifest, golden_pairs(task, inputs, answers))
