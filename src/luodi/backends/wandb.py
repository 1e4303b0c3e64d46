"""Weights & Biases: a file of the project, or its server where WANDB_API_KEY or WANDB_MODE in the environment ask for
it. Whoever once said `wandb login` is not asked: a project's runs are sent nowhere by a habit of its user."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luodi.backends import need
from luodi.core.tracking import Run

_INIT_S = 30.0


class Wandb:
    def __init__(self) -> None:
        self._run: Any = None
        self._begun = 0
        """The first step that the run does not hold yet."""

    def begin(self, run: Run) -> str:
        library = need("wandb")
        mode = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        place = Path(os.environ.get("WANDB_DIR") or run.folder)
        place.mkdir(parents=True, exist_ok=True)
        is_online = mode == "online"
        if not is_online:
            _forget(place / "wandb", run.name)
        self._run = library.init(
            project=os.environ.get("WANDB_PROJECT") or re.sub(r"[/\\#?%:]", "-", run.project)[:128], id=run.name,
            name=run.name, dir=str(place), mode=mode, config=dict(run.settings), settings=_settings(library),
            resume="allow" if is_online else None,
        )  # fmt: skip
        self._begun = self._run.step if is_online else 0
        return str(self._run.url) if is_online else f'wandb sync "{Path(self._run.dir).parent}"'

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        if step >= self._begun:
            self._run.log(dict(numbers), step=step)

    def end(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, number in numbers.items():
            self._run.summary[f"final/{name}"] = number
        self._run.finish(exit_code=0 if numbers else 1)


def _forget(folder: Path, name: str) -> None:
    """A run on disk cannot be gone on with: it is written anew, from its first point on."""
    for earlier in folder.glob(f"offline-run-*-{name}"):
        shutil.rmtree(earlier)


def _settings(library: Any) -> Any:
    """Quiet, and what the run measured, nothing else: no source code, no list of packages, no data of the machine."""
    return library.Settings(
        silent=True, console="off", init_timeout=_INIT_S, disable_git=True, disable_code=True, save_code=False,
        x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True, x_save_requirements=False,
    )  # fmt: skip


def tracker() -> Wandb:
    """Raises ResourceError where the package is not installed."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when the package is imported
    need("wandb")
    return Wandb()
