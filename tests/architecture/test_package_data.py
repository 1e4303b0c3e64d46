"""What is no Python file has to be named in pyproject.toml, or an installed Luodi lacks its pages and its Chinese."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch

from sources import PACKAGE, ROOT, kept_files


def test_every_file_that_is_not_python_is_installed() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = told["tool"]["setuptools"]["package-data"]["luodi"]
    names = [p.relative_to(PACKAGE).as_posix() for p in kept_files() if p.is_relative_to(PACKAGE) and p.suffix != ".py"]
    # fnmatch's star crosses folders and setuptools' does not: the depth is compared too.
    lost = [n for n in names if not any(fnmatch(n, p) and n.count("/") == p.count("/") for p in patterns)]
    assert lost == []
    assert {"messages/zh/LC_MESSAGES/luodi.mo", "py.typed"} <= set(names)


def test_every_folder_of_python_files_is_a_package() -> None:
    folders = {p.parent for p in kept_files() if p.is_relative_to(PACKAGE) and p.suffix == ".py"}
    assert [f.name for f in folders if not (f / "__init__.py").is_file()] == []
