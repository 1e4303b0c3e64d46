"""A Dataset on disk: one JSON line an example, in the answers' and inputs' own wire form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from luodi.core.store import write_atomically
from luodi.core.task import Task
from luodi.core.types import SPLITS, Dataset, Datasheet, Example, X, Y

DATASHEET = "datasheet.json"


def save_dataset(folder: Path, dataset: Dataset[X, Y], task: Task[X, Y]) -> None:
    for name in SPLITS:
        lines = [json.dumps(_to_wire(e, task), ensure_ascii=False) for e in getattr(dataset, name)]
        write_atomically(folder / f"{name}.jsonl", "".join(line + "\n" for line in lines))
    sheet = msgspec.json.encode(dataset.datasheet, enc_hook=str)  # notes as they were said
    write_atomically(folder / DATASHEET, msgspec.json.format(sheet, indent=1))


def load_dataset(folder: Path, task: Task[X, Y]) -> Dataset[X, Y]:
    sheet = msgspec.json.decode((folder / DATASHEET).read_bytes(), type=Datasheet)
    train, validation, test = (_load_split(folder / f"{name}.jsonl", task) for name in SPLITS)
    return Dataset(train=train, validation=validation, test=test, datasheet=sheet)


def load_split(folder: Path, name: str, task: Task[X, Y]) -> tuple[Example[X, Y], ...]:
    """One split alone, so that a verb need not hold the test set to work on the training rows."""
    return _load_split(folder / f"{name}.jsonl", task)


def _to_wire(example: Example[X, Y], task: Task[X, Y]) -> dict[str, Any]:
    return {
        "id": example.id, "input": task.input.encode(example.input), "target": task.output.encode(example.target),
        "source": example.source, "group": example.group, "tags": example.tags,
    }  # fmt: skip


def _load_split(path: Path, task: Task[X, Y]) -> tuple[Example[X, Y], ...]:
    lines: Sequence[str] = path.read_text(encoding="utf-8").split("\n")
    return tuple(_from_wire(json.loads(line), task) for line in lines if line)


def _from_wire(wire: dict[str, Any], task: Task[X, Y]) -> Example[X, Y]:
    return Example(
        id=wire["id"], input=task.input.decode(wire["input"]), target=task.output.decode(wire["target"]),
        source=wire["source"], group=wire["group"], tags=tuple((name, value) for name, value in wire.get("tags", ())),
    )  # fmt: skip
