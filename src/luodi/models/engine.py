"""The torch engine: the network that was trained, and the same one opened from a Bundle."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from luodi.core.task import Task
from luodi.core.types import Batch
from luodi.models.reshaped import fit_shapes
from luodi.models.source import RESHAPED, ScratchBase

WEIGHTS, BLOCKS = "model.safetensors", "model.gguf"


@dataclass(frozen=True, slots=True)
class TorchEngine:
    """`run` leaves the model in the mode (training or not) in which it found it."""

    model: torch.nn.Module
    device: str = "cpu"

    def run(self, batch: Batch) -> Mapping[str, np.ndarray[Any, Any]]:
        was_training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            outputs = self.model(**to_torch(read_by(self.model, batch), self.device))
        self.model.train(was_training)
        return {name: value.float().cpu().numpy() for name, value in outputs.items()}


def read_by(model: torch.nn.Module, batch: Batch) -> Batch:
    """What of a batch the network's `forward` takes."""
    names = inspect.signature(model.forward).parameters
    return {name: array for name, array in batch.items() if name in names}


def to_torch(batch: Batch, device: str = "cpu") -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in batch.items()}


def save_network(model: torch.nn.Module, folder: Path) -> None:
    save_state(model.state_dict(), folder)


def save_state(state: dict[str, torch.Tensor], folder: Path) -> None:
    """safetensors; of weights that are tied the first name alone, since the format refuses shared memory."""
    folder.mkdir(parents=True, exist_ok=True)
    first = {tensor.data_ptr(): name for name, tensor in reversed(state.items())}
    kept = {name: t for name, t in state.items() if first[t.data_ptr()] == name or not t.numel()}
    save_file({name: t.detach().cpu().contiguous().clone() for name, t in kept.items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # the library leaves it to its owner alone; a service may run as another user


def open_engine(folder: Path, task: Task[Any, Any], network: Mapping[str, Any], threads: int | None) -> TorchEngine:
    """The network that `network` describes, with the folder's weights."""
    if threads:
        torch.set_num_threads(threads)
    model = task.build(ScratchBase(name=str(network["base"]), config=network["config"]))
    weights = _read_weights(folder)
    if any(map(network.get, RESHAPED)):
        fit_shapes(model, weights)
    if network.get("torchao"):
        from luodi.backends import torchao

        torchao.fill(model, weights)
    else:
        _fill(model, weights)
    return TorchEngine(model=model.eval())


def _fill(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Of weights that are tied one name suffices."""
    state = model.state_dict()
    written = {state[name].data_ptr(): name for name in weights if name in state}
    tied = {name: written.get(t.data_ptr(), "") for name, t in state.items() if name not in weights}
    model.load_state_dict({**weights, **{name: weights[twin] for name, twin in tied.items() if twin}})


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """By their names in the network. Of a file for llama.cpp, which holds a decoder, multiplied out."""
    if not (folder / BLOCKS).is_file():
        return load_file(folder / WEIGHTS)
    from luodi.backends.gguf import read_gguf

    return {f"decoder.{name}": torch.from_numpy(array) for name, array in read_gguf(folder / BLOCKS).weights.items()}
