"""Entities of Chinese résumés (Zhang & Yang 2018, arXiv:1805.02023): what was promised beside what was measured.

    python benchmarks/ner.py --data ../shared/data
    python benchmarks/ner.py --data ../shared/data prepare.leaks=keep      # as published scores were measured

Builds a project in a new folder under --out, runs it from prepare to compress, and prints one table. A run that was
broken off goes on with the same command.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

from lives import ROOT, say
from luodi.core.project import open_project
from luodi.core.report import Report
from luodi.lifecycle import run

PAGE = """\
goal: 简历中的姓名、学历、单位、职务等实体
task: token_classification
data:
  train: {data}/ner/resume_train.char.bmes
  validation: {data}/ner/resume_dev.char.bmes
  test: {data}/ner/resume_test.char.bmes
input: text
target: entities
budget: 25 min
accept:
  entity_f1: ">= 0.93"      # BERT-base of 12 layers, 768 wide: about 0.955
  beats_baseline: yes
"""
NAMES = ("entity_f1", "entity_precision", "entity_recall", "entity_macro_f1")
SHOWN = {
    "prepare": ("rows_read", "rows_kept", "leak_share"),
    "train": ("validation_entity_f1", "training_seconds", "tokens_per_second"),
    "evaluate": (*NAMES, "baseline.windows", "beats_baseline.windows", "baseline.dictionary"),
    "compress": ("entity_f1", "size_mb", "p50_ms", "p95_ms", "speedup"),
}


def told(reports: Mapping[str, Report], minutes: float) -> list[tuple[str, str]]:
    rows = [("minutes, prepare to compress", f"{minutes:.1f}")]
    for verb, names in SHOWN.items():
        numbers = reports[verb].numbers if verb in reports else {}
        rows += [(f"{verb}: {name}", say(numbers[name])) for name in names if name in numbers]
    for row in reports["evaluate"].details.get("per_class", ()) if "evaluate" in reports else ():
        rows.append((f"evaluate: F1 of {row['label']}", f"{row['f1']:.4f}, n = {row['n']}"))
    return rows + [(f"{verb}: verdict", report.verdict) for verb, report in reports.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("lives"))
    parser.add_argument("settings", nargs="*", help="key=value, laid over the project's page")
    asked = parser.parse_intermixed_args()
    folder = asked.out / "resume"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "luodi.yaml").write_text(PAGE.format(data=asked.data.resolve()), encoding="utf-8")
    began, reports = time.perf_counter(), dict[str, Report]()
    run(open_project(folder, asked.settings), told=lambda report: reports.update({report.verb: report}))
    for name, value in told(reports, (time.perf_counter() - began) / 60):
        print(f"{name:40} {value}")


if __name__ == "__main__":
    main()
