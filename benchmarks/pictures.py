"""Small photographs from scratch, by hand: a ViT that saw 5,000 of them beside gradients, colours and a linear model.

    python benchmarks/pictures.py --data ../shared/data

Unpacks cifar10_subset.tar.gz under --out, builds a project, runs it from prepare to compress, and prints one table. A
run that was broken off goes on with the same command.
"""

from __future__ import annotations

import argparse
import tarfile
import time
from pathlib import Path

from lives import told
from luodi.core.project import open_project
from luodi.core.report import Report
from luodi.lifecycle import run

ROOT = Path(__file__).parents[1]
PAGE = """\
goal: What a photograph of 32 x 32 pixels shows
task: image_classification
data: cifar10_subset
input: picture
target: label
model: vitc:micro
train:
  epochs: 60
  evaluations: 1
  patience: 60
  weight_decay: 0.05
accept:
  accuracy: ">= 0.60"
  beats_baseline: yes
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("lives"))
    parser.add_argument("settings", nargs="*", help="key=value, laid over the project's page")
    asked = parser.parse_intermixed_args()
    folder = asked.out / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "cifar10_subset").is_dir():
        with tarfile.open(asked.data / "vision" / "cifar10_subset.tar.gz") as packed:
            packed.extractall(folder, filter="data")
    (folder / "luodi.yaml").write_text(PAGE, encoding="utf-8")
    began, reports = time.perf_counter(), dict[str, Report]()
    run(open_project(folder, asked.settings), told=lambda report: reports.update({report.verb: report}))
    for name, value in told(reports, (time.perf_counter() - began) / 60):
        print(f"{name:32} {value}")


if __name__ == "__main__":
    main()
