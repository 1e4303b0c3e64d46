"""What follows a text: the rest of a poem, the answer to a question. A causal language model writes it.

Two kinds of data. A table with a question and an answer in each row: the model learns the answers. Plain texts
without a target: each is cut at its first line break or sentence end, and the model learns the whole of it, since
its beginning is text like the rest.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from luodi.core.batching import PAST, batches_by_length, pad
from luodi.core.measure import Metric
from luodi.core.task import (
    IGNORED,
    LABELS,
    Base,
    Baseline,
    Engine,
    GenerativeTask,
    Processor,
    Recognition,
    Schema,
    Writer,
)
from luodi.core.types import Array, Batch, Columns, Example, Floats, Item, Prediction, Row
from luodi.errors import DataError
from luodi.messages import tr
from luodi.modalities.prompt import Message, Prompt, Put, question, said
from luodi.modalities.text import Text
from luodi.models.likelihood import (
    BITS,
    GENERATION_METRICS,
    NEXT_LINE,
    NUM_LINES,
    character_models,
    first_line,
    lines_to_rank,
)
from luodi.models.writing import Draft, bits_of, write

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

TURNS = "{% for message in messages %}{{ message.content }}{{ '\n\n' }}{% endfor %}"
"""Of a model that learns answers from a table: each turn ends with an empty line."""
_POSITIONS = 4096  # of a batch that is written, cache included
_SENTENCE = re.compile(r"\n+|[。！？!?…]+[」』”’\"')）]*|\.(?=\s)")
_CLAUSE = re.compile(r"[，、；：,;:]|\s")
_PROMPTS = ("prompt", "instruction", "question", "问题", "提问", "问", "query", "user", "上联")
_ANSWERS = ("response", "output", "answer", "completion", "回答", "答案", "答", "reply", "assistant", "下联")
_LETTERS, _VARIED = 12, 0.9  # mean characters of a plain text at the least; share of texts that are no repeats


class TextGeneration(GenerativeTask[Put, str]):
    name = "text_generation"
    input, output = Prompt(), Text(exact=True)
    metrics: ClassVar = GENERATION_METRICS
    losses: ClassVar = ("cross_entropy", "label_smoothing")
    default_model = "llama:tiny"
    quick_ms = 2000
    strength_unit: ClassVar = "bits"

    @classmethod
    def recognise(cls, table: Mapping[str, Sequence[Any]]) -> Recognition | None:
        """Two columns of texts named like question and answer, or one column of texts and nothing that repeats."""
        texts = [name for name, values in table.items() if _are_texts(values)]
        asked, answered = _named(texts, _PROMPTS), _named(table, _ANSWERS)
        if asked and answered and answered != asked and answered in texts:
            reason = tr("{question!r} holds texts and {answer!r} answers in free words.")
            return Recognition(
                input=(asked,), target=answered, confidence=0.95,
                reason=reason.format(question=asked, answer=answered),
            )  # fmt: skip
        others = [values for name, values in table.items() if name not in texts]
        if len(texts) != 1 or any(_repeat(values) for values in others):
            return None
        reason = tr("{text!r} holds texts and there is no column with answers: the model learns to go on writing.")
        return Recognition(input=(texts[0],), target="", confidence=0.4, reason=reason.format(text=texts[0]))

    def read(self, row: Row, columns: Columns, folder: Path = Path()) -> Example[Put, str]:
        """Further input columns may be empty: they are joined below the first. A list of words is a text by lines."""
        first, *others = columns.input
        row = {name: "\n".join(cell) if _is_lines(cell) else cell for name, cell in row.items()}
        if columns.target is not None:
            example = super().read(row, replace(columns, input=(first,)), folder)
            asked = example.input
            more = [str(row.get(name) or "").strip() for name in others]
            told = question("\n".join(filter(None, (asked.strip(), *more)))) if isinstance(asked, str) else asked
            return replace(example, input=told)
        whole = super().read(row, replace(columns, input=(first,), target=first), folder)
        beginning, rest = split_text(whole.target)
        return replace(whole, input=beginning, target=rest)

    def learn(self, examples: Sequence[Example[Put, str]], schema: Schema) -> Schema:
        """A template where the examples are conversations; texts to go on from need none."""
        told = any(not isinstance(e.input, str) for e in examples)
        return replace(schema, template=TURNS) if told and not schema.template else schema

    def corpus(self, examples: Iterable[Example[Put, str]]) -> Iterable[str]:
        return (self._asked(e.input, ()) + e.target for e in examples)

    def encode(
        self, inputs: Sequence[Put], processor: Processor, targets: Sequence[str] | None = None
    ) -> list[Item]:
        """Of a prompt its last `max_length` tokens. With a target: prompt and target in one, whole; where the prompt
        ends; what follows each token; and, where others are at hand, ten lines of which the first is the true one."""
        marks: tuple[str, ...] = getattr(processor, "marks", ())
        ends = cast(Writer, processor).ends
        begin = np.array(ends[:1] if not self.schema.template else (), np.int64)
        prompts = _ids(processor, [self._asked(value, marks) for value in inputs])
        prompts = [np.concatenate([begin, ids])[-self.schema.max_length :] for ids in prompts]
        if targets is None:
            return [{"input_ids": ids} for ids in prompts]
        lines = _ids(processor, [first_line(target) for target in targets])
        chosen = lines_to_rank(targets)
        items = []
        for place, (prompt, target) in enumerate(zip(prompts, _ids(processor, targets), strict=True)):
            whole = np.concatenate([prompt, target])
            labels = np.concatenate([whole[1:], ends[:1]])
            if self.schema.template:  # the question is given, not learned
                labels[: len(prompt) - 1] = IGNORED
            item = {"input_ids": whole, "prompt": np.array(len(prompt)), LABELS: labels}
            if chosen:
                item["lines"] = pad([lines[i] for i in chosen[place]], IGNORED)
            items.append(item)
        return items  # type: ignore[return-value]

    def collate(self, items: Sequence[Item]) -> Batch:
        """Padded on the right. Of what is longer than `max_length`, so much from a little before its target on."""
        cuts = [self._window(item) for item in items]
        ids = [item["input_ids"][cut] for item, cut in zip(items, cuts, strict=True)]
        batch = {"input_ids": pad(ids), "attention_mask": pad([np.ones(len(i), np.int64) for i in ids])}
        if PAST[0] in items[0]:
            cache = [item[PAST[0]] for item in items]
            batch |= {PAST[0]: pad(cache), PAST[1]: pad([np.ones(len(part), np.int64) for part in cache])}
        if LABELS in items[0]:
            batch[LABELS] = pad([item[LABELS][cut] for item, cut in zip(items, cuts, strict=True)], IGNORED)
        return batch

    def widest(self, item: Item, engine: Engine) -> Item:
        """With a cache, which is what the network gives for the item itself."""
        told = engine.run(self.collate([item]))
        return {**item, PAST[0]: told["present"][0]} if "present" in told else item

    def build(self, base: Base) -> Module:
        from luodi.models.causal import CausalLM

        return CausalLM(base.decoder())

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        """Mean over the tokens that are learned."""
        from luodi.models.losses import class_loss

        return class_loss(self.objective, outputs["logits"].flatten(0, 1), batch[LABELS].flatten())

    def stream(self, item: Item, engine: Engine) -> Generator[str, None, Prediction[str]]:
        draft = Draft(self.writer, self.schema.sampling)
        for _ in write([draft], engine, self.collate([self._opening(item)])):
            yield draft.piece
        return draft.prediction()

    def predict(self, items: Sequence[Item], engine: Engine) -> list[Prediction[str]]:
        openings = [self._opening(item) for item in items]
        drafts = [Draft(self.writer, self.schema.sampling) for _ in items]
        sizes = [len(opening["input_ids"]) + self.schema.sampling.max_new_tokens for opening in openings]
        for places in batches_by_length(sizes, budget=_POSITIONS):
            for _ in write([drafts[p] for p in places], engine, self.collate([openings[p] for p in places])):
                pass
        return [draft.prediction() for draft in drafts]

    def examine(self, items: Sequence[Item], engine: Engine, metrics: Sequence[Metric]) -> list[Prediction[str]]:
        """Bits of the truth; its rank among ten lines and the model's own answer only where a metric asks for them.
        Where none asks for the answer, `value` is the one token that the model would write first."""
        asked = {metric.name for metric in metrics}
        task = self if "chrf" in asked else self.with_sampling(replace(self.schema.sampling, max_new_tokens=1))
        answers = task.predict(items, engine)
        starts = [int(item["prompt"]) for item in items]
        wholes = [np.concatenate([item["input_ids"], item[LABELS][-1:]]) for item in items]
        bits = self._bits(engine, wholes, starts)
        found = [{BITS: float(told.sum())} for told in bits]
        if NEXT_LINE in asked:
            for told, right in zip(found, self._ranks(items, engine), strict=True):
                told.update({} if right is None else {NEXT_LINE: right})
        return [replace(answer, examined=told) for answer, told in zip(answers, found, strict=True)]

    def strength(self, inputs: Sequence[Put], answer: Prediction[str], processor: Processor, engine: Engine) -> Floats:
        """Bits of the answer after each input, turned round: -20 is a likelier answer than -30."""
        items = self.encode(inputs, processor, [answer.value] * len(inputs))
        wholes = [np.concatenate([item["input_ids"], item[LABELS][-1:]]) for item in items]
        found = self._bits(engine, wholes, [int(item["prompt"]) for item in items])
        return np.array([-float(bits.sum()) for bits in found])

    def baselines(self, examples: Sequence[Example[Put, str]], *, seed: int) -> Mapping[str, Baseline[Put, str]]:
        most = self.schema.sampling.max_new_tokens
        return character_models([self._asked(e.input, ()) + e.target for e in examples], self._pairs, most)

    def _pairs(self, examples: Sequence[Example[Put, str]]) -> list[tuple[str, str]]:
        return [(self._asked(e.input, ()), e.target) for e in examples]

    def _asked(self, value: Put, marks: Sequence[str]) -> str:
        """What stands before the answer. Marks of the tokenizer in a stranger's words lose their meaning."""
        if not self.schema.template:
            return _unmarked(said(value), marks)
        from luodi.backends.jinja2 import render_chat

        turns = question(value) if isinstance(value, str) else value
        return render_chat(self.schema.template, [_turn(message, marks) for message in turns])

    def _opening(self, item: Item) -> Item:
        """The prompt alone, cut from the left so that the answer has room."""
        ids = item["input_ids"][: int(item["prompt"])] if "prompt" in item else item["input_ids"]
        longest = self.schema.max_length
        keep = max(longest - self.schema.sampling.max_new_tokens, longest // 2, 1)
        return {"input_ids": ids[-keep:]}

    def _window(self, item: Item) -> slice:
        size, longest = len(item["input_ids"]), self.schema.max_length
        if size <= longest or "prompt" not in item:
            return slice(0, longest)
        start = max(0, min(int(item["prompt"]) - longest // 2, size - longest))
        return slice(start, start + longest)

    def _bits(self, engine: Engine, wholes: Sequence[Array], starts: Sequence[int]) -> list[Array]:
        return bits_of(engine, self.collate, wholes, starts, self.schema.max_length)

    def _ranks(self, items: Sequence[Item], engine: Engine) -> list[float | None]:
        """1 where of ten lines the true one gains most by the prompt, 0 where another does, None where there are not
        ten (`models/likelihood.py` says why not the likeliest)."""
        asked = [i for i, item in enumerate(items) if "lines" in item]
        prompts = [items[i]["input_ids"][: int(items[i]["prompt"])] for i in asked]
        lines = [line[line != IGNORED] for i in asked for line in items[i]["lines"]]
        places: dict[bytes, int] = {}
        own = [places.setdefault(line.tobytes(), len(places)) for line in lines]  # many stand among several tens
        begin = np.array(self.writer.ends[:1], np.int64)
        different = [np.concatenate([begin, np.frombuffer(line, np.int64)]) for line in places]
        after = [np.concatenate([prompts[n // NUM_LINES], line]) for n, line in enumerate(lines)]
        alone = self._bits(engine, different, [1] * len(different))
        told = self._bits(engine, after, [len(prompts[n // NUM_LINES]) for n in range(len(lines))])
        gains = np.array([alone[place].sum() - bits.sum() for place, bits in zip(own, told, strict=True)])
        ranks: list[float | None] = [None] * len(items)
        for i, ten in zip(asked, gains.reshape(-1, NUM_LINES), strict=True):
            ranks[i] = float(ten[0] > ten[1:].max())
        return ranks


def split_text(text: str) -> tuple[str, str]:
    """Beginning and rest: after the first line break or sentence end that has something behind it; else after the
    first comma or space. Raises DataError where nothing can be cut."""
    text = text.strip()
    for pattern in (_SENTENCE, _CLAUSE):
        for match in pattern.finditer(text):
            if 0 < match.end() < len(text):
                return text[: match.end()], text[match.end() :]
    message = tr("The text is too short to be cut into a beginning and what follows it.")
    raise DataError(message, code="data.short_text")


def _is_lines(cell: Any) -> bool:
    return isinstance(cell, list) and bool(cell) and all(isinstance(line, str) for line in cell)


def _turn(message: Message, marks: Sequence[str]) -> dict[str, str]:
    return {"role": message.role, "content": _unmarked(message.content, marks)}


def _unmarked(text: str, marks: Sequence[str]) -> str:
    """A space in the middle of each: "<|im_end|>" in a question must not end it."""
    for mark in marks:
        text = text.replace(mark, f"{mark[:1]} {mark[1:]}")
    return text


def _ids(processor: Processor, texts: Sequence[str]) -> list[Array]:
    return [item["input_ids"] for item in processor.encode(texts)]


def _are_texts(values: Sequence[Any]) -> bool:
    """Long enough, mostly letters, hardly any twice."""
    told = ["\n".join(v) if _is_lines(v) else v for v in values]
    cells = [v.strip() for v in told if isinstance(v, str) and v.strip()]
    if len(cells) < max(2, 0.5 * len(values)) or len(set(cells)) < _VARIED * len(cells):
        return False
    letters = np.mean([sum(map(str.isalpha, cell)) / len(cell) for cell in cells[:1000]])
    lengths = [len(cell) for cell in cells]
    return bool(np.mean(lengths) >= _LETTERS and letters >= 0.5 and max(lengths) > min(lengths))


def _repeat(values: Sequence[Any]) -> bool:
    """Values that come again and differ: somebody's answers. One value in all rows (a file's name) is none."""
    told = [str(v).strip() for v in values if v is not None and str(v).strip()]
    return 1 < len(set(told)) <= 0.5 * len(told)


def _named(names: Iterable[str], known: Sequence[str]) -> str:
    """The first of `names` whose name says so."""
    words = {name: set(re.split(r"[\W_\d]+", name.casefold())) for name in names}
    return next((name for word in known for name, parts in words.items() if word in parts), "")
