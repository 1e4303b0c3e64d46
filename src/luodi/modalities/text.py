"""Text is `str`, in any script. Characters are code points, so places in a text survive encoding."""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from luodi.core.modality import Modality, Unit
from luodi.core.types import Array, Floats, Prediction
from luodi.errors import DataError
from luodi.messages import tr

HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# A Chinese character stands alone; elsewhere a region is a word or a mark.
_REGION = re.compile(rf"[{HAN}]|[^\W{HAN}]+|[^\w\s]")
_LENGTHS = ((20, "short"), (80, "medium"), (10**9, "long"))
_LARGEST_NGRAM = 4
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio
_PIECE = 4  # characters of a piece: two Chinese words, or most of an English one


class Text(Modality[str]):
    def __init__(self, *, exact: bool = False) -> None:
        """`exact`: every character stays where it was, for answers that point to places. Else the text is trimmed, and
        spellings of one character are made one (NFC)."""
        self.exact = exact

    def decode(self, wire: Any) -> str:
        if not isinstance(wire, (str, int, float)):
            message = tr("A text must be a string, not {kind}.").format(kind=type(wire).__name__)
            raise DataError(message, code="data.text")
        if self.exact:
            return str(wire).encode("utf-8", "replace").decode()  # half a surrogate pair becomes one "?"
        text = unicodedata.normalize("NFC", str(wire)).encode("utf-8", "replace").decode()
        return text.replace("\r\n", "\n").replace("\r", "\n").strip()

    def encode(self, value: str) -> str:
        return value

    def schema(self) -> Mapping[str, Any]:
        return {"type": "string", "minLength": 1}

    def fingerprint(self, value: str) -> str:
        return hashlib.sha256(fold(value).encode()).hexdigest()

    def feature_names(self) -> tuple[str, ...]:
        return ("characters", "han_share", "latin_share", "digit_share", "mark_share")

    def features(self, value: str) -> Floats:
        n = max(len(value), 1)
        han = len(re.findall(rf"[{HAN}]", value))
        latin = sum(c.isascii() and c.isalpha() for c in value)
        digits = sum(c.isdigit() for c in value)
        marks = sum(unicodedata.category(c)[0] in "PS" for c in value)
        return np.array([len(value), han / n, latin / n, digits / n, marks / n])

    def regions(self, value: str) -> Sequence[str]:
        return [match.group() for match in _REGION.finditer(value)]

    def units(self, value: str) -> Sequence[Unit]:
        """Words: Chinese characters are joined as a dictionary and a model of words say (jieba)."""
        matches = list(_REGION.finditer(value))
        is_han = [re.fullmatch(f"[{HAN}]", match.group()) is not None for match in matches]
        if not any(is_han):
            return super().units(value)
        from luodi.backends.rjieba import cut

        word = np.searchsorted(np.cumsum([len(part) for part in cut(value)]), [m.start() for m in matches], "right")
        groups: list[list[int]] = []
        for place in range(len(matches)):
            joins = groups and is_han[place] and is_han[place - 1] and word[place] == word[place - 1]
            if joins:
                groups[-1].append(place)
            else:
                groups.append([place])
        return [Unit("".join(matches[i].group() for i in group), tuple(group)) for group in groups]

    def hide(self, value: str, regions: Sequence[int]) -> str:
        """Without the words at these places; what stood beside them closes up."""
        hidden = set(regions)
        matches = enumerate(_REGION.finditer(value))
        spans = [m.span() for i, m in matches if i in hidden]
        for start, end in reversed(spans):
            value = value[:start] + value[end:]
        return value

    def traits(self, value: str) -> frozenset[str]:
        return frozenset(unit.name.casefold() for unit in self.units(value) if any(c.isalpha() for c in unit.name))

    def perturb(self, value: str, rng: np.random.Generator) -> str:
        """One slip of the finger: a character doubled, or two neighbours swapped."""
        if len(value) < 2:
            return value
        i = int(rng.integers(len(value) - 1))
        if rng.random() < 0.5:
            return value[: i + 1] + value[i:]
        return value[:i] + value[i + 1] + value[i] + value[i + 2 :]

    def pieces(self, value: str) -> Array:
        folded = fold(value)
        text = re.sub(r"[\W_]+", "", folded) or folded  # texts of marks alone are not all one text
        count = max(len(text) - _PIECE + 1, 1)
        hashes = {zlib.crc32(text[i : i + _PIECE].encode()) for i in range(count)}
        return np.fromiter(hashes, np.uint32, len(hashes))

    def slices(self, value: str) -> Mapping[str, str]:
        length = next(name for most, name in _LENGTHS if len(value) <= most)
        return {"length": length, "language": script(value)}

    def baseline(
        self, inputs: Sequence[str], targets: Sequence[str], *, seed: int
    ) -> tuple[str, Callable[[Sequence[str]], list[Prediction[str]]]]:
        """Character 1-3-grams, TF-IDF, logistic regression: hard to beat on short texts, in any script."""
        from luodi.backends.sklearn import fit_tfidf

        return "tfidf", fit_tfidf(inputs, targets, seed=seed)


