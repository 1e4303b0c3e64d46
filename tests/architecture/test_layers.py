"""Layers look down only. The rules are DESIGN's section on the house, read off every import statement."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from sources import PACKAGE, imports, sources, tree_of, where

# A module may import modules of a lower layer, and of its own folder.
LAYERS = (
    {"errors", "messages"},
    {"core"},
    {"backends"},
    {"models", "modalities"},
    {"stages", "tasks", "report"},
    {"steps", "understanding"},
    {"lifecycle", "doctor", "predict", "propose", "reasons", "runs", "screen"},
    {"summary", "draft"},
    {"commands"},
    {"cli"},
    {"__main__", "__init__"},
)
LIGHT = {"numpy", "msgspec", "yaml"}
"""What core may use; the rest of Luodi may use them too."""
TORCH = {"torch", "safetensors"}


def layer(part: str) -> int:
    found = [place for place, parts in enumerate(LAYERS) if part in parts]
    assert found, f"{part} has no place among the layers: give it one"
    return found[0]


def part_of(path: Path) -> tuple[str, ...]:
    """("stages", "train", "loop") of src/luodi/stages/train/loop.py."""
    return path.relative_to(PACKAGE).with_suffix("").parts


def own_folder(path: Path) -> str:
    """What may be imported although it lies on the same layer: stages see themselves alone."""
    parts = part_of(path)
    depth = 2 if parts[0] == "stages" and len(parts) > 2 else 1
    return ".".join(("luodi", *parts[:depth]))


@pytest.mark.parametrize("path", sources(), ids=where)
def test_imports_look_down(path: Path) -> None:
    wrong = []
    for module, line, _ in imports(path):
        if module.partition(".")[0] != "luodi":
            continue
        target = module.split(".")[1] if "." in module else "__init__"
        is_own = module == own_folder(path) or module.startswith(own_folder(path) + ".")
        if not is_own and target != "__init__" and layer(target) >= layer(part_of(path)[0]):
            wrong.append(f"{where(path, line)} imports {module}")
    assert not wrong


def may_use(path: Path, package: str, *, at_module_level: bool) -> bool:
    folder = part_of(path)[:2]
    if package in LIGHT or folder[0] == "backends":
        return True
    if package not in TORCH:
        return False
    return folder[0] == "models" or folder == ("stages", "train") or (folder[0] == "tasks" and not at_module_level)


@pytest.mark.parametrize("path", sources(), ids=where)
def test_optional_packages_are_imported_in_backends_alone(path: Path) -> None:
    top_level = {node.lineno for node in tree_of(path).body if isinstance(node, (ast.Import, ast.ImportFrom))}
    wrong = []
    for module, line, is_for_types in imports(path):
        package = module.partition(".")[0]
        if package in sys.stdlib_module_names or package == "luodi" or is_for_types:
            continue
        if not may_use(path, package, at_module_level=line in top_level):
            wrong.append(f"{where(path, line)} imports {module}")
    assert not wrong


@pytest.mark.parametrize("part", ["core", "tasks", "modalities", "messages"])
def test_they_are_imported_without_torch(part: str) -> None:
    """Not only in the text: nothing that they import brings it in either."""
    names = [
        ".".join(("luodi", *part_of(path))).removesuffix(".__init__") for path in sources() if part_of(path)[0] == part
    ]
    heavy = "{'torch', 'transformers', 'sklearn', 'onnxruntime', 'openvino', 'tokenizers'}"
    code = f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\n"
    code += f"print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_the_reader_of_imports_sees_what_it_should(tmp_path: Path) -> None:
    """The rules above hold nothing if this misses imports."""
    path = tmp_path / "a.py"
    path.write_text(
        "import torch.nn\nif TYPE_CHECKING:\n    import sklearn\ndef f():\n    from luodi.core import bundle\n"
        "    from luodi.core.bundle import FILE\n    need('onnx')\n",
        encoding="utf-8",
    )
    found = [(module, is_for_types) for module, _, is_for_types in imports(path)]
    assert sorted(found) == [
        ("luodi.core.bundle", False), ("luodi.core.bundle", False), ("onnx", False), ("sklearn", True),
        ("torch.nn", False),
    ]  # fmt: skip
