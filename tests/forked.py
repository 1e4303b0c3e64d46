"""Commands in processes of their own, forked from one that has imported torch and transformers: to import them takes
most of the time of a command on little data. What depends on how they are imported is for tests that start Python anew
(`shop.afresh`, lives.py, test_full_disk.py)."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PRELOADED = ["torch", "transformers", "transformers.modeling_utils", "transformers.models.auto.modeling_auto"]


def run(words: Sequence[str], environment: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """`luodi` with its words, as `subprocess.run` would tell of it. Raises subprocess.TimeoutExpired."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory(prefix="luodi-") as folder:
        files = [Path(folder) / name for name in ("out", "err")]
        process = context.Process(target=_command, args=(list(words), dict(environment), os.getcwd(), *map(str, files)))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["luodi", *words], timeout)
        out, err = (file.read_text(encoding="utf-8") for file in files)
        return subprocess.CompletedProcess(["luodi", *words], process.exitcode, out, err)


def _command(words: list[str], environment: dict[str, str], folder: str, out: str, err: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, name in ((1, out), (2, err)):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    for number, name in ((1, "stdout"), (2, "stderr")):  # the second loses nothing where the process ends at once
        told = open(number, "w", 1 if number == 2 else -1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
        setattr(sys, name, told)
    for number in (signal.SIGINT, signal.SIGTERM):  # as in a process that nobody forked
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    sys.argv = ["luodi", *words]
    from luodi.cli import main

    sys.exit(main())
