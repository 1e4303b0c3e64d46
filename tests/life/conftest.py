"""One undisturbed life, which the disturbed ones must equal."""

from __future__ import annotations

import pytest

from lives import Quiet, make_project, undisturbed


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Quiet:
    project = make_project(tmp_path_factory.mktemp("quiet") / "shop")
    told, seconds = undisturbed(project)
    return Quiet(project=project, told=told, seconds=seconds)
