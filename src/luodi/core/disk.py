"""The disk: enough of it before the first step, and one clear line when it is full all the same."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from luodi.errors import LuodiError, ResourceError
from luodi.messages import tr

_NUMBERS = {errno.ENOSPC: "full", errno.EDQUOT: "quota", errno.EFBIG: "limit"}
_NUMBERS |= {112: "full"} if os.name == "nt" else {}  # Windows' own number, as Rust tells it
# Libraries that are not Python raise errors of their own, which name the number in their text: safetensors
# ("... No space left on device (os error 28)") and tokenizers do. OpenVINO's stream says no more than that it failed.
_TOLD = re.compile(r"\(os error (\d+)\)|\[[Ee]rrno (\d+)\]")
_STREAM = "iostream error"


def need_disk(folder: Path, needed_bytes: int) -> None:
    """Refuses before the first step what would fill the disk later."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        message = tr("{folder} has {free} free; this needs {needed}.")
        message = message.format(folder=folder, free=tell_size(free), needed=tell_size(needed_bytes))
        raise ResourceError(message, code="disk.full", hint=tr("Free some space, or work in another folder."))


def reserve(file: Path, count: int) -> None:
    """A file of so many zeros that has its place on the disk: a hole in a mapped file would end the process (SIGBUS)
    where the disk is full by the time it is filled. Raises OSError."""
    with file.open("wb") as handle:
        if hasattr(os, "posix_fallocate") and count:  # Linux; elsewhere the place is only promised
            os.posix_fallocate(handle.fileno(), 0, count)
        handle.truncate(count)


def is_full(error: BaseException) -> bool:
    """Whether it says, itself or in its causes, that nothing more could be written."""
    return error.code == "disk.full" if isinstance(error, LuodiError) else bool(_kind(error))


@contextmanager
def told_when_full(folder: Path) -> Iterator[None]:
    """A full disk inside becomes a ResourceError that names the folder and what is free there."""
    try:
        yield
    except Exception as error:
        if isinstance(error, LuodiError) or not is_full(error):
            raise
        raise full(folder, error) from error


def full(folder: Path, error: BaseException) -> ResourceError:
    reasons = {
        "full": tr("the disk is full"), "quota": tr("your quota is used up"),
        "limit": tr("no file may grow larger there"), "stream": tr("the disk did not take it"),
    }  # fmt: skip
    message = tr("Nothing more could be written in {folder}: {reason}; {free} are free.")
    message = message.format(folder=folder, reason=reasons[_kind(error)], free=_size_free(folder))
    hint = tr("Nothing is lost: make room (`luodi runs --clean` may help), then give the same command again.")
    return ResourceError(message, code="disk.full", hint=hint)


def _kind(error: BaseException | None) -> str:
    while error is not None:
        kind = _NUMBERS.get(_number(error), "")
        if not kind and isinstance(error, RuntimeError) and _STREAM in str(error):
            kind = "stream"
        if kind:
            return kind
        error = error.__cause__ or error.__context__
    return ""


def _number(error: BaseException) -> int:
    """The system's number of an error, 0 where there is none."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = _TOLD.search(str(error)) if isinstance(error, Exception) else None
    return int(found[1] or found[2]) if found else 0


def _size_free(folder: Path) -> str:
    here = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return tell_size(shutil.disk_usage(here).free)


def tell_size(count: float) -> str:
    """3 kB, 12.5 MB, 1.4 GB: with the decimal units that disks are sold by."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
