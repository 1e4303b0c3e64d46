"""Processes that somebody else has started to learn together, torchrun on one machine or a cluster's manager on many:
the first of them runs the command, the others wait for what it has them do.

    torchrun --nproc-per-node 2 -m luodi train reviews

They meet by the variables RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT (`env://` of torch.distributed).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from luodi.core.stopping import Stopped
from luodi.errors import InputError, LuodiError
from luodi.stages.train.team import LONGEST_WAIT, Crowded

MEETING = timedelta(minutes=10)
"""For the others to come."""
Work = Callable[..., None]
Call = tuple[Work, tuple[Any, ...]] | None
"""None: the command has ended."""
_log = logging.getLogger("luodi.train")


@dataclass(slots=True)
class _Launched:
    """A process is started once, and so belongs to one team."""

    count: int = 0
    """Processes that this one leads."""


_launched = _Launched()


def lead(command: Callable[[], int]) -> int:
    """The command's exit code in the first process; in each of the others, when it has ended, 0. Where one of them
    meets an error none of them comes back: their processes end."""
    store, rank, size = next(rendezvous("env://", timeout=MEETING))
    backend = "gloo"
    if torch.cuda.is_available():
        devices = torch.cuda.device_count()
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)) % devices)
        if int(os.environ.get("LOCAL_WORLD_SIZE", 1)) <= devices:  # NCCL wants one for each
            backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=LONGEST_WAIT)
    if rank == 0:
        _launched.count = size
    code = _led(command) if rank == 0 else _follow()
    if code < InputError.exit_code:
        dist.destroy_process_group()
        return code
    # To take leave of the others is to wait for them, who may wait for this one; so they see that it is gone.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def num_launched() -> int:
    """Processes that were started together, where this one leads them; else 0."""
    return _launched.count


def summon(work: Work, arguments: tuple[Any, ...]) -> None:
    """Has each of the others call `work(*arguments)`. All hold the same code, and trust one another."""
    _broadcast([(work, arguments)])


def _led(command: Callable[[], int]) -> int:
    code = command()
    if code < InputError.exit_code:
        try:
            _broadcast([None])
        except RuntimeError as error:  # they were stopped meanwhile, and what was asked for is done
            _log.debug("the others are gone", exc_info=error)
    return code


def _follow() -> int:
    """Who only waits has nothing to save, and may be stopped at once."""
    for name in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(name) != signal.SIG_IGN:
            signal.signal(name, signal.SIG_DFL)
    try:
        while called := _called():
            _do(*called)
    except Stopped as stop:
        return stop.exit_code
    except (LuodiError, Crowded):  # the first one tells of it
        return InputError.exit_code
    except RuntimeError as error:
        if "by peer" not in str(error):  # a connection that was closed; who closed it tells why
            raise
        return InputError.exit_code
    return 0


def _do(work: Work, arguments: tuple[Any, ...]) -> None:
    try:
        work(*arguments)
    except LuodiError as error:
        if error.code != "train.nan":  # of the sum over all: the first one sees it too, and may try something else
            raise


def _called() -> Call:
    told: list[Call] = [None]
    try:
        _broadcast(told)
    except RuntimeError as error:  # the first one has ended with an error, and told of it
        _log.debug("the first process is gone", exc_info=error)
    return told[0]


def _broadcast(told: list[Call]) -> None:
    dist.broadcast_object_list(told, src=0, device=torch.device("cpu"))
