"""Rows with a known fault in them, for tests of what is said about it."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Row = tuple[str, str]
Project = Callable[..., Path]
GOOD = ("好吃", "不错", "满意", "喜欢", "物流很快", "推荐", "包装完好", "great", "tasty", "fresh")
BAD = ("难吃", "太差", "失望", "退货", "太慢了", "上当", "破损", "awful", "stale", "broken")
PLACES = ("这家", "那家", "店里", "网上", "昨天", "上周", "again", "we", "they", "today")


def reviews(
    count: int, good: str = "positive", bad: str = "negative", *, seed: int = 0, noise: float = 0.0
) -> list[Row]:
    """Each text once. Three words tell the answer, one does not; a share of the answers is wrong."""
    rng = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < count:
        is_good = rng.random() < 0.5
        said = rng.sample(GOOD if is_good else BAD, 3) + rng.sample(GOOD + BAD, 1)
        rng.shuffle(said)
        text = f"{rng.choice(PLACES)}{rng.choice(PLACES)} {'，'.join(said)} {rng.choice(PLACES)}"
        rows[text] = good if is_good != (rng.random() < noise) else bad
    return list(rows.items())


def table(
    rows: Sequence[Row], *, header: Sequence[str] | None = ("text", "label"), end: str = "\n", encoding: str = "utf-8",
    mark: bytes = b"", delimiter: str = ",",
) -> bytes:  # fmt: skip
    """A table as some program may have written it."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerows([header] if header else [])
    writer.writerows(rows)
    text = out.getvalue()
    return mark + (text.replace("\n", end) if end == "\r" else text).encode(encoding)


def lines(rows: Sequence[Row]) -> bytes:
    """The same rows where nothing can go wrong."""
    told = (json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows)
    return "".join(line + "\n" for line in told).encode()


def prepared(project: Path) -> dict[str, list[tuple[Any, Any]]]:
    """Split to (input, target) of what `prepare` published."""
    (folder,) = (project / "runs").glob("prepare-*")
    found = {}
    for name in ("train", "validation", "test"):
        read = (folder / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
        found[name] = [(row["input"], row["target"]) for row in map(json.loads, filter(None, read))]
    return found
