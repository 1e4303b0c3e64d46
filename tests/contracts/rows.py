"""What each modality and task is tried with. A new one adds a row here, and nothing else."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from luodi.backends.pillow import write_png
from luodi.modalities.image import Image, Picture
from luodi.modalities.prompt import ROLES, question, said
from luodi.modalities.spans import Span

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
    has_windows: bool = False
    """Inputs that are too long are not cut but read in several rows of a batch."""
    has_one_size: bool = False
    """Inputs are brought to one size, whatever the longest allowed may be."""


def _wide(text: str) -> str:
    """As a Chinese keyboard types it: letters full width, in the other case."""
    swapped = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
    return f"  {swapped} \u3000"


CONVERSATIONS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(ROLES), "content": TEXTS}), min_size=1, max_size=3
)
SPANS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(1, 9), st.sampled_from(["ORG", "PER", "地点"])), max_size=6
).map(lambda parts: _laid_out(parts))


def _laid_out(parts: Sequence[tuple[int, int, str]]) -> list[dict[str, Any]]:
    """Gaps and lengths, one behind the other."""
    place, found = 0, []
    for gap, length, label in parts:
        found.append({"start": place + gap, "end": place + gap + length, "label": label})
        place += gap + length
    return found


PICTURES = st.builds(
    lambda high, wide, channels, most, seed: drawing(
        np.random.default_rng(seed).integers(0, most, (high, wide, channels), np.uint8, endpoint=True)
    ),
    st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]), st.sampled_from([0, 1, 16, 255]), st.integers(0, 99),
)  # fmt: skip


def drawing(pixels: Any) -> str:
    """A data URL of H x W x C whole numbers."""
    return Image().encode(Picture(write_png(np.asarray(pixels, np.uint8))))


def half_dark(side: int, *, left: bool) -> Any:
    """8 x 8, one half of it dark."""
    pixels = np.full((8, 8, 1), 200, np.uint8)
    pixels[:, :side] = 20
    return pixels if left else pixels[:, ::-1]


def _as_bmp(picture: Picture) -> str:
    """The same pixels in another kind of file."""
    sink = io.BytesIO()
    pixels = picture.pixels()
    PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(sink, "BMP")
    return Image().encode(Picture(sink.getvalue()))


_SOUND = drawing(half_dark(3, left=True))
MODALITIES: Mapping[str, ModalityRow] = {
    "image": ModalityRow(
        values=PICTURES | st.lists(st.integers(0, 255), min_size=64, max_size=64), same=_as_bmp,
        other=(Image().decode(_SOUND), Image().decode(drawing(half_dark(3, left=False)))),
        bad=[
            None, [], {}, 3, True, "", "x", "cat.png", "../../etc/passwd", "/etc/passwd", "https://example.org/cat.png",
            "file:///etc/passwd", "data:image/png;base64,", "data:image/png;base64,x", "data:image/png,x",
            "data:text/html;base64,PGI+", "data:image/svg+xml;base64,PHN2Zy8+", _SOUND[: len(_SOUND) // 2],
            _SOUND.replace("A", "B"), [1], [1, 2, 3], [0] * 63, [0] * 63 + [256], [0] * 63 + [-1], [0] * 63 + [0.5],
            [0] * 63 + ["x"], [[0] * 8] * 8, [True] * 64, [float("nan")] * 64,
        ],
    ),
    "text": ModalityRow(values=TEXTS, same=_wide, other=("很好", "不好"), bad=[None, [], {"a": 1}, ["x"]]),
    "prompt": ModalityRow(
        values=TEXTS | CONVERSATIONS, same=lambda value: _wide(said(value)), other=("很好", question("不好")),
        bad=[
            None, [], {"a": 1}, ["x"], [{}], [{"role": "user"}], [{"role": "robot", "content": "x"}],
            [{"role": "user", "content": None}], [{"role": "user", "content": "x", "name": "y"}],
        ],
    ),
    "label": ModalityRow(
        values=st.sampled_from(["好评", "差评", "0", "spam", "Spam mail"]) | st.integers(-5, 5),
        same=str.upper, other=("a", "b"), bad=[None, [], {}, ["x"]],
    ),
    "number": ModalityRow(
        values=st.floats(-1e200, 1e200) | st.integers(-(10**15), 10**15) | st.sampled_from(["4.5", "-1,299.00"]),
        same=lambda value: _wide(f"{value:+}").replace("－", "−"),
        other=(1.0, 1.5),
        bad=[
            None, [], {}, ["1"], True, "", "x", "3,5", "1,29", "12%", "4.5 stars", "nan", "inf", "1e999", "0x10",
            "1_000", "--1", ".", "1.2.3", float("nan"), float("inf"), -float("inf"), 10**400,
        ],
    ),
    "spans": ModalityRow(
        values=SPANS, same=lambda spans: [[s.start, s.end, s.label.lower()] for s in reversed(spans)],
        other=((Span(0, 2, "ORG"),), (Span(0, 3, "ORG"),)),
        bad=[
            None, {}, "x", 3, [1], ["x"], [[0, 1]], [{"start": 0, "end": 1}], [[0, 1, ""]], [[0, 1, 2]], [[-1, 1, "a"]],
            [[2, 2, "a"]], [[3, 2, "a"]], [[0, True, "a"]], [[0, 1.5, "a"]], [["0", 1, "a"]],
            [[0, 3, "a"], [2, 4, "b"]],
        ],
    ),
}  # fmt: skip

_REVIEWS = [
    {"text": f"{word} {i}", "label": label, "note": "x"}
    for i in range(10)
    for word, label in (("很好吃 great", "好评"), ("难吃", "差评"), ("一般般吧 so so, 不过送得挺快", "中评"))
]
_NAMES = (("张三", "北京"), ("李小四", "New York"), ("Anna Berg", "哈尔滨"))
_ENTITIES = [
    {
        "text": f"{name}住在{place}{i}号" + "，那里的冬天很长" * (i % 3),
        "entities": [[0, len(name), "PER"], [len(name) + 2, len(name) + 2 + len(place), "LOC"]][: 1 + i % 2],
    }
    for i in range(10)
    for name, place in _NAMES
]
_QUESTIONS = [
    {
        "asked": f"{i}?" if i % 4 else f"{i}. Where, in {1900 + 7 * i}, does the river {name} end?",
        "answer": f"In the {sea} sea, {i} km.",
    }
    for i in range(8)
    for name, sea in (("Elbe", "North"), ("长江", "黄"), ("Po", "Adriatic"))
]
TASKS: Mapping[str, TaskRow] = {
    "text_generation": TaskRow(rows=_QUESTIONS, input=("asked",), target="answer", network="gpt:tiny"),
    "token_classification": TaskRow(
        rows=_ENTITIES, input=("text",), target="entities", network="bert:tiny", has_windows=True
    ),
    "image_classification": TaskRow(
        rows=[
            {"picture": drawing(half_dark(2 + i % 4, left=left)), "label": "left" if left else "right"}
            for i in range(12) for left in (True, False)
        ],
        input=("picture",), target="label", network="vit:micro", has_one_size=True,
    ),
    "text_regression": TaskRow(
        rows=[{**row, "stars": 3 + i % 4 / 10 - len(row["text"]) / 7} for i, row in enumerate(_REVIEWS)],
        input=("text",), target="stars", network="bert:tiny",
    ),
    "masked_language_model": TaskRow(rows=_REVIEWS, input=("text",), target="text", network="bert:tiny"),
    "text_classification": TaskRow(rows=_REVIEWS, input=("text",), target="label", network="bert:tiny"),
}
