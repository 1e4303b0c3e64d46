"""A report can be read in the other language, whatever was spoken when it was made."""

from __future__ import annotations

import json
from pathlib import Path

from luodi.core.contract import Limit
from luodi.core.measure import Measure
from luodi.core.report import Report, Verdict, keep_report, read_report
from luodi.messages import speaking, tr


def test_sentences_are_said_again_in_the_language_spoken(tmp_path: Path) -> None:
    path, limit = tmp_path / "report.json", Limit(name="accuracy", at_least=0.9)
    with speaking("zh"):
        inner = tr("There is no file {path}.").format(path="a.csv")
        made = Report(
            verb="train", verdict=Verdict.DONE, numbers={"accuracy": Measure(value=0.9, low=0.8, high=1.0, n=10)},
            findings=(tr("{verb}: {n:.2f}, {limit}").format(verb=inner, n=1.234, limit=limit), "来自用户的话"),
            details={"why": [inner]},
        )  # fmt: skip
        keep_report(path, made)
        assert read_report(path) == made
    with speaking("en"):
        read = read_report(path)
        assert read.findings == ("There is no file a.csv.: 1.23, accuracy >= 0.9", "来自用户的话")
        assert read.details == {"why": ["There is no file a.csv."]}
        assert json.loads(read.to_json())["findings"] == list(read.findings)
