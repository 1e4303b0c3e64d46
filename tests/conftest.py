"""Shared by all tests: one torch thread a worker, no colour, a language that tests choose themselves."""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from luodi.core.types import Dataset

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")

REQUIRED = set(filter(None, os.environ.get("LUODI_REQUIRE", "").split(",")))


def miss(what: str, reason: str) -> None:
    """Skip for want of something outside the project; a failure where `LUODI_REQUIRE` says that it is there."""
    if what in REQUIRED:
        pytest.fail(f"LUODI_REQUIRE={what}, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of verification data (`LUODI_TEST_DATA`)."""
    folder = Path(os.environ.get("LUODI_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        miss("data", "no verification data: set LUODI_TEST_DATA")
    return folder


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LUODI_LANG", "en")
    with warnings.catch_warnings():
        yield


@pytest.fixture(params=["en", "zh"])
def both_languages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LUODI_LANG", request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared Dataset on disk: read, not written to."""
    from tiny import write_dataset

    folder = tmp_path_factory.mktemp("tiny") / "data"
    write_dataset(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_dataset() -> Dataset[str, str]:
    """The same as typed examples."""
    from tiny import make_dataset

    return make_dataset()


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed Bundle of a model trained in seconds. Tests copy it before they change anything."""
    from tiny import write_bundle

    folder = tmp_path_factory.mktemp("tiny") / "bundle"
    write_bundle(folder)
    return folder


@pytest.fixture(autouse=True)
def _no_screen_is_left() -> Iterator[None]:
    """A command that ran in this process listens to the log, and writes to what pytest closes after the test."""
    yield
    logging.getLogger("luodi").handlers.clear()


@pytest.fixture(scope="session")
def browser() -> str:
    """The path of a Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if not found:
        miss("browser", "no Chromium found")
    return str(found)
