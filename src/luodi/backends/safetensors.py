"""Weights cut down without torch: read, sliced and written as numpy arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from luodi.backends import need
from luodi.core.types import Array


def take_rows(source: Path, target: Path, rows: Array, applies: Callable[[str, tuple[int, ...]], bool]) -> None:
    """Copies a file; of each tensor that `applies(name, shape)`, only these rows. One tensor is whole in memory at a
    time, and all of the smaller file."""
    library = need("safetensors")
    saver = need("safetensors.numpy")
    tensors: dict[str, Array] = {}
    with library.safe_open(source, framework="np") as weights:
        for name in weights.keys():  # noqa: SIM118 - not a mapping
            shape = tuple(weights.get_slice(name).get_shape())
            tensor: Array = weights.get_tensor(name)
            tensors[name] = tensor[rows] if shape and applies(name, shape) else tensor
    target.parent.mkdir(parents=True, exist_ok=True)
    saver.save_file(tensors, target)


def rename(source: Path, target: Path, prefix: str) -> None:
    """Copies a file with `prefix` before the name of each tensor."""
    saver = need("safetensors.numpy")
    saver.save_file({prefix + name: tensor for name, tensor in saver.load_file(source).items()}, target)
    target.chmod(0o644)  # the library leaves it to its owner alone; a service may run as another user
