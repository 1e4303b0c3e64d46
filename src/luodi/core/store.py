"""Results named after what made them. Published whole or not at all; never computed twice.

    runs/
      <verb>-<key>/           a published result; its manifest.json was written last
      <verb>-<key>.work/      a result in the making: survives a kill, so that the work goes on
      .lock                   held by the process that works here, with its number and verb
      .services/              one file, held likewise, for each service that runs from a Bundle in here

The key is a hash of the verb, its configuration, the identity of its inputs and the code's version.
Publication: every file is written in the work folder and fsynced, the manifest last, then one rename.
A kill at any point leaves either the old state or the new one. Removal is one rename, too.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from luodi.core.disk import need_disk as need_disk  # where stages that write look for it
from luodi.core.disk import told_when_full
from luodi.core.lock import Holder, TakenError, held, holder_of
from luodi.errors import ResourceError
from luodi.messages import tr

MANIFEST = "manifest.json"
KEY_LENGTH = 12
WORK = ".work"
_REMOVED = ".removed-"
_SERVICES = ".services"
_OPENINGS = "test-openings.jsonl"
# What a killed writer leaves: `write_atomically`, and safetensors, which invents the end of the name.
_LEFT_OVER = (".*.tmp", ".tmp??????")
_STALE_S = 60.0
_held_here: ContextVar[frozenset[Path]] = ContextVar("luodi_held", default=frozenset())


def hash_json(value: Any) -> str:
    """Of the canonical JSON text: key order and spacing do not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A published folder."""

    path: Path
    key: str
    verb: str
    parents: tuple[str, ...]
    """Keys of the results that it was made from, and identities of what came from outside."""
    published: str
    """ISO time in UTC."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The brief and settings that it was made with."""

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True, slots=True)
class Store:
    root: Path

    def find(self, verb: str, key: str) -> Result | None:
        """The published result, or None. A folder without a whole manifest is not one."""
        return _result(self.root / f"{verb}-{key}")

    def results(self) -> list[Result]:
        """All that are published, the oldest first."""
        found = [_result(manifest.parent) for manifest in self.root.glob(f"[!.]*-*/{MANIFEST}")]
        return sorted((r for r in found if r), key=lambda r: (r.published, r.name))

    def drafts(self) -> list[Path]:
        """Results in the making, or stopped there."""
        return sorted(self.root.glob(f"[!.]*-*{WORK}"))

    def latest(self, verb: str) -> Result | None:
        """The newest published result of a verb, by the time in its manifest."""
        return next((r for r in reversed(self.results()) if r.verb == verb), None)

    def make(
        self, verb: str, key: str, parents: Mapping[str, str], work: Callable[[Path], None],
        recipe: Mapping[str, Any] | None = None,
    ) -> Result:  # fmt: skip
        """The published result; where there is none, `work` fills its folder, going on where it stopped.

        `recipe` says in words what the key says in numbers. Raises ResourceError where another process works here,
        or the disk is full.
        """
        with self.held(verb):
            found = self.find(verb, key)
            if found:
                return found
            draft = self.begin(verb, key, work)
            told = {"verb": verb, "parents": list(parents.values()), "inputs": dict(parents)}
            with told_when_full(self.root):
                self._publish(draft, self.root / f"{verb}-{key}", {**told, "recipe": recipe or {}})
        found = self.find(verb, key)
        assert found is not None
        return found

    def begin(self, verb: str, key: str, work: Callable[[Path], None]) -> Path:
        """A draft that `work` has filled as far as it went; `make` goes on from there. Raises as `make` does."""
        draft = self.root / f"{verb}-{key}{WORK}"
        with self.held(verb), told_when_full(self.root):
            draft.mkdir(parents=True, exist_ok=True)
            self.sweep()
            (draft / MANIFEST).unlink(missing_ok=True)  # written, but not published
            with _gone_where_empty(draft):
                work(draft)
        return draft

    def remove(self, folders: Iterable[Path]) -> int:
        """Removes results or drafts, each by one rename; the bytes freed. Whoever calls holds the store."""
        freed = 0
        for folder in folders:
            freed += size_of(folder)
            aside = self.root / f"{_REMOVED}{folder.name}"
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(folder, aside)
            shutil.rmtree(aside)
        return freed

    def drop(self, verb: str, key: str) -> None:
        """Removes a result, or what was in the making, where there is one. Whoever calls holds the store."""
        result = self.root / f"{verb}-{key}"
        self.remove(path for path in (result, result.with_name(result.name + WORK)) if path.is_dir())

    def sweep(self) -> int:
        """Removes what killed processes left half-written; the bytes freed. Whoever calls holds the store."""
        left = [path for pattern in _LEFT_OVER for draft in self.drafts() for path in draft.rglob(pattern)]
        left += [path for path in self.root.glob(_LEFT_OVER[0]) if _is_stale(path)]
        left += [path for path in (self.root / _SERVICES).glob("*.json") if _is_stale(path) and not holder_of(path)]
        left += self.root.glob(f"{_REMOVED}*")
        freed = 0
        for path in left:
            freed += size_of(path)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return freed

    def services(self) -> dict[str, Holder]:
        """Name of a result to the process that serves from it now."""
        found = {}
        for path in (self.root / _SERVICES).glob("*.json"):
            holder = holder_of(path)
            if holder:
                found[holder.doing] = holder
        return found

    def count_test_opening(self, dataset: str, verb: str, by: str = "") -> int:
        """Notes that the test set was looked at, and says how often it had been, this time included.

        Work that goes on after a kill looks a second time but not anew: `by`, the result in the making, counts once.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        log = self.root / _OPENINGS
        text = log.read_text(encoding="utf-8") if log.is_file() else ""
        told = [line for line in map(json.loads, text.splitlines()) if line["dataset"] == dataset]
        for count, line in enumerate(told, 1):
            if by and (line["verb"], line.get("by")) == (verb, by):
                return count
        line = {"dataset": dataset, "verb": verb, "by": by, "at": datetime.now(UTC).isoformat()}
        write_atomically(log, text + json.dumps(line) + "\n")
        return len(told) + 1

    @contextmanager
    def held(self, doing: str) -> Iterator[None]:
        """One process works in a store at a time; a second one is told so instead of waiting in silence.

        A block inside a block of the same thread holds it already. Raises ResourceError.
        """
        root = self.root.absolute()
        if root in _held_here.get():
            yield
            return
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with held(self.root / ".lock", doing):
                token = _held_here.set(_held_here.get() | {root})
                try:
                    yield
                finally:
                    _held_here.reset(token)
        except TakenError as error:
            raise _taken(self.root.parent, error.holder) from None

    def _publish(self, draft: Path, final: Path, told: Mapping[str, Any]) -> None:
        files = {}
        for path in sorted(p for p in draft.rglob("*") if p.is_file()):
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
                handle.seek(0)
                files[path.relative_to(draft).as_posix()] = hashlib.file_digest(handle, "sha256").hexdigest()
        told = {**told, "published": datetime.now(UTC).isoformat(), "files": files}
        write_atomically(draft / MANIFEST, json.dumps(told, ensure_ascii=False, indent=1, default=str))
        _sync_folder(draft)
        if final.exists():  # a folder without manifest, left by something that was not Luodi
            shutil.rmtree(final)
        os.replace(draft, final)
        _sync_folder(final.parent)


@contextmanager
def leased(bundle: Path) -> Iterator[None]:
    """While a service runs from a Bundle that lies in a store, nothing there removes it."""
    result = bundle.resolve().parent
    folder = result.parent / _SERVICES
    if not (result / MANIFEST).is_file():
        yield
        return
    try:
        folder.mkdir(exist_ok=True)
    except OSError:  # where nothing can be written, nothing can be removed either
        yield
        return
    path = folder / f"{os.getpid()}-{time.time_ns()}.json"
    try:
        with held(path, result.name):
            yield
    finally:
        path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(p.stat().st_size for p in (path, *path.rglob("*")) if p.is_file())


def write_atomically(path: Path, content: str | bytes) -> None:
    """Aside, fsync, rename: a reader sees the old file or the new one, never half of one. What a killed writer of
    the same file left aside goes."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if _is_stale(left):
            left.unlink(missing_ok=True)
    data = content.encode() if isinstance(content, str) else content
    try:
        with aside.open("wb") as handle:
            handle.write(data)
            _sync(handle)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _sync(handle: IO[Any]) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable; Windows has no such call for folders."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _gone_where_empty(draft: Path) -> Iterator[None]:
    """Work that was refused before its first step leaves nothing to go on from."""
    try:
        yield
    except BaseException:
        if not any(draft.iterdir()):
            draft.rmdir()
        raise


def _result(folder: Path) -> Result | None:
    """None where the manifest is missing or was torn, by a power failure on a disk that forgets."""
    try:
        told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    verb, _, key = folder.name.rpartition("-")
    if folder.suffix == WORK:
        return None
    return Result(
        path=folder, key=key, verb=verb, parents=tuple(told["parents"]), published=told["published"],
        recipe=told.get("recipe", {}),
    )  # fmt: skip


def _is_stale(path: Path) -> bool:
    """Its writer is gone, or would have ended long ago: a page may be written just now, which needs no lock."""
    pid = path.name.split(".")[-2]
    if os.name == "posix" and pid.isdigit() and not _is_running(int(pid)):
        return True
    try:
        return time.time() - path.stat().st_mtime > _STALE_S
    except FileNotFoundError:
        return False


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _taken(folder: Path, holder: Holder) -> ResourceError:
    message = tr("Another luodi works in {folder}: {verb}, process {pid}, since {time}.")
    message = message.format(folder=folder, verb=holder.doing, pid=holder.pid, time=holder.clock)
    hint = tr("Wait until it is done, or stop it: what it has done is kept.")
    return ResourceError(message, code="store.locked", hint=hint)
