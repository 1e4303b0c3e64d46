"""A Project: a folder with luodi.yaml, data and runs/. Plain files, that git can hold."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from luodi.core.config import Brief, read_yaml, split_brief
from luodi.core.contract import Contract, parse_contract
from luodi.core.scoring import deciding_metric
from luodi.core.store import KEY_LENGTH, Store, hash_json
from luodi.core.task import Task, load_task, task_names
from luodi.errors import ConfigError, InputError
from luodi.messages import tr

# Verbs that have settings of their own: stages/<verb>/config.py defines SETTINGS.
METRIC = "metric"
"""What of `accept` decides how a model is trained; the limits themselves do not."""
CONFIGURED = ("prepare", "train", "evaluate", "explain", "compress", "serve")


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    folder: Path
    brief: Brief
    settings: Mapping[str, Any]
    """Verb to its typed settings."""
    said: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Verb to the names of those that the page or the command line says; the others are as they come."""

    @property
    def store(self) -> Store:
        return Store(self.folder / "runs")

    @property
    def task(self) -> Task[Any, Any]:
        """Before it has learned its answers; a Dataset or a Bundle has the learned one."""
        if not self.brief.task:
            hint = tr("Known: {names}.").format(names=", ".join(task_names()))
            raise ConfigError(tr("luodi.yaml names no task."), code="config.task", hint=hint)
        return load_task(self.brief.task)

    @property
    def contract(self) -> Contract:
        return parse_contract(self.brief.accept, [m.name for m in self.task.metrics])

    def key(self, verb: str, inputs: Mapping[str, str], used: Sequence[str]) -> str:
        """Identity of a result: the verb, its inputs' identities, the keys of the brief that it uses, its own
        settings, and the code."""
        told = {"verb": verb, "inputs": dict(inputs), **self.recipe(verb, used)}
        return hash_json(told)[:KEY_LENGTH]

    def recipe(self, verb: str, used: Sequence[str]) -> dict[str, Any]:
        """What a result is made with: of the brief what the verb uses, its settings, the version of the code."""
        brief = {**msgspec.to_builtins(self.brief), METRIC: deciding_metric(self.task, list(self.brief.accept)).name}
        return {
            "brief": {name: brief[name] for name in used},
            "settings": _deciding(verb, msgspec.to_builtins(self.settings.get(verb))),
            "code": code_version() + outside_version(self.brief.task),
        }  # fmt: skip


def open_project(folder: Path | str = ".", overrides: Sequence[str] = ()) -> Project:
    """Raises ConfigError in one line where luodi.yaml does not hold together."""
    path = Path(folder)
    if not path.is_dir():
        raise InputError(tr("There is no folder {folder}.").format(folder=path), code="project.folder")
    told = read_yaml(path, overrides)
    brief, settings = split_brief(told, settings_types())
    if not brief.input or not brief.data:
        raise ConfigError(tr("luodi.yaml must say data and input."), code="config.incomplete")
    said = {verb: frozenset(told.get(verb) or ()) for verb in settings}
    project = Project(folder=path, brief=brief, settings=settings, said=said)
    # Found out now, and not by a stage that comes after an hour of others.
    _ = project.contract, brief.budget_seconds
    for verb, chosen in settings.items():
        if check := getattr(_config(verb), "check", None):
            check(chosen, project.task)
    return project


def settings_types() -> Mapping[str, type]:
    """Verb to the type of its settings."""
    return {verb: _config(verb).SETTINGS for verb in CONFIGURED}


def _config(verb: str) -> ModuleType:
    """SETTINGS, and `check(settings, task)` where there is more to hold than types do."""
    return importlib.import_module(f"luodi.stages.{verb}.config")


def _deciding(verb: str, settings: dict[str, Any] | None) -> dict[str, Any] | None:
    """Without those that only say something about a result."""
    if settings is None:
        return None
    told_only = getattr(_config(verb), "TOLD_ONLY", ())
    return {name: value for name, value in settings.items() if name not in told_only}


@cache
def code_version() -> str:
    """Hash of Luodi's own sources: results made by other code are other results."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def outside_version(task: str) -> str:
    """Hash of the sources beside a task that lives in another package; nothing for Luodi's own, which `code_version`
    covers. Where there is no such module, `load_task` says so."""
    found = importlib.util.find_spec(task) if "." in task else None
    if found is None or found.origin is None:
        return ""
    root = Path(found.origin).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
