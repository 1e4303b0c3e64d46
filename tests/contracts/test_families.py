"""Every file of models/families/ gives networks that a task can train, seal and open again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rows import TASKS

from luodi.core.task import Processor, Schema, Task, load_task
from luodi.core.types import Columns, Item
from luodi.errors import ConfigError

torch = pytest.importorskip("torch")

from luodi.models.engine import TorchEngine, open_engine, save_network  # noqa: E402
from luodi.models.source import ScratchBase, family_names, resolve  # noqa: E402

USES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "bert": (("tiny", "text_classification"), ("tiny", "token_classification"), ("tiny", "text_regression")),
    "gpt": (("tiny", "text_generation"),),
    "llama": (("tiny", "text_generation"),),
    "transformer": (("tiny", "text_classification"), ("tiny", "token_classification")),
    "vit": (("micro", "image_classification"),),
    "vitc": (("micro", "image_classification"),),
}
"""Its smallest size, and tasks that are begun with it. A new family adds a row."""
EVERY = pytest.mark.parametrize(
    ("name", "question"), [(f"{family}:{size}", task) for family, uses in USES.items() for size, task in uses]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    task: Task[Any, Any]
    config: Mapping[str, Any]
    processor: Processor
    network: Any
    items: list[Item]


def begin(name: str, question: str) -> Begun:
    row = TASKS[question]
    plain, columns = load_task(question), Columns(input=row.input, target=row.target)
    examples = [plain.read(record, columns) for record in row.rows]
    task = load_task(question, plain.learn(examples, Schema(max_length=24)))
    source = resolve(name, "")
    processor = task.make_processor(source, examples)
    base = source.fitted(processor)
    torch.manual_seed(0)
    network = task.build(base).eval()
    task = task.with_processor(processor)
    items = task.encode([e.input for e in examples], processor, [e.target for e in examples])
    return Begun(task=task, config=base.config, processor=processor, network=network, items=items[:8])


def test_every_file_is_tried() -> None:
    assert set(USES) == set(family_names())


@EVERY
def test_what_a_bundle_keeps_sets_the_same_network_up_again(name: str, question: str, tmp_path: Path) -> None:
    """Configuration and weights suffice: neither the family's name nor its sizes are looked at."""
    begun = begin(name, question)
    save_network(begun.network, tmp_path)
    again = open_engine(tmp_path, begun.task, {"base": "anything", "config": dict(begun.config)}, None)
    batch = begun.task.collate(begun.items)
    told, expected = again.run(batch), TorchEngine(begun.network).run(batch)
    assert set(told) == set(expected)
    for key, array in expected.items():
        np.testing.assert_allclose(told[key], array, atol=1e-6)


@EVERY
def test_every_weight_learns(name: str, question: str) -> None:
    begun = begin(name, question)
    begun.network.train()
    batch = {key: torch.from_numpy(array) for key, array in begun.task.collate(begun.items).items()}
    begun.task.loss(begun.network(**{k: v for k, v in batch.items() if k != "labels"}), batch).backward()
    # ViT has one for pre-training.
    still = [n for n, p in begun.network.named_parameters() if p.grad is None and "mask_token" not in n]
    assert still == []


@EVERY
def test_encoders_have_what_the_heads_ask_for(name: str, question: str) -> None:
    network = begin(name, question).network
    if hasattr(network, "encoder"):
        assert network.head.in_features == network.encoder.config.hidden_size


@pytest.mark.parametrize("family", family_names())
def test_a_size_that_is_not_there_is_told(family: str, both_languages: str) -> None:
    with pytest.raises(ConfigError, match="gigantic"):
        resolve(f"{family}:gigantic", "")


def test_a_library_network_is_built_by_the_library() -> None:
    """`bert` is a family and the library's own word; the file has no builder, so the library is asked."""
    told = {"model_type": "bert", "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    assert type(ScratchBase(name="bert:tiny", config=told).encoder()).__name__ == "BertModel"
