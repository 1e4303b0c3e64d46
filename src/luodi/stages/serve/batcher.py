"""One engine, one thread, and a bounded queue before it.

A batch is whatever waits when the engine becomes free, so nobody is made to wait for company. All of the queue
lives in the event loop: no locks.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from luodi.core.types import Prediction, X, Y

T = TypeVar("T")
_log = logging.getLogger("luodi.serve")
PATIENCE_S = 5.0
_Call = tuple[Callable[[], Any], "Future[Any]"]


class QueueFull(Exception):
    """More inputs wait than may."""


class EngineFailed(Exception):
    """The model could not answer an input, even alone; `place` is its place in the request."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


class Worker:
    """Runs calls one after another on a thread of its own.

    Not a ThreadPoolExecutor: Python waits for those at its end, and a hung engine would never let the process go.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._busy_since: float | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """The thread ends after the call that it is in; one that hangs is left behind."""
        self._calls.put(None)
        self._thread.join(PATIENCE_S)

    @property
    def busy_s(self) -> float:
        """How long the present call has been running; 0 between calls."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    async def do(self, call: Callable[[], T]) -> T:
        future: Future[T] = Future()
        self._calls.put((call, future))
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while (task := self._calls.get()) is not None:
            call, future = task
            if not future.set_running_or_notify_cancel():
                continue
            self._busy_since = time.monotonic()
            try:
                future.set_result(call())
            except BaseException as error:  # given to the caller, who waits for it
                future.set_exception(error)
            finally:
                self._busy_since = None


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[X, Y]):
    value: X
    answer: asyncio.Future[Prediction[Y] | None]
    """None where the model failed on it."""


class Batcher(Generic[X, Y]):
    """`ask` from any number of requests; `run` is the task that feeds the engine."""

    def __init__(
        self,
        worker: Worker,
        predict: Callable[[Sequence[X]], list[Prediction[Y]]],
        *,
        max_queue: int,
        max_batch: int,
        observe: Callable[[int, float], None],
    ) -> None:
        self._worker = worker
        self._predict = predict
        self._max_queue = max_queue
        self._max_batch = max_batch
        self._observe = observe
        """Told the size and the seconds of each batch."""
        self._queue: deque[_Waiting[X, Y]] = deque()
        self._awake = asyncio.Event()
        self._is_busy = False

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def ask(self, values: Sequence[X], *, is_probe: bool = False) -> list[Prediction[Y]]:
        """Answers, in order. QueueFull where there is no room for all; EngineFailed. Cancelling frees the places.

        A probe goes to the front, whatever waits.
        """
        # What an idle engine is about to take does not wait.
        room = self._max_queue + (0 if self._is_busy else self._max_batch)
        if not is_probe and len(self._queue) + len(values) > room:
            raise QueueFull
        loop = asyncio.get_running_loop()
        jobs: list[_Waiting[X, Y]] = [_Waiting(value, loop.create_future()) for value in values]
        if is_probe:
            self._queue.extendleft(reversed(jobs))
        else:
            self._queue.extend(jobs)
        self._awake.set()
        try:
            answers = [await job.answer for job in jobs]
        finally:
            for job in jobs:
                if not job.answer.done():
                    job.answer.cancel()
            self._drop_cancelled()
        for place, answer in enumerate(answers):
            if answer is None:
                raise EngineFailed(place)
        return [answer for answer in answers if answer is not None]

    async def run(self) -> None:
        """For ever; to be cancelled."""
        while True:
            await self._awake.wait()
            jobs = [self._queue.popleft() for _ in range(min(self._max_batch, len(self._queue)))]
            if not self._queue:
                self._awake.clear()
            if jobs:
                self._is_busy = True
                await self._answer(jobs)
                self._is_busy = False

    async def _answer(self, jobs: Sequence[_Waiting[X, Y]]) -> None:
        started = time.perf_counter()
        answers = await self._worker.do(partial(self._predict_all, [job.value for job in jobs]))
        self._observe(len(jobs), time.perf_counter() - started)
        for job, answer in zip(jobs, answers, strict=True):
            if not job.answer.done():  # its request was given up meanwhile
                job.answer.set_result(answer)

    def _predict_all(self, values: Sequence[X]) -> list[Prediction[Y] | None]:
        """On the engine's thread. A batch that fails is run again one by one, so that one bad input fails alone."""
        try:
            answers = self._predict(values)
            if len(answers) != len(values):
                raise RuntimeError(f"{len(answers)} answers to {len(values)} inputs")
        except Exception:  # anything: the service must outlive every input
            _log.exception("forward pass of %d inputs failed", len(values))
            return [None] if len(values) == 1 else [self._predict_all([value])[0] for value in values]
        return [answer if _is_finite(answer) else None for answer in answers]

    def _drop_cancelled(self) -> None:
        if any(job.answer.cancelled() for job in self._queue):
            self._queue = deque(job for job in self._queue if not job.answer.cancelled())


def _is_finite(answer: Prediction[Any]) -> bool:
    return all(map(math.isfinite, answer.numbers))
