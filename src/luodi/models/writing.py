"""The decoding loop, and how likely a network finds a text. numpy only, around any engine.

An engine that gives `present` is given it back as `past`, so that each step reads one token; one that does not reads
all again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from luodi.core.batching import batches_by_length, pad
from luodi.core.sampling import Sampling, draw, log_softmax
from luodi.core.task import Engine, Writer
from luodi.core.types import Array, Batch, Floats, Item, Prediction

BROKEN = "\ufffd"
"""What a decoder makes of bytes that are no whole character yet."""
POSITIONS = 1024
"""Of a batch whose logits are looked at: a vocabulary of 50,000 makes 200 MB of them."""
Collate = Callable[[Sequence[Item]], Batch]


class Draft:
    """One answer as it grows. `piece` is what the last token added for the reader."""

    def __init__(self, writer: Writer, sampling: Sampling) -> None:
        self._writer = writer
        self.sampling = sampling
        self._rng = np.random.default_rng(sampling.seed)  # its own: neighbours in the batch change nothing
        self._shares: list[float] = []
        self.ids: list[int] = []
        self.text = ""
        self.piece = ""
        self.is_done = False

    def take(self, logits: Floats) -> int:
        """Draws the next token from one row of logits, and gives it."""
        token = draw(logits, self.sampling, self.ids, self._rng)
        self._shares.append(float(np.exp(log_softmax(logits)[token])))
        if token in self._writer.ends:
            self._show(self._whole(), is_last=True)
            return token
        self.ids.append(token)
        whole = self._writer.decode(self.ids)
        places = [place for place in (whole.find(word) for word in self.sampling.stop) if place >= 0]
        if places:
            self._show(whole[: min(places)], is_last=True)
        elif len(self.ids) >= self.sampling.max_new_tokens:
            self._show(self._whole(), is_last=True)
        else:
            whole = self._whole()
            self._show(whole[: len(whole) - _begun(whole, self.sampling.stop)], is_last=False)
        return token

    def prediction(self) -> Prediction[str]:
        """Its confidence is the mean probability of its tokens, before temperature and the like."""
        return Prediction(value=self.text, confidence=float(np.mean(self._shares)) if self._shares else None)

    def _whole(self) -> str:
        """Without a character of which some bytes are still to come."""
        return self._writer.decode(self.ids).rstrip(BROKEN)

    def _show(self, text: str, *, is_last: bool) -> None:
        """What was shown stays, though a decoder may think better of bytes that turn out to be no characters."""
        self.piece = text[len(self.text) :]
        self.text += self.piece
        self.is_done = is_last


def write(drafts: Sequence[Draft], engine: Engine, batch: Batch) -> Iterator[None]:
    """One more token for each draft that is not done, between two yields. `batch` holds what they go on from."""
    outputs = engine.run(batch)
    lasts = _last_real(batch["attention_mask"])
    places = np.arange(len(drafts))
    logits = outputs["logits"][places, lasts]
    loop = _remembering if "present" in outputs else _reading_again
    yield from loop(drafts, engine, batch, (logits, outputs.get("present")))


def _remembering(
    drafts: Sequence[Draft], engine: Engine, batch: Batch, first: tuple[Floats, Array | None]
) -> Iterator[None]:
    logits, told = first
    assert told is not None
    size = batch["attention_mask"].shape[1]
    most = max(draft.sampling.max_new_tokens for draft in drafts)
    past = np.empty((len(drafts), size + most, told.shape[-1]), told.dtype)
    mask = np.zeros(past.shape[:2], np.int64)
    past[:, :size], mask[:, :size] = told[:, :size], batch["attention_mask"]
    rows = list(drafts)
    while True:
        tokens = [0 if draft.is_done else draft.take(logits[i]) for i, draft in enumerate(rows)]
        yield
        live = [i for i, draft in enumerate(rows) if not draft.is_done]
        if not live:
            return
        if 2 * len(live) <= len(rows):  # half of the work would be for answers that are there
            rows, tokens = [rows[i] for i in live], [tokens[i] for i in live]
            past, mask = past[live], mask[live]
        ids = np.array(tokens, np.int64)[:, None]
        outputs = engine.run(
            {"input_ids": ids, "attention_mask": np.ones_like(ids), "past": past[:, :size], "past_mask": mask[:, :size]}
        )
        past[:, size], mask[:, size] = outputs["present"][:, 0], 1
        size += 1
        logits = outputs["logits"][:, 0]


def _reading_again(
    drafts: Sequence[Draft], engine: Engine, batch: Batch, first: tuple[Floats, Array | None]
) -> Iterator[None]:
    logits = first[0]
    given = [ids[keep.astype(bool)] for ids, keep in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    live = list(range(len(drafts)))
    while True:
        for row, i in enumerate(live):
            drafts[i].take(logits[row])
        yield
        live = [i for i in live if not drafts[i].is_done]
        if not live:
            return
        whole = [np.concatenate([given[i], np.array(drafts[i].ids, np.int64)]) for i in live]
        again = {"input_ids": pad(whole), "attention_mask": pad([np.ones(len(ids), np.int64) for ids in whole])}
        logits = engine.run(again)["logits"][np.arange(len(live)), _last_real(again["attention_mask"])]


def bits_of(engine: Engine, collate: Collate, texts: Sequence[Array], starts: Sequence[int], most: int) -> list[Floats]:
    """Of each text the bits of its tokens from place `start` on, each told from at most `most` tokens before it. Of a
    longer text each token still has at least half as many before it."""
    half = max(most // 2, 1)
    windows: list[tuple[int, int, int]] = []  # text, first token that is read, first token that is scored
    for i, (text, start) in enumerate(zip(texts, starts, strict=True)):
        windows.append((i, 0 if start <= most else start - half, start))
        while (reach := windows[-1][1] + most) < len(text) - 1:
            windows.append((i, reach + 1 - half, reach + 1))
    found: list[list[Floats]] = [[] for _ in texts]
    scored: dict[int, Floats] = {}
    for places in batches_by_length([min(most, len(texts[i]) - 1 - a) for i, a, _ in windows], budget=POSITIONS):
        chosen = [windows[p] for p in places]
        read = [texts[i][a : min(a + most, len(texts[i]) - 1)] for i, a, _ in chosen]
        logits = engine.run(collate([{"input_ids": ids} for ids in read]))["logits"]
        for row, (place, ids) in enumerate(zip(places, read, strict=True)):
            i, a, b = windows[place]
            asked = texts[i][b : a + len(ids) + 1]
            shares = log_softmax(logits[row, b - a - 1 : len(ids)])
            scored[place] = -shares[np.arange(len(asked)), asked] / np.log(2)
    for place, (i, _, _) in enumerate(windows):
        found[i].append(scored[place].astype(np.float64))
    return [np.concatenate(parts) for parts in found]


def _last_real(mask: Array) -> Array:
    """Place of the last 1 in each row."""
    return np.asarray(mask.shape[1] - 1 - mask[:, ::-1].argmax(1))


def _begun(text: str, stops: Sequence[str]) -> int:
    """Characters at the end that may become a stop word."""
    return max((n for word in stops for n in range(1, len(word)) if text.endswith(word[:n])), default=0)
