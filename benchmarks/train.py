"""The training loop beside `transformers.Trainer`, by hand: same encoder, rows, tokens and number of epochs.

    pip install accelerate        # Trainer asks for it
    python benchmarks/train.py --data ../shared/data --rows 1600 --epochs 1

Each side trains in a process of its own, one after the other:

trainer       Trainer with its defaults: batches of 8 in random order, padded to their longest row, AdamW at 5e-5
trainer_best  Trainer with batches of 32 grouped by length, and bf16 where the processor multiplies it in hardware
all_layers    luodi train with every layer learning
defaults      luodi train as it comes: lower half frozen, its activations kept, character n-grams beside the network

tokens/s counts real tokens, never padding. "of peak" is the share of this machine's own rate at a product of two square
matrices of 2,048: 2 operations forward and 4 backward for each weight of the layers, and as many for each pair of
positions in attention. Word tables cost no product and count as none.

cpu_s is the processor's time of the training process, over all its threads: what other programs take is not in it.
Where they cannot be kept away, OMP_NUM_THREADS=1 makes it comparable: two threads that wait for each other are at work
too.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luodi.core.batching import item_size
from luodi.core.config import Brief
from luodi.core.machine import read_cpu
from luodi.core.task import LABELS, Processor, Schema, Task, load_task
from luodi.core.types import Example, Item
from luodi.models.source import resolve
from luodi.stages.train.config import TrainSettings
from luodi.stages.train.precision import set_threads

ROOT = Path(__file__).parents[1]
MODEL, LENGTH = "e5-small", 128
BRIEF = Brief(task="text_classification", data="chnsenticorp", input="text_a", target="label", model=MODEL)
Rows = Sequence[Example[str, str]]


def read(file: Path) -> list[Example[str, str]]:
    with file.open(encoding="utf-8", newline="") as handle:
        told = csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Example(id=str(n), input=row["text_a"], target=row["label"]) for n, row in enumerate(told)]


def prepared(rows: Rows, held_back: Rows) -> tuple[Task[str, str], Processor, list[Item], list[Item]]:
    """Both sides learn from these very tokens."""
    task = load_task("text_classification")
    learned: Task[str, str] = type(task)(task.learn(rows, Schema(max_length=LENGTH)))
    processor = learned.make_processor(resolve(MODEL, MODEL), rows)
    items, held = (
        learned.encode([e.input for e in part], processor, [e.target for e in part]) for part in (rows, held_back)
    )
    return learned, processor, list(items), list(held)


def by_trainer(rows: Rows, held_back: Rows, epochs: int, *, tuned: bool) -> dict[str, float]:
    from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

    task, _, items, held = prepared(rows, held_back)
    torch.manual_seed(0)
    source = resolve(MODEL, MODEL)
    model = AutoModelForSequenceClassification.from_pretrained(source.location, num_labels=2)  # type: ignore[union-attr]
    more: dict[str, Any] = {}
    if tuned:
        more = {"per_device_train_batch_size": 32, "train_sampling_strategy": "group_by_length"}
        more["bf16"] = read_cpu().has_bf16
    with tempfile.TemporaryDirectory() as folder:
        told = TrainingArguments(
            output_dir=folder, num_train_epochs=epochs, save_strategy="no", report_to=[], disable_tqdm=True,
            use_cpu=True, seed=0, remove_unused_columns=False, **more,
        )  # fmt: skip

        def collate(part: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
            batch = task.collate([{k: v for k, v in item.items() if k != "length"} for item in part])
            return {name: torch.from_numpy(np.asarray(array)) for name, array in batch.items()}

        data = [{**item, "length": len(item["input_ids"])} for item in items] if tuned else items
        trainer = Trainer(model=model, args=told, train_dataset=data, data_collator=collate)  # type: ignore[arg-type]
        began, cpu = time.perf_counter(), time.process_time()
        trainer.train()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        model.eval()
        right = 0
        with torch.inference_mode():
            for item in held:
                logits = model(input_ids=torch.from_numpy(item["input_ids"])[None]).logits
                right += int(logits.argmax()) == int(item[LABELS])
    tokens = epochs * sum(map(item_size, items))
    return {
        "seconds": seconds, "tokens_per_s": tokens / seconds, "score": right / len(held), "steps_s": seconds,
        "cpu_s": cpu, "tokens_per_cpu_s": tokens / cpu,
    }  # fmt: skip


def by_luodi(rows: Rows, held_back: Rows, epochs: int, *, all_layers: bool, goal: float) -> dict[str, float]:
    """`seconds` is all that the stage does, sealing and its proof included; `to_goal` until a validation score of at
    least `goal`, setting up included."""
    from luodi.stages.train.train import train

    if all_layers:
        settings = TrainSettings(epochs=epochs, max_length=LENGTH, frozen_layers=0, wide=False, evaluations=1)
    else:
        settings = TrainSettings(epochs=epochs, max_length=LENGTH, evaluations=8)
    with tempfile.TemporaryDirectory() as folder:
        began, cpu = time.perf_counter(), time.process_time()
        made = train(load_task("text_classification"), rows, held_back, BRIEF, settings, Path(folder))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    told = made.details
    reached = [s["seconds"] + told["setup_seconds"] for s in told["scores"] if s["value"] >= goal]
    return {
        "seconds": seconds, "tokens_per_s": made.numbers["tokens_per_second"].value,
        "score": made.numbers["validation_accuracy"].value, "network_score": told["best"]["value"],
        "to_goal": min(reached, default=float("nan")), "setup_s": told["setup_seconds"], "cpu_s": cpu,
    }  # fmt: skip


def peak() -> float:
    """Operations a second of a matrix product at 2,048: the best of ten, in the precision that training uses."""
    kind = torch.bfloat16 if read_cpu().has_bf16 else torch.float32
    left, right = torch.randn(2, 2048, 2048).to(kind)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        torch.mm(left, right)
        times.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(times)


def operations(items: Sequence[Item], layers: int, width: int, inner: int) -> float:
    """Of a training step for each real token, as the docstring above counts."""
    weights = layers * (4 * width * width + 2 * width * inner)
    sizes = np.array([item_size(item) for item in items], float)
    pairs = layers * 2 * width * (sizes**2).sum() / sizes.sum()  # scores and their sum, for each token
    return float(6 * (weights + pairs))


SIDES: Mapping[str, Callable[[Rows, Rows, int, float], dict[str, float]]] = {
    "trainer": lambda rows, held, epochs, goal: by_trainer(rows, held, epochs, tuned=False),
    "trainer_best": lambda rows, held, epochs, goal: by_trainer(rows, held, epochs, tuned=True),
    "all_layers": lambda rows, held, epochs, goal: by_luodi(rows, held, epochs, all_layers=True, goal=goal),
    "defaults": lambda rows, held, epochs, goal: by_luodi(rows, held, epochs, all_layers=False, goal=goal),
}


def asked_rows(asked: argparse.Namespace) -> tuple[Rows, Rows]:
    folder = asked.data / "sentiment"
    rows, held_back = read(folder / "chnsenticorp_train.tsv"), read(folder / "chnsenticorp_dev.tsv")
    random.Random(0).shuffle(rows)
    return rows[: asked.rows], held_back[: asked.held_back]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rows", type=int, default=1600)
    parser.add_argument("--held-back", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--sides", nargs="*", choices=SIDES, default=list(SIDES))
    parser.add_argument("--goal", type=float, default=float("nan"))
    parser.add_argument("--here", choices=SIDES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    set_threads()
    if asked.here:
        print(json.dumps(SIDES[asked.here](*asked_rows(asked), asked.epochs, asked.goal)))
        return
    _, _, items, _ = prepared(*asked_rows(asked))
    rate, each = peak(), operations(items, layers=12, width=384, inner=1536)
    print(f"a product of matrices: {rate / 1e9:.0f} GFLOP/s; {each / 1e6:.0f} million operations for each token")
    results: dict[str, dict[str, float]] = {}
    for side in asked.sides:
        goal = results.get("trainer", {}).get("score", asked.goal)
        again = [sys.executable, __file__, *sys.argv[1:], "--here", side, "--goal", str(goal)]
        waiting = {"GOMP_SPINCOUNT": "300000"} if side.startswith("trainer") else {}  # as without Luodi
        done = subprocess.run(again, check=True, capture_output=True, text=True, env={**os.environ, **waiting})
        told = results[side] = json.loads(done.stdout.splitlines()[-1])
        told["of_peak"] = told["tokens_per_s"] * each / rate
        print(f"{side:13}" + "".join(f"  {name} {value:.4g}" for name, value in told.items()), flush=True)
    base = results.get("trainer", {}).get("tokens_per_s")
    for side, told in results.items() if base else ():
        print(f"{side:13} {told['tokens_per_s'] / base:.2f} times the tokens/s of trainer")


if __name__ == "__main__":
    main()
