"""A model that writes, of random weights: what it says is nonsense, and always the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luodi.backends.tokenizers import TextProcessor
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


def write_llama(folder: Path) -> None:
    """Of the llama architecture, with a tokenizer of bytes."""
    processor = byte_tokenizer(digits=True)
    size = processor.tokenizer.get_vocab_size()
    config = {**SIZES["llama"], "vocab_size": size, "bos_token_id": None, "eos_token_id": None}
    task = load_task("text_generation", Schema(max_length=64, sampling=Sampling(max_new_tokens=8)))
    torch.manual_seed(0)
    engine = TorchEngine(task.build(ScratchBase(name="llama:tiny", config=config)).eval())
    save_network(engine.model, folder / "weights")
    processor.save(folder / "processor")
    task = task.with_processor(processor)
    inputs = ["春风", "the quick 12"]
    answers = task.predict(task.encode(inputs, processor), engine)
    manifest = Manifest(
        task=task.name, schema=task.schema, engine="luodi.models.engine", processor="luodi.backends.tokenizers",
        network={"base": "llama:tiny", "config": config}, made_by=("train",),
    )  # fmt: skip
    seal_bundle(folder, manifest, golden_pairs(task, inputs, answers))


def byte_tokenizer(*, digits: bool = False) -> TextProcessor:
    """Byte-level BPE with one mark, as SmolLM's (with `digits`) and GPT-2's are."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), cut]) if digits else cut
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(POEMS, trainer)
    made.add_special_tokens([AddedToken("<|im_end|>", special=True, normalized=False)])
    return TextProcessor(made)
