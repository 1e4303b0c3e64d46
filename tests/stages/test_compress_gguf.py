"""Files for llama.cpp: what is written is what is read, and the rows of heads stand as that program has them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader

from luodi.backends.gguf import BLOCK, KINDS, prove, read_gguf, why_not, write_gguf
from luodi.backends.tokenizers import open_processor
from luodi.core.bundle import Bundle, open_bundle
from luodi.core.machine import read_cpu
from luodi.core.task import Schema, load_task
from luodi.errors import ConfigError, ParityError
from luodi.models.engine import BLOCKS
from luodi.stages.compress.candidates import make_all
from luodi.stages.compress.config import CompressSettings, asked, check
from luodi.stages.compress.workshop import Workshop
from luodi.tasks.text_classification import TextClassification
from poet import byte_tokenizer, examples, write_bundle, write_llama

NAMES = ("gguf", "gguf-int8", "gguf-int4")
SETTINGS = CompressSettings(threads=1, candidates=list(NAMES))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle[Any, str]:
    folder = tmp_path_factory.mktemp("llama") / "bundle"
    write_llama(folder)
    return open_bundle(folder)


def workshop(bundle: Bundle[Any, Any], folder: Path) -> Workshop:
    folder.mkdir()
    return Workshop(
        trained=bundle, training=examples(), settings=SETTINGS, cpu=read_cpu(), folder=folder, threads=1
    )  # fmt: skip


def weights_of(bundle: Bundle[Any, Any]) -> dict[str, Any]:
    engine: Any = bundle.engine
    return {name.removeprefix("decoder."): t.numpy() for name, t in engine.model.state_dict().items()}


def test_they_are_opened_as_bundles_and_answer_nearly_the_same(bundle: Bundle[Any, str], tmp_path: Path) -> None:
    made = make_all(workshop(bundle, tmp_path / "c"))
    assert made.failed == {}
    ids = np.array([[5, 9, 40, 100, 7]])
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    wanted = bundle.engine.run(batch)["logits"]
    gaps = [float(np.abs(made.bundles[name].engine.run(batch)["logits"] - wanted).max()) for name in NAMES]
    assert gaps[0] < 1e-3 < gaps[2]
    assert gaps[0] < gaps[1] < gaps[2]
    sizes = [(made.bundles[name].path / "weights" / BLOCKS).stat().st_size for name in NAMES]
    assert sizes[0] > sizes[1] > sizes[2]
    assert [p.name for p in (made.bundles["gguf"].path / "weights").iterdir()] == [BLOCKS]


def test_a_program_that_knows_the_format_finds_what_it_needs(bundle: Bundle[Any, str], tmp_path: Path) -> None:
    made = make_all(workshop(bundle, tmp_path / "c")).bundles["gguf-int8"]
    reader = GGUFReader(made.path / "weights" / BLOCKS)
    told = {name: field.contents() for name, field in reader.fields.items()}
    tokenizer = open_processor(bundle.path / "processor").tokenizer
    assert told["general.architecture"] == "llama"
    assert told["tokenizer.ggml.tokens"] == [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    assert told["tokenizer.ggml.tokens"][told["tokenizer.ggml.eos_token_id"]] == "<|im_end|>"
    assert (told["tokenizer.ggml.model"], told["tokenizer.ggml.pre"]) == ("gpt2", "smollm")
    assert told["tokenizer.ggml.add_bos_token"]
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert (kinds["blk.1.attn_q.weight"], kinds["blk.1.attn_norm.weight"]) == ("Q8_0", "F32")
    assert "output.weight" not in kinds  # tied to the table of tokens


def test_halves_of_a_head_become_pairs_of_neighbours(bundle: Bundle[Any, str], tmp_path: Path) -> None:
    """Row 1 of a head of 8 is the first of the second half, row 4 there."""
    tried = make_all(workshop(bundle, tmp_path / "c"))
    assert tried.failed == {}
    made = tried.bundles["gguf"]
    reader = GGUFReader(made.path / "weights" / BLOCKS)
    for part, name in (("attn_q", "self_attn.q_proj"), ("attn_k", "self_attn.k_proj")):
        theirs = next(t.data for t in reader.tensors if t.name == f"blk.0.{part}.weight")
        ours = weights_of(bundle)[f"model.layers.0.{name}.weight"].astype(np.float16)
        assert np.array_equal(theirs[[0, 1, 2, 9]], ours[[0, 4, 1, 12]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_that_is_another_one_is_found(bundle: Bundle[Any, str], tmp_path: Path, kind: str) -> None:
    weights, config = weights_of(bundle), bundle.manifest.network["config"]
    tokenizer = bundle.path / "processor" / "tokenizer.json"
    write_gguf(tmp_path / "m.gguf", config, weights, tokenizer, 300, "", kind)
    prove(tmp_path / "m.gguf", weights, kind)
    assert read_gguf(tmp_path / "m.gguf").config["num_key_value_heads"] == 2
    name = "model.layers.1.mlp.up_proj.weight"
    turned = weights[name].copy()
    turned[3, :BLOCK] = turned[3, :BLOCK][::-1]
    with pytest.raises(ParityError, match=r"layers\.1\.mlp\.up_proj"):
        prove(tmp_path / "m.gguf", {**weights, name: turned}, kind)
    with pytest.raises(ParityError, match="more"):
        prove(tmp_path / "m.gguf", {**weights, "more": turned}, kind)


def test_other_tasks_are_refused_in_one_line() -> None:
    assert asked("gguf", "") == ["compress.candidates=[gguf, gguf-int8, gguf-int4]"]
    with pytest.raises(ConfigError, match="text_classification") as caught:
        check(SETTINGS, TextClassification(Schema()))
    assert (caught.value.exit_code, str(caught.value.message).count("\n")) == (2, 0)
    check(SETTINGS, load_task("text_generation"))


def test_what_the_format_has_no_place_for_is_said(bundle: Bundle[Any, str], tmp_path: Path) -> None:
    tokenizer, config = bundle.path / "processor" / "tokenizer.json", dict(bundle.manifest.network["config"])
    assert why_not(config, tokenizer) == ""
    assert "gpt2" in why_not({**config, "model_type": "gpt2"}, tokenizer)
    for change in ({"attention_bias": True}, {"head_dim": 16}, {"hidden_act": "gelu"},
                   {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}):  # fmt: skip
        assert "layers" in why_not({**config, **change}, tokenizer)
    told = json.loads(tokenizer.read_text(encoding="utf-8"))
    told["pre_tokenizer"] = {"type": "Whitespace"}
    (tmp_path / "other.json").write_text(json.dumps(told), encoding="utf-8")
    assert "cuts" in why_not(config, tmp_path / "other.json")
    byte_tokenizer().save(tmp_path)
    assert why_not(config, tmp_path / "tokenizer.json") == ""


def test_they_are_made_only_where_they_are_asked_for(bundle: Bundle[Any, str], tmp_path: Path) -> None:
    place = workshop(bundle, tmp_path / "c")
    made = make_all(replace(place, settings=replace(SETTINGS, candidates=["onnx"])))
    assert set(NAMES) <= set(made.not_tried)
    write_bundle(tmp_path / "gpt")
    made = make_all(workshop(open_bundle(tmp_path / "gpt"), tmp_path / "d"))
    assert set(made.bundles) == {"trained"}
    assert "llama architecture" in made.not_tried["gguf"]
