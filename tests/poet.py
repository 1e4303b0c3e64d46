"""A model that writes, of random weights: what it says is nonsense, and always the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luodi.core.bundle import Manifest, golden_pairs, seal_bundle
from luodi.core.sampling import Sampling
from luodi.core.task import GenerativeTask, Schema, load_task
from luodi.core.types import Batch, Columns, Example
from luodi.models.engine import TorchEngine, save_network
from luodi.models.source import ScratchBase

LINES = (
    "春风又绿江南岸", "明月何时照我还", "千里江陵一日还", "the quick brown fox", "jumps over it", "轻舟已过万重山😀",
)  # fmt: skip
POEMS = [
    f"{LINES[i % 6]}，{LINES[i // 6 % 6]}。{i}{LINES[(i + 2) % 6]}，{LINES[(i + 5) % 6]}！\n第{i}首。"
    for i in range(36)
]
SIZES: Mapping[str, Mapping[str, Any]] = {
    "gpt": {"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 256},
    "llama": {
        "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 256, "tie_word_embeddings": True,
    },
}  # fmt: skip


PLAIN = {"vocab_size": 400, "bos_token_id": None, "eos_token_id": None}


def examples() -> list[Example[Any, str]]:
    task = load_task("text_generation")
    return [task.read({"poem": poem}, Columns(input=("poem",))) for poem in POEMS]


def make_writer(family: str = "gpt", **settings: Any) -> tuple[GenerativeTask[Any, str], TorchEngine, dict[str, Any]]:
    """Its task, engine and configuration. Weights are larger than at the start of training, so that tokens differ."""
    sampling = Sampling(**{"max_new_tokens": 24, **settings})
    task = load_task("text_generation", Schema(max_length=64, sampling=sampling))
    base = ScratchBase(name=f"{family}:tiny", config={**SIZES[family], **PLAIN})
    processor = base.processor(task.corpus(examples()))
    fitted = base.fitted(processor)
    torch.manual_seed(0)
    network = task.build(fitted).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter *= 8
    made = task.with_processor(processor)
    assert isinstance(made, GenerativeTask)
    return made, TorchEngine(network), dict(fitted.config)


class Forgetful:
    """An engine without a cache."""

    def __init__(self, engine: TorchEngine) -> None:
        self.engine = engine

    def run(self, batch: Batch) -> Mapping[str, np.ndarray[Any, Any]]:
        assert "past" not in batch
        return {"logits": self.engine.run(batch)["logits"]}


def write_bundle(folder: Path, inputs: Sequence[Any] = ("春风", "the quick", "明月何时")) -> None:
    task, engine, config = make_writer()
    save_network(engine.model, folder / "weights")
    assert task.processor is not None
    task.processor.save(folder / "processor")
    answers = task.predict(task.encode(inputs, task.processor), engine)
    manifest = Manifest(
        task=task.name, schema=task.schema, engine="luodi.models.engine", processor="luodi.backends.tokenizers",
        network={"base": "gpt:tiny", "config": config}, name="poems", made_by=("train",),
    )  # fmt: skip
    seal_bundle(folder, manifest, golden_pairs(task, inputs, answers))
