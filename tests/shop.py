"""A small shop with reviews, and the command line in a process of its own, for tests of whole lives."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import forked

GOOD = ("好吃", "不错", "满意", "喜欢", "物流很快", "推荐", "包装完好", "great", "tasty", "fresh")
BAD = ("难吃", "太差", "失望", "退货", "太慢了", "上当", "破损", "awful", "stale", "broken")
PAGE = """\
goal: 好评还是差评
task: text_classification
data: reviews.csv
input: text
target: label
model: bert:tiny
accept:
  accuracy: ">= 0.75"
  size_mb: "<= 20"
train:
  epochs: 6
  learning_rate: 0.001
  max_length: 48
prepare:
  near_duplicates: 1.0
"""


def write_reviews(path: Path, count: int) -> None:
    rng = random.Random(0)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label"])
        for i in range(count):
            label, words = rng.choice([("好评", GOOD), ("差评", BAD)])
            said = rng.sample(words, 3) + rng.sample(GOOD + BAD, 1)
            rng.shuffle(said)
            writer.writerow([f"{'，'.join(said)} {rng.choice('家店货人')}{i}", label])


def luodi(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; forked, where the system forks."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        return forked.run(words, {**os.environ, **environment}, timeout=3600)
    return afresh(*words, **environment)


def afresh(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "luodi", *words], capture_output=True, text=True, encoding="utf-8", timeout=3600,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
    )  # fmt: skip


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one JSON object on standard output."""
    told: dict[str, Any] = json.loads(done.stdout)
    return told
