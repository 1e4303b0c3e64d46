"""What each modality and task is tried with. A new one adds a row here, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60) | st.text(
    "好坏的，。abcXYZ 019 ①Ａé😀", min_size=1, max_size=60
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModalityRow:
    values: SearchStrategy[Any]
    """What comes over the wire; decoded before use."""
    same: Callable[[Any], Any]
    """The value as somebody else would have sent it: equal fingerprints."""
    other: tuple[Any, Any]
    """Two that nobody would call the same."""
    bad: Sequence[Any]
    """What a request may hold and the codec must refuse with DataError."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRow:
    rows: Sequence[Mapping[str, Any]]
    """Raw records, enough of them to learn the answers from."""
    input: tuple[str, ...]
    target: str
    network: str
    """Name of a model that trains from scratch in no time."""


def _wide(text: str) -> str:
    """As a Chinese keyboard types it: letters full width, in the other case."""
    swapped = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
    return f"  {swapped} \u3000"


MODALITIES: Mapping[str, ModalityRow] = {
    "text": ModalityRow(values=TEXTS, same=_wide, other=("很好", "不好"), bad=[None, [], {"a": 1}, ["x"]]),
    "label": ModalityRow(
        values=st.sampled_from(["好评", "差评", "0", "spam", "Spam mail"]) | st.integers(-5, 5),
        same=str.upper, other=("a", "b"), bad=[None, [], {}, ["x"]],
    ),
}  # fmt: skip

_REVIEWS = [
    {"text": f"{word} {i}", "label": label, "note": "x"}
    for i in range(10)
    for word, label in (("很好吃 great", "好评"), ("难吃", "差评"), ("一般般吧 so so, 不过送得挺快", "中评"))
]
TASKS: Mapping[str, TaskRow] = {
    "text_classification": TaskRow(rows=_REVIEWS, input=("text",), target="label", network="bert:tiny"),
}