def owners_of(value: str, offsets: Array) -> Array:
    """Which region each stretch of the text (T x 2 characters) belongs to; -1 where it is none. A stretch over several
    belongs to the first."""
    spans = np.array([match.span() for match in _REGION.finditer(value)], np.int64).reshape(-1, 2)
    first = np.searchsorted(spans[:, 1], offsets[:, 0], side="right")
    ends = np.append(spans[:, 0], np.iinfo(np.int64).max)[np.minimum(first, len(spans))]
    is_real = (offsets[:, 1] > offsets[:, 0]) & (ends < offsets[:, 1])
    return np.where(is_real, first, -1)


def cut_middle(ids: Array, longest: int) -> Array:
    """Beginning and end of a long text: people sum up at the end (Sun et al. 2019, arXiv:1905.05583, found head and
    tail together better than either). The closing token stays, as encoders were trained to see one."""
    if len(ids) <= longest:
        return ids
    tail = max(1, longest // 4)
    return np.concatenate([ids[: longest - tail], ids[len(ids) - tail :]])


def text_likeness(values: Sequence[Any]) -> float:
    """0 for what is no column of texts; more for longer and more varied ones."""
    cells = [v.strip() for v in values if isinstance(v, str) and v.strip()]
    if len(cells) < max(2, 0.5 * len(values)):
        return 0.0
    lengths = np.array([len(c) for c in cells])
    letters = np.mean([sum(map(str.isalpha, c)) / len(c) for c in cells[:1000]])
    distinct = len(set(cells)) / len(cells)
    addresses = np.mean([bool(re.match(r"\w+://\S+$", c)) for c in cells])
    # Codes (B005GXFP60) are all of one length; addresses and numbers are no text that one could judge.
    if distinct < 0.3 or lengths.std() < 0.15 * lengths.mean() or letters < 0.5 or addresses > 0.5:
        return 0.0
    return float(min(lengths.mean(), 300.0) * distinct)


def ngram_buckets(text: str, buckets: int) -> Array:
    """Which of `buckets` hash buckets the text's character 1-4-grams fall into: sorted, each once, never 0.

    Bucket 0 is left for padding. The hash is arithmetic on code points alone (multiplication and shift, as in
    Knuth 6.4), so that it is the same on every machine and version.
    """
    codes = np.frombuffer(fold(text).encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
    hashes = np.zeros(len(codes), np.uint64)
    found = []
    for n in range(min(_LARGEST_NGRAM, len(codes))):
        hashes = (hashes[: len(codes) - n] + codes[n:] + np.uint64(n + 1)) * _MULTIPLIER
        hashes = hashes ^ (hashes >> np.uint64(29))
        found.append(hashes)
    if not found:
        return np.zeros(1, np.int64)
    return (np.unique(np.concatenate(found) % np.uint64(buckets - 1)) + np.uint64(1)).astype(np.int64)


def fold(text: str) -> str:
    """What a reader would call the same text: width, case, spacing."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def script(text: str) -> str:
    """zh, en, mixed or other, by the share of letters."""
    han = len(re.findall(rf"[{HAN}]", text))
    latin = len(re.findall(r"[A-Za-z]+", text))  # one English word weighs as much as one character
    letters = han + latin
    if letters == 0:
        return "other"
    return "zh" if han >= 0.9 * letters else "en" if latin >= 0.9 * letters else "mixed"
