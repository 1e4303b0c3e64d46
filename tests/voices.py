"""Feedback with needs planted in it: who says what, when, how often."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np


def _words(text: str) -> list[str]:
    return text.split()


TOPICS: Mapping[str, Sequence[str]] = {
    "export": _words("export pdf document report download format page broken margin printer layout font"),
    "login": _words("login password account locked reset verify code sms session logout security token"),
    "delivery": _words("快递 物流 包裹 配送 送货 驿站 签收 延误 快递员 仓库 发货 运费"),
    "battery": _words("电池 充电 续航 电量 发热 充电器 待机 耗电 电源 掉电 快充 插头"),
    "price": _words("price discount coupon expensive invoice billing subscription refund payment charge plan annual"),
}
FILLERS = {"en": _words("please today again really maybe still"), "zh": _words("请问 今天 已经 真的 可能 还是")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Voices:
    rows: list[dict[str, str]]
    topics: list[str]
    """Of each row; empty for one of no topic."""
    header: Sequence[str] = field(default=("text", "time", "user", "rating", "plan"))

    def write(self, path: Path) -> Path:
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, self.header)
            writer.writeheader()
            writer.writerows(self.rows)
        return path


def speak(
    counts: Mapping[str, int], *, seed: int = 0, growing: str = "", loud: Mapping[str, str] | None = None,
    start: date = date(2026, 1, 5), weeks: int = 10,
) -> Voices:  # fmt: skip
    """`growing`: a topic spoken of mostly in the later weeks; `loud`: a topic to the plan whose users speak of it."""
    rng = np.random.default_rng(seed)
    rows, topics = [], []
    for topic, count in counts.items():
        for _ in range(count):
            week = int(weeks * (rng.random() ** 0.4 if topic == growing else rng.random()))
            plan = (loud or {}).get(topic) if rng.random() < 0.8 else None
            rows.append({
                "text": _text(topic, rng), "time": str(start + timedelta(days=7 * week + int(rng.integers(7)))),
                "user": f"u{rng.integers(10_000)}", "rating": str(rng.integers(1, 3) if topic == "export" else 5),
                "plan": plan or str(rng.choice(["free", "team", "firm"])),
            })  # fmt: skip
            topics.append(topic)
    order = rng.permutation(len(rows))
    return Voices(rows=[rows[i] for i in order], topics=[topics[i] for i in order])


def noise(count: int, seed: int = 0) -> Voices:
    """Messages that have nothing in common but chance."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("abcdefghijklmnoprstuvw"), 6)) for _ in range(400)]
    rows = [{"text": " ".join(rng.choice(words, 8, replace=False))} for _ in range(count)]
    return Voices(rows=rows, topics=[""] * count, header=("text",))


def _text(topic: str, rng: np.random.Generator) -> str:
    language = "zh" if topic in ("delivery", "battery") else "en"
    words = [*rng.choice(TOPICS[topic], 5, replace=False), *rng.choice(FILLERS[language], 2, replace=False)]
    rng.shuffle(words)
    return ("，" if language == "zh" else " ").join(words)
