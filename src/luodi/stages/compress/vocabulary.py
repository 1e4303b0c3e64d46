"""A vocabulary cut down to what the data needs, and the rows of the weights that belong to it. Nothing is approximated:
every text seen is cut into the same pieces as before, and this is proved for each of them, not sampled."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from luodi.backends.safetensors import take_rows
from luodi.core.task import Processor
from luodi.core.types import Array
from luodi.errors import ParityError
from luodi.messages import tr

FILE = "tokenizer.json"
SHORT = 1  # pieces of this many characters stay whether seen or not, so that a text of tomorrow still has pieces
_CHUNK = 1024
_BEGINS = "▁"
_MARKS = ("##", _BEGINS, "Ġ")  # what WordPiece, SentencePiece and byte-level BPE put before a piece


@dataclass(frozen=True, kw_only=True, slots=True)
class Trim:
    """`kept[new id] = old id`, ascending, so that special tokens at the front stay where they are."""

    kept: Array
    """Of pieces, and of special tokens that were added behind them."""
    size: int
    """Pieces of the old vocabulary."""

    def renumber(self, old: int | None) -> int | None:
        """None for None and for a piece that is gone."""
        if old is None:
            return None
        new = int(np.searchsorted(self.kept, old))
        return new if new < len(self.kept) and self.kept[new] == old else None


def pieces_of(processor_folder: Path) -> list[tuple[str, float]] | None:
    """Pieces with their log probabilities, in the order of their ids; None where there is no vocabulary of a kind
    that can be cut (Unigram, WordPiece). BPE cannot: its merges build on one another."""
    path = processor_folder / FILE
    if not path.is_file():
        return None
    model = json.loads(path.read_text(encoding="utf-8"))["model"]
    if model["type"] == "Unigram":
        return [(piece, score) for piece, score in model["vocab"]]
    if model["type"] == "WordPiece":
        # Trained vocabularies are ordered by frequency: the id is the only measure that there is.
        ordered = sorted(model["vocab"].items(), key=lambda pair: pair[1])
        return [(piece, -float(rank)) for piece, rank in ordered] if _is_dense(ordered) else None
    return None


def choose(processor_folder: Path, processor: Processor, texts: Iterable[str], most: int) -> Trim:
    """All pieces that the texts need, all special ones and single characters, then the most probable up to `most`."""
    pieces = pieces_of(processor_folder)
    assert pieces is not None
    told = json.loads((processor_folder / FILE).read_text(encoding="utf-8"))
    needed = np.zeros(len(pieces), bool)
    for ids in _encoded(processor, texts):
        needed[ids[ids < len(pieces)]] = True
    needed[[t["id"] for t in told["added_tokens"] if t["id"] < len(pieces)]] = True
    known = {piece for piece, _ in pieces}
    needed[[i for i, (piece, _) in enumerate(pieces) if _length(piece) <= SHORT and not _has_twin(piece, known)]] = True
    if told["model"]["type"] == "Unigram":
        needed[[told["model"]["unk_id"]]] = True
        # What an unknown character costs is counted from the least probable piece: it must not move.
        needed[int(np.argmin([score for _, score in pieces]))] = True
    room = max(most - int(needed.sum()), 0)
    probable = sorted(np.flatnonzero(~needed), key=lambda i: -pieces[i][1])[:room]
    needed[np.asarray(probable, np.int64)] = True
    behind = sorted({t["id"] for t in told["added_tokens"] if t["id"] >= len(pieces)})
    return Trim(kept=np.append(np.flatnonzero(needed), np.asarray(behind, np.int64)), size=len(pieces))


def trim_processor(source: Path, target: Path, trim: Trim) -> None:
    """The tokenizer with the kept pieces only; what else lies in the folder is copied by the caller."""
    told = json.loads((source / FILE).read_text(encoding="utf-8"))
    model = told["model"]
    pieces = trim.kept[trim.kept < trim.size]
    if model["type"] == "Unigram":
        model["vocab"] = [model["vocab"][i] for i in pieces]
        model["unk_id"] = trim.renumber(model["unk_id"])
    else:
        names = {rank: piece for piece, rank in model["vocab"].items()}
        model["vocab"] = {names[int(old)]: new for new, old in enumerate(pieces)}
    for token in told["added_tokens"]:
        token["id"] = trim.renumber(token["id"])
    _renumber_post_processor(told.get("post_processor"), trim)
    target.mkdir(parents=True, exist_ok=True)
    (target / FILE).write_text(json.dumps(told, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def trim_weights(source: Path, target: Path, trim: Trim, rows: int) -> None:
    """Every tensor of `rows` rows, except positions, is one row a piece: tables, tied heads and their biases."""
    take_rows(source, target, trim.kept, lambda name, shape: shape[0] == rows and "position" not in name)


def trim_network(network: Mapping[str, Any], trim: Trim) -> dict[str, Any]:
    """The architecture with its new vocabulary, and the ids that it names."""
    config = dict(network["config"])
    config["vocab_size"] = len(trim.kept)
    for key in [k for k in config if k.endswith("_token_id") and isinstance(config[k], int)]:
        config[key] = trim.renumber(config[key])
    return {**network, "config": config}


def prove(before: Processor, after: Processor, texts: Iterable[str], trim: Trim) -> int:
    """Number of texts compared. Raises ParityError at the first that is cut into other pieces."""
    count = 0
    for chunk in _chunks(texts):
        for text, old, new in zip(chunk, _ids(before, chunk), _ids(after, chunk), strict=True):
            if not np.array_equal(trim.kept[new], old):
                message = tr("With the smaller vocabulary this text is cut differently: {text}").format(text=text[:60])
                raise ParityError(message, code="compress.vocabulary")
            count += 1
    return count


def _encoded(processor: Processor, texts: Iterable[str]) -> Iterator[Array]:
    for chunk in _chunks(texts):
        yield from _ids(processor, chunk)


def _ids(processor: Processor, chunk: Sequence[str]) -> list[Array]:
    return [item["input_ids"] for item in processor.encode(chunk)]


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(texts)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _length(piece: str) -> int:
    for mark in _MARKS:
        piece = piece.removeprefix(mark)
    return len(piece)


def _has_twin(piece: str, known: Collection[str]) -> bool:
    """A character behind SentencePiece's mark of a beginning word: mark and character are pieces of their own, and do
    where both come together in no text that is known."""
    return len(piece) > 1 and piece[0] == _BEGINS and piece[1:] in known and _BEGINS in known


def _is_dense(ordered: Sequence[tuple[str, int]]) -> bool:
    return [rank for _, rank in ordered] == list(range(len(ordered)))


def _renumber_post_processor(part: Any, trim: Trim) -> None:
    """TemplateProcessing lists ids by token, BertProcessing holds (token, id) pairs, Sequence holds others."""
    if not part:
        return
    for inner in part.get("processors", ()):
        _renumber_post_processor(inner, trim)
    for token in part.get("special_tokens", {}).values():
        token["ids"] = [trim.renumber(i) for i in token["ids"]]
    for name in ("sep", "cls"):
        if name in part:
            part[name] = [part[name][0], trim.renumber(part[name][1])]
