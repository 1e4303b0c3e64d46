"""How much each extra pulls in, read from the metadata of what is installed. No network."""

from __future__ import annotations

import pytest
from requirements import pulled_in


@pytest.mark.parametrize(("extra", "most"), [("demo", 90), ("serve", 30), ("", 5)])
def test_an_extra_pulls_in_few_packages(extra: str, most: int) -> None:
    found = pulled_in(extra)
    assert len(found) <= most, sorted(found)


@pytest.mark.parametrize("extra", ["serve", "report", "tables", ""])
def test_torch_is_not_among_them(extra: str) -> None:
    assert not {"torch", "transformers"} & pulled_in(extra)


def test_the_walk_goes_all_the_way() -> None:
    """Dependencies of dependencies are there: else the counts above say nothing."""
    assert {"torch", "sympy", "mpmath", "numpy"} <= pulled_in("train")
    assert pulled_in("demo") > pulled_in("compress") > pulled_in("train")
