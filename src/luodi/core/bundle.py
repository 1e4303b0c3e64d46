"""The Bundle: a model with all that it needs, in one folder. It opens itself, and proves itself on opening.

    bundle.json     what it is; sealed: one changed bit anywhere, here too, and it does not open
    golden.json     64 inputs and the answers that were tested, replayed on load and over HTTP
    weights/        safetensors, ONNX or OpenVINO IR; never pickle
    processor/      the tokenizer or the like
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Generic

import msgspec

from luodi.core.batching import item_size
from luodi.core.measure import Measure, Metric
from luodi.core.progress import progress
from luodi.core.store import hash_file, hash_json, write_atomically
from luodi.core.task import Engine, Processor, Schema, Task, load_task
from luodi.core.types import Example, Prediction, X, Y
from luodi.errors import BundleError, ParityError
from luodi.messages import tr

FILE, GOLDEN = "bundle.json", "golden.json"
TORCH = "luodi.models.engine"
"""The engine whose networks can learn; named here, as nothing of it may be imported here."""
NUM_GOLDEN = 64
CHUNK = 256  # inputs between two movements of a progress bar
ALLOWED_SUFFIXES = (".safetensors", ".onnx", ".xml", ".bin", ".gguf", ".json", ".txt", ".model")


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What stands in bundle.json. `engine` and `processor` are the modules that open the two folders."""

    task: str
    schema: Schema
    engine: str
    processor: str
    name: str = ""
    network: Mapping[str, Any] = field(default_factory=dict)
    """How the network was set up, where the engine has to rebuild it (torch)."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The configuration that made it."""
    parents: tuple[str, ...] = ()
    """Identities of the data and Bundles that it was made from, oldest first."""
    made_by: tuple[str, ...] = ()
    """The verbs and transformations that made it, oldest first."""
    numbers: Mapping[str, Measure] = field(default_factory=dict)
    tolerance: float = 1e-3
    """Largest difference of a probability on replay. Engines in int8 differ more between processors."""
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Path to sha256, all files but bundle.json."""
    seal: str = ""
    """Hash of everything above."""

    @property
    def can_learn(self) -> bool:
        """Whether its network is one of floats in torch, as train leaves it. One exported or in int8 only answers."""
        return self.engine == TORCH and "torchao" not in self.network


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenPair:
    """One input and its tested answer, both as they go over the wire."""

    input: Any
    value: Any
    confidence: float | None
    scores: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """How far answers are from the golden ones."""

    n: int
    same: int
    """Answers that are equal, or whose two best scores lie within the tolerance of each other."""
    worst: float
    """Largest difference of a score."""
    tolerance: float

    @property
    def holds(self) -> bool:
        return self.same == self.n and self.worst <= self.tolerance


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle(Generic[X, Y]):
    path: Path
    manifest: Manifest
    task: Task[X, Y]
    processor: Processor
    engine: Engine
    golden: tuple[GoldenPair, ...]

    @property
    def identity(self) -> str:
        return self.manifest.seal

    @property
    def size_bytes(self) -> int:
        """All that has to be shipped."""
        return sum((self.path / name).stat().st_size for name in (*self.manifest.files, FILE))

    def predict(self, inputs: Sequence[X]) -> list[Prediction[Y]]:
        return self.task.predict(self.task.encode(inputs, self.processor), self.engine)

    def examine(
        self, examples: Sequence[Example[X, Y]], metrics: Sequence[Metric], what: str
    ) -> list[Prediction[Y]]:
        """What scores are computed from. In chunks of similar size, so that the bar called `what` moves."""
        inputs, targets = [e.input for e in examples], [e.target for e in examples]
        items = self.task.encode(inputs, self.processor, targets)
        order = sorted(range(len(items)), key=lambda i: item_size(items[i]))
        found: dict[int, Prediction[Y]] = {}
        for start in range(0, len(order), CHUNK):
            places = order[start : start + CHUNK]
            answers = self.task.examine([items[i] for i in places], self.engine, metrics)
            found.update(zip(places, answers, strict=True))
            progress(what, len(found), len(items))
        return [found[i] for i in range(len(items))]

    def replay(self) -> Parity:
        """Answer the golden inputs again."""
        answers = self.predict([self.task.input.decode(pair.input) for pair in self.golden])
        return self.held_to(answers_on_wire(self.task, answers))

    def held_to(self, answers: Sequence[GoldenPair]) -> Parity:
        """Answers to the golden inputs, from wherever they come."""
        return compare(self.golden, answers, self.manifest.tolerance, self.manifest.schema.spread)


def open_bundle(folder: Path, *, replay: bool = True, threads: int | None = None) -> Bundle[Any, Any]:
    """Checked, opened and replayed. BundleError where a bit differs, ParityError where an answer does."""
    manifest = read_manifest(folder)
    _check_files(folder, manifest)
    task = load_task(manifest.task, manifest.schema)
    processor = _part(manifest, manifest.processor).open_processor(folder / "processor")
    engine = _part(manifest, manifest.engine).open_engine(folder / "weights", task, manifest.network, threads)
    pairs = msgspec.json.decode((folder / GOLDEN).read_bytes(), type=tuple[GoldenPair, ...])
    bundle: Bundle[Any, Any] = Bundle(
        path=folder, manifest=manifest, task=task.with_processor(processor), processor=processor, engine=engine,
        golden=pairs,
    )
    if replay:
        require_parity(bundle.replay(), str(folder))
    return bundle


def read_manifest(folder: Path) -> Manifest:
    """Without opening the model. Raises BundleError where it is missing or its seal is broken."""
    path = folder / FILE
    try:
        written = path.read_bytes()
        told = msgspec.json.decode(written, type=dict[str, Any])
        manifest = msgspec.convert(told, Manifest)
    except OSError as error:
        message = tr("{folder} is not a Bundle: it has no {file}.").format(folder=folder, file=FILE)
        raise BundleError(message, code="bundle.missing") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _altered(path) from error
    # What was written is judged, not what this version makes of it: an older Bundle lacks fields that came later.
    if manifest.seal != _seal(told) or written != _written(told):
        raise _altered(path)
    unknown = _first_unknown(told, msgspec.to_builtins(manifest))
    if unknown:
        message = tr("{folder} was made by a newer version: its {key} is not known here.")
        hint = tr("Install a newer luodi.")
        raise BundleError(message.format(folder=folder, key=unknown), code="bundle.newer", hint=hint)
    return manifest


def seal_bundle(folder: Path, manifest: Manifest, golden: Sequence[GoldenPair]) -> Manifest:
    """Writes golden.json and, last, bundle.json over the files that already lie in `folder`."""
    write_atomically(folder / GOLDEN, msgspec.json.encode(list(golden)))
    found = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != FILE)
    files = {p.relative_to(folder).as_posix(): hash_file(p) for p in found}
    sealed = replace(manifest, files=files)
    sealed = replace(sealed, seal=_seal(msgspec.to_builtins(sealed)))
    write_atomically(folder / FILE, _written(msgspec.to_builtins(sealed)))
    return sealed


def golden_pairs(task: Task[X, Y], inputs: Sequence[X], answers: Sequence[Prediction[Y]]) -> tuple[GoldenPair, ...]:
    wires = answers_on_wire(task, answers)
    return tuple(
        replace(wire, input=task.input.encode(x)) for x, wire in zip(inputs, wires, strict=True)
    )


def answers_on_wire(task: Task[X, Y], answers: Sequence[Prediction[Y]]) -> list[GoldenPair]:
    """Answers in the form that goldens have and the service sends, with no input."""
    return [
        GoldenPair(input=None, value=task.output.encode(a.value), confidence=a.confidence, scores=a.scores)
        for a in answers
    ]


def compare(
    golden: Sequence[GoldenPair], answers: Sequence[GoldenPair], tolerance: float, spread: float = 1.0
) -> Parity:
    """Equal answers, and scores within the tolerance; a tie within the tolerance may fall either way. Answers that are
    numbers are scores too: their differences are told in `spread`s (`Schema.spread`)."""
    gaps = [_gap(g, a, spread) for g, a in zip(golden, answers, strict=True)]
    same = sum(
        _plain(g.value) == _plain(a.value) or _is_tie(g, tolerance) or (_are_numbers(g, a) and gap <= tolerance)
        for g, a, gap in zip(golden, answers, gaps, strict=True)
    )
    return Parity(n=len(golden), same=same, worst=max(gaps, default=0.0), tolerance=tolerance)


def require_parity(parity: Parity, what: str) -> None:
    if parity.holds:
        return
    message = tr(
        "{what} does not answer as it was tested: {same} of {n} golden answers are the same, "
        "the largest difference is {worst:.4f} and {tolerance:.4f} is allowed."
    ).format(what=what, same=parity.same, n=parity.n, worst=parity.worst, tolerance=parity.tolerance)
    raise ParityError(message, code="bundle.parity", hint=tr("It is not opened."))


def _are_numbers(golden: GoldenPair, answer: GoldenPair) -> bool:
    return isinstance(golden.value, float) and isinstance(answer.value, (int, float))


def _gap(golden: GoldenPair, answer: GoldenPair, spread: float) -> float:
    if _are_numbers(golden, answer):
        return float(abs(golden.value - answer.value)) / spread
    pairs = [(p, answer.scores.get(label, 0.0)) for label, p in golden.scores.items()]
    if not pairs and golden.confidence is not None:
        pairs = [(golden.confidence, answer.confidence or 0.0)]
    return max((abs(a - b) for a, b in pairs), default=0.0)


def _is_tie(golden: GoldenPair, tolerance: float) -> bool:
    best = sorted(golden.scores.values(), reverse=True)[:2]
    return len(best) == 2 and best[0] - best[1] <= 2 * tolerance


def _plain(value: Any) -> Any:
    """Tuples and lists are one thing on the wire."""
    return msgspec.to_builtins(value) if not isinstance(value, (str, int, float)) else value


def _part(manifest: Manifest, module: str) -> ModuleType:
    """A Bundle may name modules of Luodi, or of the package that its task comes from; nothing else."""
    owners = {"luodi", manifest.task.partition(".")[0] if "." in manifest.task else "luodi"}
    if module.partition(".")[0] not in owners:
        message = tr("The Bundle asks for the module {module}, which it may not.").format(module=module)
        raise BundleError(message, code="bundle.module")
    return importlib.import_module(module)


def _check_files(folder: Path, manifest: Manifest) -> None:
    """All there, nothing else there, every one as it was, none of a kind that can carry code."""
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {FILE}
    for name in sorted(found ^ set(manifest.files)):
        raise _altered(folder / name)
    for name, stamp in manifest.files.items():
        if not name.endswith(ALLOWED_SUFFIXES):
            message = tr("{file} is of a kind that a Bundle may not hold.").format(file=name)
            raise BundleError(message, code="bundle.kind")
        if hash_file(folder / name) != stamp:
            raise _altered(folder / name)


def _altered(path: Path) -> BundleError:
    message = tr("{path} is not as it was sealed: altered, truncated, added or missing.").format(path=path)
    return BundleError(message, code="bundle.altered", hint=tr("Take the Bundle anew from where it was made."))


def _written(told: Mapping[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(told), indent=1)


def _seal(told: Mapping[str, Any]) -> str:
    return hash_json(json.loads(json.dumps({**told, "seal": ""})))


def _first_unknown(told: Any, known: Any) -> str:
    """The first key that was told and is not known, with those above it; "" where there is none."""
    if isinstance(told, dict) and isinstance(known, dict):
        for key, value in told.items():
            below = _first_unknown(value, known[key]) if key in known else " "
            if below:
                return f"{key}.{below}".rstrip(". ")
    return ""
