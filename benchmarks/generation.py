"""A small language model against character models on 21,053 Song poems: python benchmarks/generation.py DATA OUT.

DATA is the folder of the verification data (text/song_ci_simp.txt.gz). Runs prepare, train and evaluate in OUT and
prints all metrics of the model and of both baselines, with the paired p of the distance between them.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from luodi.core.bundle import open_bundle
from luodi.core.datasets import load_dataset
from luodi.core.project import open_project
from luodi.core.scoring import against
from luodi.stages.evaluate.baselines import load_baselines

PAGE = """\
goal: 续写宋词
task: text_generation
data: poems.txt
input: text
model: llama:tiny
accept:
  bits_per_character: "<= 7.3"
  beats_baseline: yes
prepare:
  validation: 0.05
  test: 0.06
train:
  learning_rate: 0.004
  evaluations: 3
  epochs: 3
"""


def main(data: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with gzip.open(data / "text" / "song_ci_simp.txt.gz", "rt", encoding="utf-8") as file:
        poems = [line.rstrip("\n").split("\t")[2] for line in file]
    (out / "poems.txt").write_text("\n".join(poems) + "\n", encoding="utf-8")
    (out / "luodi.yaml").write_text(PAGE, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "luodi", "evaluate", str(out)], check=False)  # refused is a result too
    print(json.dumps(compare(out), indent=1))


def compare(out: Path) -> dict[str, Any]:
    """All metrics of the model, and its distance from each baseline."""
    store = open_project(out).store
    found = {verb: store.latest(verb) for verb in ("prepare", "train", "evaluate")}
    prepared, trained, evaluated = (result.path for result in found.values() if result)
    bundle = open_bundle(trained / "bundle")
    test = load_dataset(prepared, bundle.task).test
    answers = bundle.examine(test, bundle.task.metrics, "answering")
    simple = load_baselines(bundle.task, evaluated, "test")
    told: dict[str, Any] = {"n": len(test)}
    for metric in bundle.task.metrics:
        targets = [example.target for example in test]
        told[metric.name] = {"model": metric.value(targets, answers)}
        for name, (gap, p) in against(test, answers, simple, metric).items():
            told[metric.name][name] = {
                "score": metric.value(targets, simple[name]), "better_by": [gap.value, gap.low, gap.high], "p": p,
            }  # fmt: skip
    return told


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
