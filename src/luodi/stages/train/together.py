"""Starting a team, hearing what it says, and stopping it.

The members may be processes of this machine or, by Ray, of many; what they share with the one who started them is the
run's folder. There the first member writes what it has to say, and reads whether it is to stop; whoever fails leaves
the reason there. The recipe knows nothing of all this.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from luodi import errors
from luodi.core.machine import num_threads
from luodi.core.progress import say
from luodi.core.stopping import Stopped, finishing, stop_asked, stopped_by_signals
from luodi.core.store import write_atomically
from luodi.messages import language, tr
from luodi.stages.train.config import COMPARING, TrainSettings
from luodi.stages.train.precision import choose_device
from luodi.stages.train.team import Crowded, Team

SAID, STOP, FAILED, CROWDED = "said.jsonl", "stop", "failed.json", "crowded.json"
MOST = "most.json"
"""How many examples a member takes at once; kept, unlike what the others hold, for every resume."""
LONGEST_WAIT = timedelta(days=1)
"""Of one member for the others: while the first one computes what frozen layers give, or scores."""
_HEARD_EVERY_S = 0.2
J = TypeVar("J")
_log = logging.getLogger("luodi")


@dataclass(frozen=True, kw_only=True, slots=True)
class Members:
    count: int
    is_sharded: bool
    device: str
    cluster: Literal["local", "ray"]


class Said(msgspec.Struct):
    """A record of the log, as a line."""

    message: str
    bar: tuple[float, float, str] | None = None


class Failure(msgspec.Struct):
    kind: str
    message: str
    code: str
    hint: str


def members_of(settings: TrainSettings) -> Members:
    """Not said how many: one for each graphics processor, where those are used and a batch can be shared."""
    can_share = choose_device(settings.device) == "cuda" and settings.loss not in COMPARING
    usual = max(1, torch.cuda.device_count()) if can_share else 1
    return Members(
        count=settings.workers or usual, is_sharded=settings.sharding == "full", device=settings.device,
        cluster=settings.cluster,
    )  # fmt: skip


def learn_together(work: Callable[[Team, J], object], job: J, folder: Path, members: Members) -> None:
    """Calls `work(team, job)` in each member and comes back when all are done. Raises what a member has raised, and
    Stopped where that was asked for. Where one lacks memory all of them begin again with half as many examples."""
    while True:
        try:
            return _learn_together(work, job, folder, members)
        except Crowded as error:
            said = tr("Memory does not suffice for {n} examples at once: the batch is halved.")
            say(said.format(n=error.examples))
            write_atomically(folder / MOST, str((error.examples + 1) // 2))


def _learn_together(work: Callable[[Team, J], object], job: J, folder: Path, members: Members) -> None:
    _tidy(folder)
    over = threading.Event()
    relay = threading.Thread(target=_relay, args=(folder, over), daemon=True)
    with finishing():  # the members save what they have, and leave
        relay.start()
        try:
            _start(work, job, folder, members)
        except Exception as error:
            raise _failure(folder) or error from error
        finally:
            over.set()
            relay.join()
            _tidy(folder)


def _tidy(folder: Path) -> None:
    for name in (SAID, STOP, FAILED, CROWDED):
        (folder / name).unlink(missing_ok=True)


def is_told_to_stop(folder: Path) -> bool:
    return (folder / STOP).exists()


def _start(work: Callable[[Team, Any], object], job: Any, folder: Path, members: Members) -> None:
    if members.cluster == "ray":
        from luodi.backends import ray

        on_graphics = choose_device(members.device) == "cuda"
        notes = folder.resolve() / "ray"
        workers = ray.Workers(count=members.count, folder=notes, on_graphics=on_graphics)
        try:
            ray.run_workers(_member, (work, job, folder.resolve(), members.is_sharded, language()), workers)
        finally:
            shutil.rmtree(notes, ignore_errors=True)
        return
    # Its warnings are for those who wrote this: that a network uses all its weights, each time it does.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with tempfile.TemporaryDirectory(prefix="luodi-") as meeting:
        started = start_processes(  # type: ignore[no-untyped-call]
            _local_member, (work, job, folder, members, Path(meeting) / "point", language()), nprocs=members.count,
            join=False, start_method="spawn",
        )  # fmt: skip
        try:
            while not started.join(timeout=1):
                pass
        finally:
            for process in started.processes:
                process.kill()


def _local_member(
    rank: int, work: Callable[[Team, Any], object], job: Any, folder: Path, members: Members, meeting: Path, words: str
) -> None:
    backend = "gloo"
    if choose_device(members.device) == "cuda":
        backend = "nccl"
        torch.cuda.set_device(rank % torch.cuda.device_count())
    os.environ["OMP_NUM_THREADS"] = str(max(1, num_threads(int(os.environ.get("OMP_NUM_THREADS", 0))) // members.count))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # nothing of this is for other machines
    dist.init_process_group(
        backend, init_method=meeting.as_uri(), rank=rank, world_size=members.count, timeout=LONGEST_WAIT
    )
    try:
        _member(work, job, folder, members.is_sharded, words)
    finally:
        dist.destroy_process_group()


def _member(work: Callable[[Team, Any], object], job: Any, folder: Path, is_sharded: bool, words: str) -> None:
    """Inside a process group, whoever has made it."""
    os.environ["LUODI_LANG"] = words
    most = int((folder / MOST).read_text()) if (folder / MOST).is_file() else None
    team = Team(rank=dist.get_rank(), size=dist.get_world_size(), is_sharded=is_sharded, most=most)
    with _spoken(folder / SAID if team.leads else None), contextlib.suppress(Stopped), stopped_by_signals():
        try:
            work(team, job)
        except errors.LuodiError as error:
            told = Failure(kind=type(error).__name__, message=str(error.message), code=error.code, hint=str(error.hint))
            (folder / FAILED).write_bytes(msgspec.json.encode(told))
            raise
        except Crowded as error:
            write_atomically(folder / CROWDED, str(error.examples))
            raise


class _Speaker(logging.Handler):
    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def emit(self, record: logging.LogRecord) -> None:
        said = Said(message=record.getMessage(), bar=getattr(record, "bar", None))
        with self.file.open("ab") as handle:
            handle.write(msgspec.json.encode(said) + b"\n")


@contextmanager
def _spoken(file: Path | None) -> Iterator[None]:
    """Inside, what the stages say becomes lines of the file."""
    if file is None:
        yield
        return
    speaker = _Speaker(file)
    level, _log.level = _log.level, logging.INFO
    _log.addHandler(speaker)
    try:
        yield
    finally:
        _log.removeHandler(speaker)
        _log.level = level


def _relay(folder: Path, over: threading.Event) -> None:
    """Says again what the first member says, and passes a wish to stop on."""
    heard = 0
    while True:
        is_over = over.wait(_HEARD_EVERY_S)
        if stop_asked() and not is_over:
            (folder / STOP).touch()
        if (folder / SAID).is_file():
            with (folder / SAID).open("rb") as handle:
                handle.seek(heard)
                whole = handle.read().rpartition(b"\n")[0]  # the last line may still be in writing
            heard += len(whole) + bool(whole)
            for line in whole.splitlines():
                said = msgspec.json.decode(line, type=Said)
                _log.info(said.message, extra={"bar": said.bar} if said.bar else None)
        if is_over:
            return


def _failure(folder: Path) -> errors.LuodiError | Crowded | None:
    if (folder / CROWDED).is_file():
        return Crowded(int((folder / CROWDED).read_text()))
    if not (folder / FAILED).is_file():
        return None
    told = msgspec.json.decode((folder / FAILED).read_bytes(), type=Failure)
    kind: type[errors.LuodiError] = getattr(errors, told.kind)
    return kind(told.message, code=told.code, hint=told.hint)
