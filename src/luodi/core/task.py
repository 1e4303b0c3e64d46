"""What depends on the question asked. A new task is one file in `tasks/`; the folder is the registry.

Two kinds, told apart by type. A `OnePassTask` is answered by one forward pass that any engine can run,
then `decode`. A `GenerativeTask` runs a decoding loop and can stream. Stages call `predict` and never ask.

No torch is imported by a task file's module level: reading, collating, decoding and metrics work on
numpy, so that a service needs none; `build` and `loss` import torch inside.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, cast, runtime_checkable

import numpy as np

from luodi.core.batching import batches_by_length, item_size
from luodi.core.measure import Metric
from luodi.core.modality import Codec, Modality
from luodi.core.sampling import Sampling
from luodi.core.types import Array, Batch, Columns, Example, Floats, Item, Prediction, Row, X, Y
from luodi.errors import ConfigError, DataError, InputError
from luodi.messages import tr

if TYPE_CHECKING:  # the type only: core works without torch installed
    from torch import Tensor
    from torch.nn import Module


LABELS = "labels"
"""Key of an item and of a batch under which the right answer stands, where it is known. No network reads it."""
AMOUNT = "units"
"""The `strength_unit` of answers that are numbers: they are raised and lowered, not given more or less strongly."""
IGNORED = -100
"""A label that no loss counts (torch's own convention): padding, or an answer that training never showed."""

Baseline = Callable[[Sequence[Example[X, Y]]], list[Prediction[Y]]]
"""A simple model. It gets whole examples, since some metrics ask how likely it finds the truth; it must not answer by
looking at it."""


@runtime_checkable
class Processor(Protocol):
    """Turns raw inputs into a model's numbers: a tokenizer, an image resizer, a filter bank."""

    def encode(self, parts: Sequence[Any]) -> list[Item]:
        """One item for each part."""

    @property
    def network(self) -> Mapping[str, Any]:
        """What the configuration of a network that reads its items must say: {"vocab_size": 8000}."""

    def save(self, folder: Path) -> None:
        """Writes all that `open_processor` of the same backend needs; no pickle."""


class Writer(Processor, Protocol):
    """A processor that also goes the other way: what a generative task writes with."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these tokens; bytes that are no whole character become U+FFFD."""

    @property
    def ends(self) -> tuple[int, ...]:
        """Tokens that end an answer, the one to train with first."""


class Engine(Protocol):
    """Runs a forward pass: torch, ONNX Runtime, OpenVINO. Arrays in, arrays out. Takes of a batch what its network
    reads and leaves the rest."""

    def run(self, batch: Batch) -> Mapping[str, np.ndarray[Any, Any]]: ...


class Base(Protocol):
    """Where weights and tokenizer come from (`models/source.py`): packaged, hub, folder, or from scratch."""

    @property
    def name(self) -> str: ...

    @property
    def is_pretrained(self) -> bool: ...

    @property
    def config(self) -> Mapping[str, Any]:
        """What sets the same network up again, without its weights."""

    def processor(self, corpus: Iterable[Any]) -> Processor:
        """The base's own; one fitted to `corpus` where the base starts from random weights."""

    def fitted(self, processor: Processor) -> Base:
        """The base made to read what this processor gives."""

    def encoder(self) -> Module:
        """Inputs to the states of its last layer."""

    def decoder(self) -> Module:
        """Tokens to the logits of the next ones (a causal language model)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """What training makes small, by its name in `models/losses.py`."""

    name: str
    smoothing: float = 0.1
    """How much of each label is spread over all classes (Szegedy et al. 2016, arXiv:1512.00567)."""
    gamma: float = 2.0
    """Of the focal loss (Lin et al. 2017, arXiv:1708.02002)."""
    weights: tuple[float, ...] = ()
    """Of each class, in the order of the labels' numbers."""
    delta: float = 1.0
    """Of Huber's loss (1964): errors above it, in spreads of the training rows' answers, count as they are."""
    contrast: float = 0.9
    closeness: float = 0.3
    """Share, beside cross-entropy, and temperature of the contrastive loss (Gunel et al. 2021, arXiv:2011.01403)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schema:
    """What a task learned about its answers from the training rows. Travels inside the Bundle."""

    labels: tuple[str, ...] = ()
    max_length: int = 256
    """Longest input, in the processor's units; longer ones are cut. Where inputs are of one size, it says nothing."""
    ngrams: int = 0
    """Hash buckets of the wide part; 0 where there is none."""
    mirrors: bool = False
    """Whether a picture and its mirror image have one answer, as the training rows have it."""
    middle: float = 0.0
    """Mean of answers that are numbers; a network's output is counted from it, in spreads."""
    spread: float = 1.0
    """Their standard deviation."""
    threshold: float | None = None
    """Smallest probability for the second label of two; chosen on validation. None: the larger one is taken."""
    temperature: float = 1.0
    """What logits are divided by, so that confidences are true; chosen on validation."""
    objective: Objective | None = None
    """What it was trained by, where that is not the task's own."""
    template: str = ""
    """Prompt or chat template (jinja2) of generative tasks."""
    sampling: Sampling = field(default_factory=Sampling)
    """How generative tasks write where a request says nothing else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recognition:
    """A task saying of a table: these columns could be mine."""

    input: tuple[str, ...]
    target: str
    confidence: float
    """0 to 1; the surest task is taken."""
    reason: str
    """One or two sentences for the user."""


class Task(ABC, Generic[X, Y]):
    """A question. The constructor only stores; `learn` gives the same question with its answers known."""

    name: ClassVar[str]  # equals the file's name; a test holds it to that
    input: ClassVar[Modality[Any]]
    output: ClassVar[Codec[Any]]
    metrics: ClassVar[tuple[Metric, ...]]  # the first one decides
    default_model: ClassVar[str] = "e5-small"  # what `model: auto` means
    default_length: ClassVar[int] = 128  # of `schema.max_length`
    default_epochs: ClassVar[int] = 3  # from pretrained weights
    default_frozen: ClassVar[float] = 0.5  # share of a pretrained encoder's layers that a CPU leaves as they are
    losses: ClassVar[tuple[str, ...]] = ()  # those of models/losses.py that may be chosen, its own first
    strength_unit: ClassVar[str] = ""  # of `strength`; nothing where it is a probability
    quick_ms: ClassVar[int] = 50  # an answer that nobody waits for: the limit that `luodi new` proposes

    def __init__(self, schema: Schema | None = None, processor: Processor | None = None) -> None:
        self.schema = schema or Schema()
        self.processor = processor

    @property
    def objective(self) -> Objective:
        """The chosen one, or the task's own. For tasks that have `losses`."""
        return self.schema.objective or Objective(name=self.losses[0])

    def with_processor(self, processor: Processor) -> Self:
        """The same task, able to turn numbers back into what people read. A Bundle's task has its processor."""
        return type(self)(self.schema, processor)

    @classmethod
    def recognise(cls, table: Mapping[str, Sequence[Any]]) -> Recognition | None:
        """Which columns (name to values, all of one length) this task could work on; None where none could."""
        return None

    def read(self, row: Row, columns: Columns, folder: Path = Path()) -> Example[X, Y]:
        """Cells may name files in `folder`. Raises DataError where one is missing or is not of the kind."""
        cells = [_cell(row, name) for name in columns.input]
        return Example(
            id=_word(row, columns.id),
            input=self.input.load(cells[0] if len(cells) == 1 else cells, folder),
            target=self.output.load(_cell(row, columns.target), folder),
            group=_word(row, columns.group),
        )

    @abstractmethod
    def learn(self, examples: Sequence[Example[X, Y]], schema: Schema) -> Schema:
        """The answer space seen in training rows, with `schema`'s other fields kept."""

    @abstractmethod
    def corpus(self, examples: Iterable[Example[X, Y]]) -> Iterable[Any]:
        """What a processor fitted from scratch should see: texts for a tokenizer, pictures for a scaler."""

    def make_processor(self, base: Base, examples: Iterable[Example[X, Y]]) -> Processor:
        """What reads the inputs, saved in the Bundle: the base's own; from scratch, one fitted to `corpus`."""
        return base.processor(self.corpus(examples))

    @abstractmethod
    def encode(
        self, inputs: Sequence[X], processor: Processor, targets: Sequence[Y] | None = None
    ) -> list[Item]:
        """Numbers of each input, cut to `schema.max_length` (or to windows of that size, see `collate`), and of its
        target where one is given. Done once and kept."""

    @abstractmethod
    def collate(self, items: Sequence[Item]) -> Batch:
        """One padded batch, with `labels` where the items have targets. A row for each item; several in order where one
        is longer than a network can take, which one after the other and without padding are the item again."""

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """The item as training sees it this time: a shift, a flip. As it is: the same every time."""
        return item

    def stretched(self, item: Item, length: int) -> Item:
        """Repeated or cut to `length` positions: exports are tried at sizes that no example has. An item that has but
        one size stays as it is."""
        return {name: np.resize(a, (length, *a.shape[1:])) if a.ndim else a for name, a in item.items()}

    def widest(self, item: Item, engine: Engine) -> Item:
        """The item with all that its network can be given: exports are made and tried with it. As it is: itself."""
        return item

    @abstractmethod
    def build(self, base: Base) -> Module:
        """The network: what the base gives and a head for this question."""

    def complete(
        self, model: Module, rows: Sequence[Example[X, Y]], held_back: Sequence[Example[X, Y]],
        answers: Sequence[Prediction[Y]],
    ) -> tuple[Task[X, Y], Module]:  # fmt: skip
        """What is put beside the fitted network, where the held-back rows say that it helps; `answers` are the
        network's own for them. As it is: nothing."""
        return self, model

    @abstractmethod
    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor: ...

    @abstractmethod
    def predict(self, items: Sequence[Item], engine: Engine) -> list[Prediction[Y]]:
        """Answers, in order. Targets that the items may hold are not looked at."""

    def examine(self, items: Sequence[Item], engine: Engine, metrics: Sequence[Metric]) -> list[Prediction[Y]]:
        """Answers to items with targets, and all else that these metrics ask for (`Prediction.examined`)."""
        return self.predict(items, engine)

    def strength(self, inputs: Sequence[X], answer: Prediction[Y], processor: Processor, engine: Engine) -> Floats:
        """How strongly each input gets this answer: what explanations are told in. As it is: the answer's probability;
        where answers have none, 1 where it is the same and 0 where not."""
        found = self.predict(self.encode(inputs, processor), engine)
        name = str(self.output.encode(answer.value))
        return np.array([
            p.scores.get(name, 0.0) if p.scores else float(self.is_same(p.value, answer.value)) for p in found
        ])  # fmt: skip

    def aim(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        """What gradients are taken of, for a batch whose labels are the answer to be explained: one number, higher the
        stronger the answer. As it is: the task's own loss turned round, whatever it was trained by: smoothing and the
        weights of classes are no part of the answer."""
        plain = type(self)(replace(self.schema, objective=None), self.processor)
        return -plain.loss(outputs, batch)

    def owners(self, value: X, processor: Processor) -> Array:
        """The region that each position of the value's item belongs to, -1 for none; methods that look at positions ask
        for it. As it is, for items of one size: the region that changes a position when it is hidden. Raises InputError
        where positions cannot be told apart."""
        places = range(len(self.input.regions(value)))
        first, *others = self.encode([value, *(self.input.hide(value, [i]) for i in places)], processor)
        found: Array | None = None
        for name, array in first.items():
            if not np.issubdtype(array.dtype, np.floating) or array.ndim < 2:
                continue
            found = np.full(array.shape[:2], -1, np.int64)
            for place, other in zip(places, others, strict=True):
                found[(other[name] != array).any(axis=tuple(range(2, array.ndim)))] = place
        if found is None:
            message = tr("Gradients cannot be told apart by the parts of the input in the task {task}.")
            hint = tr("Take --method occlusion or shapley.")
            raise InputError(message.format(task=self.name), code="explain.method", hint=hint)
        return found

    def is_same(self, one: Y, other: Y) -> bool:
        """Whether two answers are one to whoever reads them. As it is: equal on the wire."""
        return bool(self.output.encode(one) == self.output.encode(other))

    def slices(self, example: Example[X, Y]) -> Mapping[str, str]:
        """Where an example belongs when scores are looked at by parts."""
        return self.input.slices(example.input)

    def baselines(self, examples: Sequence[Example[X, Y]], *, seed: int) -> Mapping[str, Baseline[X, Y]]:
        """Simple models that ours must beat, fitted to these examples, the plainest first. As it stands, for answers
        that are choices: the commonest one, and the modality's own classifier."""
        targets = [str(self.output.encode(e.target)) for e in examples]
        commonest, count = Counter(targets).most_common(1)[0]
        constant = Prediction(value=self.output.decode(commonest), confidence=count / len(targets))
        name, predictor = self.input.baseline([e.input for e in examples], targets, seed=seed)

        def classify(asked: Sequence[Example[X, Y]]) -> list[Prediction[Y]]:
            told = predictor([e.input for e in asked])
            return [replace(p, value=self.output.decode(p.value)) for p in told]  # type: ignore[misc]

        return {"majority": lambda asked: [constant] * len(asked), name: classify}


class OnePassTask(Task[X, Y]):
    """`outputs = model(**batch)`, then `decode(outputs)`."""

    @abstractmethod
    def decode(self, outputs: Mapping[str, np.ndarray[Any, Any]], items: Sequence[Item]) -> list[Prediction[Y]]:
        """Of one batch, and the items that it was made of."""

    def predict(self, items: Sequence[Item], engine: Engine) -> list[Prediction[Y]]:
        """In batches of similar length; each answer stands at its input's place."""
        asked = [{name: a for name, a in item.items() if name != LABELS} for item in items]
        answers: dict[int, Prediction[Y]] = {}
        for places in batches_by_length([item_size(i) for i in asked]):
            part = [asked[i] for i in places]
            answers.update(zip(places, self.decode(engine.run(self.collate(part)), part), strict=True))
        return [answers[i] for i in range(len(items))]


class GenerativeTask(Task[X, Y]):
    """A decoding loop. `predict` is what the stream adds up to, and repeats itself: `schema.sampling` has a seed."""

    @property
    def writer(self) -> Writer:
        """The processor that the task was given. Raises TypeError where it was given none."""
        if self.processor is None:
            raise TypeError(f"{self.name} needs its processor to write: with_processor")
        return cast(Writer, self.processor)

    def with_sampling(self, sampling: Sampling) -> Self:
        """The same task, writing otherwise."""
        return type(self)(replace(self.schema, sampling=sampling), self.processor)

    @abstractmethod
    def stream(self, item: Item, engine: Engine) -> Generator[str, None, Prediction[Y]]:
        """Pieces of the answer as they come, an empty one where a token shows nothing yet: after each piece somebody
        else may have the engine. The Prediction whose value they add up to is what the generator returns."""


def _cell(row: Row, column: str | None) -> Any:
    value = None if column is None else row.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise DataError(tr("The column {column} is empty.").format(column=column), code="data.empty_cell")
    return value


def _word(row: Row, column: str | None) -> str:
    """A cell that may be empty: rows without a group must not become one group called None."""
    value = None if column is None else row.get(column)
    return "" if value is None else str(value).strip()


def load_task(name: str, schema: Schema | None = None) -> Task[Any, Any]:
    """`name` is a file of `tasks/`, or the dotted path of a module in another installed package."""
    path = name if "." in name else f"luodi.tasks.{name}"
    if "." not in name and name not in task_names():
        message = tr("No task is called {name}; there are: {names}.")
        raise ConfigError(message.format(name=name, names=", ".join(task_names())), code="config.task")
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not path.startswith(error.name):
            raise  # the task is there, and lacks something itself
        message = tr("There is no module {path}.").format(path=path)
        hint = tr("Install its package, or put the folder above it on PYTHONPATH.")
        raise ConfigError(message, code="config.task", hint=hint) from error
    mine = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == path]
    found = [c for c in mine if issubclass(c, Task)]
    if len(found) != 1:
        message = tr("{path} must define exactly one Task; it defines {count}.")
        raise ConfigError(message.format(path=path, count=len(found)), code="config.task")
    task: Task[Any, Any] = found[0](schema)
    return task


def task_names() -> list[str]:
    folder = importlib.import_module("luodi.tasks").__path__
    return sorted(m.name for m in pkgutil.iter_modules(folder) if not m.name.startswith("_"))
