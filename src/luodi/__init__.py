"""Luodi (落地): large models that land.

Every public name, each imported when it is first asked for, so that `import luodi` costs nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luodi.core.bundle import Bundle as Bundle
    from luodi.core.bundle import open_bundle as open_bundle
    from luodi.core.project import Project as Project
    from luodi.core.project import open_project as open_project
    from luodi.core.report import Report as Report
    from luodi.core.report import Verdict as Verdict
    from luodi.core.task import GenerativeTask as GenerativeTask
    from luodi.core.task import OnePassTask as OnePassTask
    from luodi.core.task import load_task as load_task
    from luodi.core.types import Dataset as Dataset
    from luodi.core.types import Example as Example
    from luodi.core.types import Prediction as Prediction
    from luodi.errors import LuodiError as LuodiError
    from luodi.lifecycle import compress as compress
    from luodi.lifecycle import evaluate as evaluate
    from luodi.lifecycle import explain as explain
    from luodi.lifecycle import prepare as prepare
    from luodi.lifecycle import run as run
    from luodi.lifecycle import search as search
    from luodi.lifecycle import train as train
    from luodi.lifecycle import understand as understand
    from luodi.models.packaged import fetch as fetch
    from luodi.stages.serve.serve import serve as serve

__version__ = "0.1.0"

# Here, because OpenMP reads it once, as torch or scikit-learn is loaded. At the end of every operator its threads wait
# for each other, by default by counting to 300,000, which takes milliseconds: where another program has one of the
# cores, most of both is lost so. 1,000 is what OpenMP itself takes where it has more threads than cores.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

_PLACES = {
    "Bundle": "core.bundle", "Dataset": "core.types", "Example": "core.types", "GenerativeTask": "core.task",
    "LuodiError": "errors", "OnePassTask": "core.task", "Prediction": "core.types", "Project": "core.project",
    "Report": "core.report", "Verdict": "core.report", "compress": "lifecycle", "evaluate": "lifecycle",
    "explain": "lifecycle", "fetch": "models.packaged", "load_task": "core.task", "open_bundle": "core.bundle",
    "open_project": "core.project", "prepare": "lifecycle", "run": "lifecycle", "search": "lifecycle",
    "serve": "stages.serve.serve", "train": "lifecycle", "understand": "lifecycle",
}  # fmt: skip

__all__ = tuple(_PLACES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"luodi.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
