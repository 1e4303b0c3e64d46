"""Adapters: narrow matrices learn in the place of a network's own, and are gone when it is sealed."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rows import TASKS
from safetensors import safe_open
from safetensors.torch import load_file

from broken import cut_at, untimed
from luodi.core.bundle import open_bundle
from luodi.core.config import Brief
from luodi.core.task import Schema, load_task
from luodi.core.types import Columns, Example
from luodi.errors import ConfigError
from luodi.models.engine import TorchEngine
from luodi.models.lora import add_adapters
from luodi.models.source import ScratchBase, resolve
from luodi.stages.train import loop
from luodi.stages.train import train as stage
from luodi.stages.train.checkpoints import BEST, LAST
from luodi.stages.train.config import TrainSettings, check
from luodi.stages.train.optimizers import make_optimizer
from luodi.stages.train.plan import Plan
from tiny import NETWORK, make_dataset, make_entities

pytest.importorskip("peft")
LAYERS, WIDTH, INNER, RANK = 2, 32, 64, 3
BERT = {**NETWORK, "num_hidden_layers": LAYERS, "vocab_size": 300}
GPT = {"model_type": "gpt2", "n_layer": LAYERS, "n_embd": WIDTH, "n_head": 2, "n_inner": INNER, "n_positions": 256,
       "vocab_size": 400, "bos_token_id": None, "eos_token_id": None}  # fmt: skip
LLAMA = {"model_type": "llama", "num_hidden_layers": LAYERS, "hidden_size": WIDTH, "num_attention_heads": 2,
         "num_key_value_heads": 2, "intermediate_size": INNER, "max_position_embeddings": 256, "vocab_size": 400,
         "tie_word_embeddings": True, "bos_token_id": None, "eos_token_id": None}  # fmt: skip
VIT = {"model_type": "vit", "num_hidden_layers": LAYERS, "hidden_size": WIDTH, "num_attention_heads": 2,
       "intermediate_size": INNER}  # fmt: skip
SETTINGS = TrainSettings(
    epochs=3, tokens_per_batch=256, max_length=48, wide=False, adapter="lora", adapter_rank=RANK, learning_rate=5e-3,
    frozen_layers=0, evaluations=1, patience=100,
)  # fmt: skip
SQUARE, LONG = RANK * 2 * WIDTH, RANK * (WIDTH + INNER)
"""Weights of an adapter beside a matrix of width x width, and of width x inner width."""

SHORT = {("bert", "lora"), ("vit", "dora"), ("gpt", "lora")}
"""What the fast tests try; all that families differ in is tried by the merging of random adapters."""


def pictures(count: int = 24) -> list[Example[Any, Any]]:
    row, task = TASKS["image_classification"], load_task("image_classification")
    columns = Columns(input=row.input, target=row.target)
    return [dataclasses.replace(task.read(r, columns), id=str(i)) for i, r in enumerate(row.rows[:count])]


def answers() -> list[Example[Any, Any]]:
    row, task = TASKS["text_generation"], load_task("text_generation")
    columns = Columns(input=row.input, target=row.target)
    return [dataclasses.replace(task.read(r, columns), id=str(i)) for i, r in enumerate(row.rows)]


# Name of a case to its task, the network that was pretrained, all rows, weights of the adapters and of the head.
CASES: Mapping[str, tuple[str, str, Mapping[str, Any], Sequence[Example[Any, Any]], int, int]] = {
    "bert": ("text_classification", "bert:tiny", BERT, make_dataset().train, 4 * SQUARE + 2 * LONG, 2 * WIDTH + 2),
    "entities": ("token_classification", "bert:tiny", BERT, make_entities().train, 4 * SQUARE + 2 * LONG, -1),
    "vit": ("image_classification", "vit:micro", VIT, pictures(), 4 * SQUARE + 2 * LONG, 2 * WIDTH + 2),
    # GPT-2 has queries, keys and values in one matrix of width x 3 width.
    "gpt": ("text_generation", "gpt:tiny", GPT, answers(), RANK * 4 * WIDTH + SQUARE + 2 * LONG, 0),
    # SwiGLU has three matrices.
    "llama": ("text_generation", "llama:tiny", LLAMA, answers(), 4 * SQUARE + 3 * LONG, 0),
}


def pretrain(folder: Path, case: str) -> None:
    """Random weights in Hugging Face form, which pass for pretrained ones."""
    name, family, config, rows, _, _ = CASES[case]
    task = load_task(name, load_task(name).learn(rows, Schema(max_length=48)))
    scratch = ScratchBase(name=family, config=config)
    processor = task.make_processor(scratch, rows)
    base = scratch.fitted(processor)
    torch.manual_seed(7)
    (base.decoder() if name == "text_generation" else base.encoder()).save_pretrained(folder)  # type: ignore[operator]
    processor.save(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    made = {case: tmp_path_factory.mktemp(case) for case in CASES}
    for case, folder in made.items():
        pretrain(folder, case)
    return made


def fit(folders: Mapping[str, Path], folder: Path, case: str = "bert", **changes: Any) -> stage.Trained:
    name, _, _, rows, _, _ = CASES[case]
    folder.mkdir(exist_ok=True)
    brief = Brief(task=name, data="rows.csv", input="text", target="label", model=str(folders[case]))
    settings = dataclasses.replace(SETTINGS, **changes)
    cut = len(rows) * 4 // 5
    return stage.train(load_task(name), rows[:cut], rows[cut:], brief, settings, folder)


def weights(bundle: Path) -> dict[str, torch.Tensor]:
    return load_file(bundle / "weights" / "model.safetensors")


@pytest.mark.parametrize(
    ("case", "adapter"),
    [
        pytest.param(case, adapter, marks=() if (case, adapter) in SHORT else pytest.mark.long)
        for case in CASES for adapter in ("lora", "dora")
    ],
)  # fmt: skip
def test_few_weights_learn_and_the_bundle_is_an_ordinary_one(
    folders: Mapping[str, Path], tmp_path: Path, case: str, adapter: str
) -> None:
    made = fit(folders, tmp_path / "run", case, adapter=adapter, epochs=3 if len(CASES[case][3]) > 100 else 20)
    _, _, _, _, each, head = CASES[case]
    rows = {"gpt": 3 * WIDTH + WIDTH + INNER + WIDTH, "llama": 5 * WIDTH + 2 * INNER}.get(case, 5 * WIDTH + INNER)
    expected = LAYERS * (each + (rows if adapter == "dora" else 0))
    if head >= 0:
        assert made.details["plan"]["trainable"] == expected + head
    else:
        assert expected < made.details["plan"]["trainable"] < expected + 1000
    assert made.details["plan"]["trainable"] < 0.5 * made.details["plan"]["parameters"]
    losses = [point["loss"] for point in made.details["curve"]]
    first = fit(folders, tmp_path / "still", case, adapter=adapter, learning_rate=1e-12, epochs=1)
    assert losses[-1] < 0.98 * first.details["curve"][0]["loss"]
    assert open_bundle(made.bundle).replay().worst < 1e-5

    before = {n: t for n, t in weights(first.bundle).items() if not n.startswith("head.")}
    after = weights(made.bundle)
    assert not [n for n in after if "lora" in n or "base_layer" in n]
    changed = {n for n, t in before.items() if not torch.allclose(t, after[n], atol=1e-7)}
    matrices = {n for n in before if "layer" in n or ".h." in n}
    assert changed <= matrices
    assert len(changed) >= LAYERS * (4 if case == "gpt" else 6)
    if adapter == "lora":
        for name in changed:
            sizes = torch.linalg.svdvals((after[name] - before[name]).double())
            assert sizes[RANK] < 1e-4 * sizes[0], name


@pytest.mark.parametrize("adapter", ["lora", "dora"])
@pytest.mark.parametrize("case", CASES)
def test_merged_weights_answer_as_the_adapters_did(folders: Mapping[str, Path], case: str, adapter: str) -> None:
    name, _, _, rows, _, _ = CASES[case]
    task = load_task(name, load_task(name).learn(rows, Schema(max_length=48)))
    base = resolve(str(folders[case]), "")
    processor = task.make_processor(base, rows)
    model = task.build(base).eval()
    batch = task.collate(task.encode([e.input for e in rows[:8]], processor))
    torch.manual_seed(0)
    untouched = TorchEngine(model).run(batch)["logits"]
    adapters = add_adapters(model, adapter, RANK)
    assert abs(TorchEngine(model).run(batch)["logits"] - untouched).max() < 1e-5  # nothing has been learned yet
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn_like(p))
    adapted = TorchEngine(model).run(batch)["logits"]
    adapters.merge()
    merged = TorchEngine(model).run(batch)["logits"]
    assert abs(adapted - untouched).max() > 1e-2
    assert abs(merged - adapted).max() < 1e-5
    assert set(model.state_dict()) == set(task.build(base).state_dict())


@pytest.mark.parametrize(
    "changes",
    [
        {"adapter": "lora", "frozen_layers": 1}, {"adapter": "dora", "ema": 0.9, "average": 2, "accumulate": 2},
        pytest.param(
            {"adapter": "lora", "optimizer": "muon", "layer_decay": 0.9, "checkpointing": True}, marks=pytest.mark.long
        ),
    ],
)  # fmt: skip
def test_an_interrupted_run_equals_a_whole_one(
    folders: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """Bit for bit, together with all that changes what learns."""
    chosen = {**changes, "dropout": 0.1}
    monkeypatch.setattr(stage, "CURVE_EVERY", 1)
    whole = fit(folders, tmp_path / "whole", **chosen)
    monkeypatch.setattr(stage, "SAVE_EVERY_S", 0.0)
    original = loop.training_steps
    for stop in (3, 7):
        monkeypatch.setattr(stage, "training_steps", lambda *a, stop=stop: cut_at(original(*a), stop))
        with pytest.raises(KeyboardInterrupt):
            fit(folders, tmp_path / "broken", **chosen)
    monkeypatch.setattr(stage, "training_steps", original)
    again = fit(folders, tmp_path / "broken", **chosen)
    assert len(whole.details["curve"]) > 8
    for key in ("curve", "scores"):
        ours, theirs = ([untimed(p) for p in run.details[key]] for run in (whole, again))
        assert ours == theirs
    files = [(run.bundle / "weights" / "model.safetensors").read_bytes() for run in (whole, again)]
    assert files[0] == files[1]


def test_checkpoints_hold_only_what_learns(folders: Mapping[str, Path], tmp_path: Path) -> None:
    fit(folders, tmp_path / "run", epochs=1)
    for file in (BEST, LAST):
        with safe_open(tmp_path / "run" / file, framework="pt") as kept:
            names = [name for name in set(kept.keys()) if not name.startswith("rng")]
        assert names
        assert all("lora_" in name or "head." in name for name in names)
    sizes = [(tmp_path / "run" / name).stat().st_size for name in (BEST, "bundle/weights/model.safetensors")]
    assert sizes[0] < 0.5 * sizes[1]


def test_below_frozen_layers_nothing_learns(folders: Mapping[str, Path], tmp_path: Path) -> None:
    made = fit(folders, tmp_path / "run", frozen_layers=1)
    still = fit(folders, tmp_path / "still", frozen_layers=1, learning_rate=1e-12, epochs=1)
    before, after = weights(still.bundle), weights(made.bundle)
    changed = {n for n, t in before.items() if not torch.allclose(t, after[n], atol=1e-7) and not n.startswith("head.")}
    assert changed
    assert all(".layer.1." in name for name in changed)
    assert open_bundle(made.bundle).replay().worst < 1e-5


def test_the_table_of_tokens_is_left_whole(folders: Mapping[str, Path], tmp_path: Path) -> None:
    """It does not learn, so no narrow one takes its place."""
    from luodi.stages.train.setup import set_up

    name, _, _, rows, _, _ = CASES["bert"]
    brief = Brief(task=name, data="rows.csv", input="text", target="label", model=str(folders["bert"]))
    few = [dataclasses.replace(e, input=e.input[:2]) for e in rows[:20]]  # of whose tokens the table has many more
    plain, _ = set_up(load_task(name), few, few, brief, dataclasses.replace(SETTINGS, adapter="none"), tmp_path)
    setup, _ = set_up(load_task(name), few, few, brief, SETTINGS, tmp_path)
    assert plain.narrowed
    assert setup.narrowed is None
    assert setup.learning == LAYERS * (4 * SQUARE + 2 * LONG) + 2 * WIDTH + 2


def test_lower_adapters_learn_more_slowly_and_the_head_as_they_do(
    folders: Mapping[str, Path], tmp_path: Path
) -> None:
    made = fit(folders, tmp_path / "run", epochs=1, learning_rate=None)
    plan = Plan(**made.details["plan"])
    assert (plan.learning_rate, plan.head_factor) == (5e-4, 1.0)
    model = load_task("text_classification", Schema(labels=("a", "b"))).build(resolve(str(folders["bert"]), ""))
    add_adapters(model, "dora", RANK)
    optimizer = make_optimizer(model, dataclasses.replace(plan, layer_decay=0.5))
    names = {id(p): name for name, p in model.named_parameters()}
    groups = [(names[id(p)], g) for g in optimizer.param_groups for p in g["params"]]
    assert {g["factor"] for name, g in groups if "layer.0." in name} == {0.5}
    assert {g["factor"] for name, g in groups if "layer.1." in name or "head" in name} == {1.0}
    assert {g["weight_decay"] for name, g in groups if "magnitude" in name} == {0.0}


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"adapter_rank": 0}, "config.range"), ({"reinitialised_layers": 1}, "train.adapter")],
)  # fmt: skip
def test_what_cannot_be_meant_is_told(changes: dict[str, Any], code: str, both_languages: str) -> None:
    check(SETTINGS, load_task("text_classification"))
    with pytest.raises(ConfigError) as caught:
        check(dataclasses.replace(SETTINGS, **changes), load_task("text_classification"))
    assert caught.value.code == code


def test_random_weights_have_to_learn_whole(tmp_path: Path, both_languages: str) -> None:
    brief = Brief(task="text_classification", data="rows.csv", input="text", target="label", model="bert:tiny")
    rows = CASES["bert"][3]
    with pytest.raises(ConfigError) as caught:
        stage.train(load_task("text_classification"), rows, rows, brief, SETTINGS, tmp_path)
    assert caught.value.code == "train.adapter"
    assert "bert:tiny" in caught.value.message


def test_what_has_no_layers_has_no_adapters() -> None:
    with pytest.raises(ConfigError) as caught:
        add_adapters(torch.nn.Linear(2, 2), "lora", 2)
    assert caught.value.code == "train.adapter"


def test_a_bundle_is_opened_without_peft(folders: Mapping[str, Path], tmp_path: Path) -> None:
    made = fit(folders, tmp_path / "run", epochs=1)
    code = (
        "import sys; sys.modules['peft'] = None; from pathlib import Path; from luodi.core.bundle import open_bundle; "
        f"print(open_bundle(Path({str(made.bundle)!r})).replay().holds)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
