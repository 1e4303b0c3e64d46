"""One sorted list of public names, each of them there, none of them heavy until used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import luodi


def test_the_list_is_sorted_and_free_of_repeats() -> None:
    assert list(luodi.__all__) == sorted(set(luodi.__all__))


@pytest.mark.parametrize("name", luodi.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(luodi, name) is not None
    assert name in dir(luodi)


def test_an_unknown_name_is_told_as_usual() -> None:
    with pytest.raises(AttributeError, match="luodi.*nothing_like_it"):
        luodi.nothing_like_it  # noqa: B018


def test_importing_luodi_imports_next_to_nothing() -> None:
    code = "import sys, luodi; print(*sorted(m for m in sys.modules if m.startswith(('luodi', 'numpy', 'torch'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["luodi"]
