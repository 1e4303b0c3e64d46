"""constraints.txt pins the tested versions; pyproject.toml says only from where on it works."""

from __future__ import annotations

import re
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from requirements import direct, project, pulled_in
from sources import ROOT

EXTRAS = ("", *project()["optional-dependencies"])


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    told = [re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;]+)", line) for line in lines if line and not line.startswith("#")]
    assert all(told), "every line is name==version"
    return {canonicalize_name(m[1]): Version(m[2]) for m in told if m}


def test_everything_that_the_tests_pull_in_is_pinned() -> None:
    assert pulled_in("test") - set(pins()) == set()


def test_nothing_else_is_pinned() -> None:
    """A pin of a package that nothing asks for is one that nobody will ever update."""
    assert set(pins()) - pulled_in("test") == set()


def test_the_pins_fit_each_other() -> None:
    wrong = []
    for name in pins():
        for line in requires(name) or []:
            asked = Requirement(line)
            pinned = pins().get(canonicalize_name(asked.name))
            applies = not asked.marker or asked.marker.evaluate({"extra": ""})
            if applies and pinned and not asked.specifier.contains(pinned, prereleases=True):
                wrong.append(f"{name} wants {asked}, pinned is {pinned}")
    assert wrong == []


@pytest.mark.parametrize("extra", EXTRAS)
def test_pyproject_has_lower_bounds_only(extra: str) -> None:
    for requirement in direct(extra):
        signs = [specifier.operator for specifier in requirement.specifier]
        assert signs == ([] if requirement.name == "luodi" else [">="]), str(requirement)


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_is_tested_is_within_the_bounds(extra: str) -> None:
    for requirement in direct(extra):
        if requirement.name != "luodi":
            assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), str(requirement)
