"""Results named after what made them. Published whole or not at all; never computed twice.

    runs/
      <verb>-<key>/           a published result; its manifest.json was written last
      <verb>-<key>.work/      a result in the making: survives a kill, so that the work goes on
      .lock                   held by the process that works here

The key is a hash of the verb, its configuration, the identity of its inputs and the code's version.
Publication: every file is written in the work folder and fsynced, the manifest last, then one rename.
A kill at any point leaves either the old state or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from luodi.errors import ResourceError
from luodi.messages import tr

MANIFEST = "manifest.json"
KEY_LENGTH = 12
WORK = ".work"


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


@dataclass(frozen=True, slots=True)
class Store:
    root: Path

    def find(self, verb: str, key: str) -> Result | None:
        """The published result, or None. A folder without manifest is not one."""
        manifest = self.root / f"{verb}-{key}" / MANIFEST
        if not manifest.is_file():
            return None
        told = json.loads(manifest.read_text(encoding="utf-8"))
        return Result(path=manifest.parent, key=key, verb=verb, parents=tuple(told["parents"]))

    def make(
        self, verb: str, key: str, parents: Mapping[str, str], work: Callable[[Path], None]
    ) -> Result:
        """The published result; where there is none, `work` fills its folder, going on where it stopped."""
        with self._locked():
            found = self.find(verb, key)
            if found:
                return found
            draft = self.root / f"{verb}-{key}{WORK}"
            draft.mkdir(parents=True, exist_ok=True)
            # A kill may leave half a file aside, or a manifest that was never published.
            for stale in (*draft.rglob(".*.tmp"), draft / MANIFEST):
                stale.unlink(missing_ok=True)
            work(draft)
            self._publish(draft, self.root / f"{verb}-{key}", verb, parents)
        found = self.find(verb, key)
        assert found is not None
        return found

    def latest(self, verb: str) -> Result | None:
        """The newest published result of a verb, by the time in its manifest."""
        times = {}
        for manifest in self.root.glob(f"{verb}-*/{MANIFEST}"):
            if manifest.parent.suffix == WORK:
                continue
            told = json.loads(manifest.read_text(encoding="utf-8"))
            times[told["published"], manifest.parent.name] = manifest.parent
        if not times:
            return None
        return self.find(verb, times[max(times)].name.removeprefix(f"{verb}-"))

    def count_test_opening(self, dataset: str, verb: str) -> int:
        """Notes that the test set was looked at, and says how often it has been."""
        self.root.mkdir(parents=True, exist_ok=True)
        log = self.root / "test-openings.jsonl"
        line = json.dumps({"dataset": dataset, "verb": verb, "at": datetime.now(UTC).isoformat()})
        with log.open("a", encoding="utf-8") as handle:
            handle.write(line + "\n")
            _sync(handle)
        lines = log.read_text(encoding="utf-8").splitlines()
        return sum(json.loads(text)["dataset"] == dataset for text in lines)

    def _publish(self, draft: Path, final: Path, verb: str, parents: Mapping[str, str]) -> None:
        files = {}
        for path in sorted(p for p in draft.rglob("*") if p.is_file()):
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
                handle.seek(0)
                files[path.relative_to(draft).as_posix()] = hashlib.file_digest(handle, "sha256").hexdigest()
        told = {
            "verb": verb, "parents": list(parents.values()), "inputs": dict(parents),
            "published": datetime.now(UTC).isoformat(), "files": files,
        }  # fmt: skip
        write_atomically(draft / MANIFEST, json.dumps(told, ensure_ascii=False, indent=1))
        _sync_folder(draft)
        if final.exists():  # a folder without manifest, left by something that was not Luodi
            shutil.rmtree(final)
        os.replace(draft, final)
        _sync_folder(final.parent)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process works in a store at a time; a second one is told so instead of waiting in silence."""
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / ".lock"
        with path.open("a+") as handle:
            if not _try_lock(handle):
                message = tr("Another luodi is working in {folder}.").format(folder=self.root.parent)
                hint = tr("Wait until it is done, or stop it.")
                raise ResourceError(message, code="store.locked", hint=hint)
            yield


def write_atomically(path: Path, content: str | bytes) -> None:
    """Aside, fsync, rename: a reader sees the old file or the new one, never half of one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        with aside.open("wb") as handle:
            handle.write(data)
            _sync(handle)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def need_disk(folder: Path, needed_bytes: int) -> None:
    """Refuses before the first step what would fill the disk later."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        message = tr("{folder} has {free:.1f} GB free; this needs {needed:.1f} GB.")
        message = message.format(folder=folder, free=free / 1e9, needed=needed_bytes / 1e9)
        raise ResourceError(message, code="disk.full", hint=tr("Free some space, or work in another folder."))


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


def _try_lock(handle: IO[str]) -> bool:
    """The operating system drops the lock when the process ends, however it ends."""
    try:
        if os.name == "nt":
            import msvcrt  # the Windows name of the same thing

            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
