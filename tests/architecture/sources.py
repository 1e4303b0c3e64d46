"""What the tests of the house look at: every source file, parsed once."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "luodi"


@cache
def sources(folder: str = "src/luodi") -> tuple[Path, ...]:
    return tuple(sorted((ROOT / folder).rglob("*.py")))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def where(path: Path, line: int = 0) -> str:
    return path.relative_to(ROOT).as_posix() + (f":{line}" if line else "")


@cache
def kept_files() -> tuple[Path, ...]:
    """All files that belong to the project: those that git holds or would add."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return tuple(path for name in sorted(filter(None, told.split("\0"))) if (path := ROOT / name).is_file())


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """(module, line, whether for types only) of every import, inside functions too.

    `need("package")` and `import_module("package")` with a literal count: the same thing by another name.
    """
    tree = tree_of(path)
    for_types = {
        id(child)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in block.body
        for child in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, id(node) in for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{where(path, node.lineno)}: imports are absolute"
            # `from luodi.core import bundle` may name a module.
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [n if is_module(n) else str(node.module) for n in named]
            yield from ((module, node.lineno, id(node) in for_types) for module in sorted(set(modules)))
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            # Registries list the folder that they are (`import_module("luodi.tasks")`): that is no dependency.
            is_import = ast.unparse(node.func) in ("need", "importlib.import_module")
            if is_import and not str(node.args[0].value).startswith("luodi"):
                yield str(node.args[0].value), node.lineno, False


def is_module(name: str) -> bool:
    if not name.startswith("luodi."):
        return False
    path = PACKAGE.joinpath(*name.split(".")[1:])
    return path.is_dir() or path.with_suffix(".py").is_file()


def functions_of(path: Path) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, ast.AST | None]]:
    """Every function with the class or function that it stands in."""
    parents = {child: parent for parent in ast.walk(tree_of(path)) for child in ast.iter_child_nodes(parent)}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node, parents.get(node)
