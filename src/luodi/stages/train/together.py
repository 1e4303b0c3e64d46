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
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from luodi import errors
from luodi.core.machine import num_threads
from luodi.core.progress import say
from luodi.core.stopping import Stopped, finishing, stop_asked, stop_if_asked, stopped_by_signals
from luodi.core.store import write_atomically
from luodi.errors import ConfigError, LuodiError, ResourceError
from luodi.messages import language, tr
from luodi.stages.train.config import COMPARING, TrainSettings, check_workers
from luodi.stages.train.launched import num_launched, summon
from luodi.stages.train.precision import choose_device
from luodi.stages.train.team import LONGEST_WAIT, Crowded, Team

SAID, STOP, FAILED, CROWDED = "said.jsonl", "stop", "failed.json", "crowded.json"
MOST = "most.json"
"""How many examples a member takes at once; kept, unlike what the others hold, for every resume."""
_HEARD_EVERY_S = 0.2
J = TypeVar("J")
_log = logging.getLogger("luodi")


@dataclass(frozen=True, kw_only=True, slots=True)
class Members:
    count: int
    is_sharded: bool
    device: str
    cluster: Literal["local", "ray", "launched"]
    """launched: this process and others were started as a team, and this one leads it."""

    @property
    def on_graphics(self) -> bool:
        return choose_device(self.device) == "cuda"


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
    """Not said how many: all that were started together; else one for each graphics processor, where those are used and
    a batch can be shared. Raises ConfigError where something else was started than is said."""
    launched = num_launched()
    if launched:
        _check_launched(launched, settings)
    can_share = choose_device(settings.device) == "cuda" and settings.loss not in COMPARING
    usual = max(1, torch.cuda.device_count()) if can_share else 1
    return Members(
        count=launched or settings.workers or usual, is_sharded=settings.sharding == "full", device=settings.device,
        cluster="launched" if launched else settings.cluster,
    )  # fmt: skip


def _check_launched(count: int, settings: TrainSettings) -> None:
    if settings.workers not in (None, count) or settings.cluster != "local":
        message = tr("{count} processes were started to learn together; train.workers or train.cluster says otherwise.")
        hint = tr("Leave train.workers and train.cluster out.")
        raise ConfigError(message.format(count=count), code="config.workers", hint=hint)
    check_workers(count, settings.loss)


def learn_together(work: Callable[[Team, J], object], job: J, folder: Path, members: Members) -> None:
    """Calls `work(team, job)` in each member and comes back when all are done. Raises what a member has raised, and
    Stopped where that was asked for. Where one lacks memory all of them begin again with half as many examples."""
    while True:
        try:
            return _learn_together(work, job, folder, members)
        except Crowded as error:
            said = tr("Memory does not suffice for {n} examples at once: the batch is halved.").format(n=error.examples)
            if members.cluster == "launched":  # only who started them can do so anew
                hint = tr("The same command goes on so; torchrun --max-restarts=3 gives it by itself.")
                raise ResourceError(said, code="train.crowded", hint=hint) from error
            say(said)


def _learn_together(work: Callable[[Team, J], object], job: J, folder: Path, members: Members) -> None:
    _tidy(folder)
    try:
        if members.cluster == "launched":
            summon(_follower, (work, job, folder.resolve(), members, language()))
            with finishing():  # who ends all of them does it to this one as well, when another one has failed
                _work(work, job, folder, members)
        else:
            _start_and_hear(work, job, folder, members)
    except LuodiError:
        raise
    except Exception as error:
        if told := _failure(folder):
            raise told from error
        stop_if_asked()  # another one may have left at once
        raise
    finally:
        _tidy(folder)


def _start_and_hear(work: Callable[[Team, Any], object], job: Any, folder: Path, members: Members) -> None:
    over = threading.Event()
    relay = threading.Thread(target=_relay, args=(folder, over), daemon=True)
    with finishing():  # the members save what they have, and leave
        relay.start()
        try:
            _start(work, job, folder, members)
        finally:
            over.set()
            relay.join()


def _tidy(folder: Path) -> None:
    for name in (SAID, STOP, FAILED, CROWDED):
        (folder / name).unlink(missing_ok=True)


def is_told_to_stop(folder: Path) -> bool:
    return (folder / STOP).exists()


def _start(work: Callable[[Team, Any], object], job: Any, folder: Path, members: Members) -> None:
    if members.cluster == "ray":
        from luodi.backends import ray

        notes = folder.resolve() / "ray"
        workers = ray.Workers(count=members.count, folder=notes, on_graphics=members.on_graphics)
        try:
            ray.run_workers(_member, (work, job, folder.resolve(), members, language()), workers)
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
    if members.on_graphics:
        torch.cuda.set_device(rank % torch.cuda.device_count())
    os.environ["OMP_NUM_THREADS"] = str(max(1, num_threads(int(os.environ.get("OMP_NUM_THREADS", 0))) // members.count))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # nothing of this is for other machines
    dist.init_process_group(
        "nccl" if members.on_graphics else "gloo", init_method=meeting.as_uri(), rank=rank, world_size=members.count,
        timeout=LONGEST_WAIT,
    )  # fmt: skip
    try:
        _member(work, job, folder, members, words)
    finally:
        dist.destroy_process_group()


def _member(work: Callable[[Team, Any], object], job: Any, folder: Path, members: Members, words: str) -> None:
    """Inside a process group, whoever has made it."""
    speaks = dist.get_rank() == 0
    with _spoken(folder / SAID if speaks else None), contextlib.suppress(Stopped):
        _follower(work, job, folder, members, words)


def _follower(work: Callable[[Team, Any], object], job: Any, folder: Path, members: Members, words: str) -> None:
    """The first one speaks for itself."""
    os.environ["LUODI_LANG"] = words
    with stopped_by_signals():
        _work(work, job, folder, members)


def _work(work: Callable[[Team, Any], object], job: Any, folder: Path, members: Members) -> None:
    """Who fails leaves the reason in the folder."""
    most = int((folder / MOST).read_text()) if (folder / MOST).is_file() else None
    team = Team(
        rank=dist.get_rank(), size=dist.get_world_size(), is_sharded=members.is_sharded, most=most,
        device="cuda" if members.on_graphics else "cpu",
    )  # fmt: skip
    try:
        work(team, job)
    except LuodiError as error:
        told = Failure(kind=type(error).__name__, message=str(error.message), code=error.code, hint=str(error.hint))
        write_atomically(folder / FAILED, msgspec.json.encode(told))
        raise
    except Crowded as error:
        write_atomically(folder / MOST, str((error.examples + 1) // 2))
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


def _failure(folder: Path) -> LuodiError | Crowded | None:
    if (folder / CROWDED).is_file():
        return Crowded(int((folder / CROWDED).read_text()))
    if not (folder / FAILED).is_file():
        return None
    told = msgspec.json.decode((folder / FAILED).read_bytes(), type=Failure)
    kind: type[LuodiError] = getattr(errors, told.kind)
    return kind(told.message, code=told.code, hint=told.hint)
