"""One matrix in numpy behind both toy tasks, opened the way a Bundle opens any engine. No torch anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luodi.core.task import Item, Task
from luodi.core.types import Batch

SIZE = 256
"""Rows of the matrix: code points, taken modulo."""


@dataclass(frozen=True, slots=True)
class CodePoints:
    """A processor with nothing to learn. A pair is its texts with a bar between them."""

    @property
    def network(self) -> Mapping[str, Any]:
        return {"vocab_size": 0x110000}

    def encode(self, parts: Sequence[Any]) -> list[Item]:
        texts = [part if isinstance(part, str) else "|".join(part) for part in parts]
        return [{"input_ids": np.array([ord(c) for c in text], np.int64)} for text in texts]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kind.txt").write_text("code points", encoding="utf-8")


def open_processor(folder: Path) -> CodePoints:
    assert (folder / "kind.txt").read_text(encoding="utf-8") == "code points"
    return CodePoints()


@dataclass(frozen=True, slots=True)
class Linear:
    """With a mask: the mean of all rows. Without: the row of the last code point."""

    weights: np.ndarray[Any, Any]

    def run(self, batch: Batch) -> Mapping[str, np.ndarray[Any, Any]]:
        rows = self.weights[batch["input_ids"] % SIZE]  # B x T x outputs
        if "attention_mask" not in batch:
            return {"logits": rows[:, -1]}
        mask = batch["attention_mask"][..., None]
        return {"logits": (rows * mask).sum(1) / np.maximum(mask.sum(1), 1)}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights.json").write_text(str(self.weights.tolist()), encoding="utf-8")


def open_engine(folder: Path, task: Task[Any, Any], network: Mapping[str, Any], threads: int | None) -> Linear:
    import json

    return Linear(np.array(json.loads((folder / "weights.json").read_text(encoding="utf-8"))))
