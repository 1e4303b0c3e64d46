"""Which packages an extra of pyproject.toml pulls in, by walking the metadata of what is installed."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.metadata import requires
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sources import ROOT


@cache
def project() -> dict[str, Any]:
    """[project] of pyproject.toml: the file, since an editable install's metadata may be older."""
    told: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return told


def direct(extra: str) -> list[Requirement]:
    lines = [*project()["dependencies"], *(project()["optional-dependencies"][extra] if extra else [])]
    return [Requirement(line) for line in lines]


@cache
def pulled_in(extra: str) -> frozenset[str]:
    """Canonical names, luodi apart. Raises PackageNotFoundError where one is not installed."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = direct(extra)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for asked in ("", *requirement.extras):
            if (name, asked) in seen:
                continue
            seen.add((name, asked))
            if name == "luodi":
                waiting += direct(asked)
                continue
            found.add(name)
            lines = [Requirement(line) for line in requires(name) or []]
            waiting += [r for r in lines if not r.marker or r.marker.evaluate({"extra": asked})]
    return frozenset(found)
