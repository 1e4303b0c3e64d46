"""The run so far, in one safetensors file: trainable weights, optimiser, random state, and the records.

No pickle: torch.save would use it. Written aside and renamed, so a kill leaves the last whole one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from luodi.stages.train.team import ALONE, Team, like, put, whole

LAST, BEST = "last.safetensors", "best.safetensors"
_RECORDS = "records"


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint:
    step: int
    epoch: float
    seconds: float
    loss: float
    """Mean since the point before."""
    lr: float
    tokens_per_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorePoint:
    step: int
    seconds: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Records:
    """What has happened up to a step."""

    step: int = 0
    seconds: float = 0.0
    """Time at work, over all interruptions."""
    curve: tuple[CurvePoint, ...] = ()
    scores: tuple[ScorePoint, ...] = ()
    best_step: int = 0
    best_value: float | None = None
    """In the direction in which higher is better."""
    open_loss: float = 0.0
    """Summed loss of the steps after the last curve point, so that a resumed curve is the same."""
    open_steps: int = 0
    open_tokens: int = 0
    open_seconds: float = 0.0
    stopped: Literal["", "planned", "stale"] = ""
    """Why the run is over: all planned steps done, or the score no longer rises."""


def save_weights(path: Path, model: torch.nn.Module, team: Team = ALONE) -> None:
    """What a step changes, and nothing else: the other weights are the base's. All of a team take part, one writes."""
    tensors = {name: whole(t) for name, t in changing(model).items()}
    if team.leads:
        _write(path, tensors, {})


def load_weights(path: Path, model: torch.nn.Module) -> None:
    with safe_open(path, framework="pt") as file:
        for name, tensor in changing(model).items():
            put(tensor, file.get_tensor(name))


def changing(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Trainable weights, and what layers note of what they have seen (running means of batch normalisation): without
    these, weights of an earlier step would meet the notes of a later one."""
    kept = model.state_dict()
    return {**dict(_trainable(model)), **{name: b for name, b in model.named_buffers() if name in kept}}


def save_checkpoint(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, records: Records,
    mean: Mapping[str, torch.Tensor] | None = None, team: Team = ALONE,
) -> None:  # fmt: skip
    """`mean`: a moving average of weights, by their names. All of a team take part, one writes."""
    tensors = {"rng": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    for name, tensor in changing(model).items():
        tensors[f"weight.{name}"] = whole(tensor)
    for name, p in _trainable(model):
        for key, value in optimizer.state[p].items():
            tensors[f"optimizer.{key}.{name}"] = whole(value)
    for name, tensor in (mean or {}).items():
        tensors[f"mean.{name}"] = whole(tensor)
    if team.leads:
        _write(path, tensors, {_RECORDS: msgspec.json.encode(records).decode()})


def read_records(path: Path) -> Records:
    """What has happened up to the checkpoint; nothing where there is none."""
    if not path.is_file():
        return Records()
    with safe_open(path, framework="pt") as file:
        return msgspec.json.decode(file.metadata()[_RECORDS], type=Records)


def load_checkpoint(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, mean: Mapping[str, torch.Tensor] | None = None
) -> Records:
    """Puts everything back as it was, random state included."""
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        for name, tensor in (mean or {}).items():
            put(tensor, file.get_tensor(f"mean.{name}"))
        for name, tensor in changing(model).items():
            put(tensor, file.get_tensor(f"weight.{name}"))
        keys: dict[str, list[str]] = {}  # what the optimiser has noted of each weight: its moments, its steps
        for _, key, name in (told.split(".", 2) for told in names if told.startswith("optimizer.")):
            keys.setdefault(name, []).append(key)
        fused = {p: group.get("fused") for group in optimizer.param_groups for p in group["params"]}
        for name, p in _trainable(model):
            state = {key: file.get_tensor(f"optimizer.{key}.{name}") for key in keys.get(name, ())}
            # Steps are counted where the processor is that reads them: beside the weight by fused rules alone.
            optimizer.state[p] = {k: _beside(p, v) if k != "step" or fused[p] else v for k, v in state.items()}
        torch.set_rng_state(file.get_tensor("rng"))
        if "rng.cuda" in names and torch.cuda.is_available():
            torch.cuda.set_rng_state(file.get_tensor("rng.cuda"))
    return read_records(path)


def _trainable(model: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def _beside(p: torch.nn.Parameter, value: torch.Tensor) -> torch.Tensor:
    """Moments of a weight are divided as it is."""
    return like(p, value) if value.shape == p.shape else value.to(p.device)


def _write(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    aside = path.with_suffix(".tmp")
    save_file(tensors, aside, metadata)
    with aside.open("rb+") as handle:
        os.fsync(handle.fileno())
    os.replace(aside, path)
