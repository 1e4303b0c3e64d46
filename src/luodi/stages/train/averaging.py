"""Means of weights over steps: smoother than any one of them, and often better (Izmailov et al. 2018,
arXiv:1803.05407)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from luodi.core.progress import say
from luodi.messages import tr
from luodi.stages.train.checkpoints import BEST, changing, load_weights, save_weights
from luodi.stages.train.team import ALONE, Team


@dataclass(frozen=True, slots=True)
class MovingAverage:
    """mean <- d mean + (1 - d) weights, after each step (Polyak and Juditsky 1992)."""

    decay: float
    live: dict[str, torch.Tensor]
    """What the network learns with; running means of its layers among it."""
    mean: dict[str, torch.Tensor]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """d grows from 2/11 to `decay`, so that the mean forgets the weights that it began with."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, mean in self.mean.items():
            mean.lerp_(self.live[name], 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has the mean for its weights as long as this lasts."""
        before = {name: tensor.detach().clone() for name, tensor in self.live.items()}
        _copy(self.mean, self.live)
        try:
            yield
        finally:
            _copy(before, self.live)


def begin_average(model: torch.nn.Module, decay: float) -> MovingAverage:
    """Of the weights as they are. With a decay of 0 nothing is kept, and `in_place` changes nothing."""
    live = {name: t.detach() for name, t in changing(model).items() if t.is_floating_point()} if decay else {}
    return MovingAverage(decay, live, {name: tensor.clone() for name, tensor in live.items()})


def keep_recent(folder: Path, model: torch.nn.Module, steps: Sequence[int], count: int, team: Team = ALONE) -> None:
    """Writes the weights that have just been scored, at the last of `steps`, and forgets all but the last `count`."""
    save_weights(_recent(folder, steps[-1]), model, team)
    for step in steps[:-count] if team.leads else ():
        _recent(folder, step).unlink(missing_ok=True)


def try_mean(
    folder: Path, model: torch.nn.Module, steps: Sequence[int], score: Callable[[], float], best: float
) -> None:
    """The mean of the weights kept becomes the best, where it scores higher than `best`. Done twice, as after a kill,
    the second time changes nothing: what was taken is in the file of the best, and what it was made of is gone."""
    kept = [path for path in (_recent(folder, step) for step in steps) if path.is_file()]
    if len(kept) > 1:
        _load_mean(kept, model)
        if score() > best:
            save_weights(folder / BEST, model)
            sentence = tr("The mean of the last {n} weights scores higher than the best of all, and is kept.")
        else:
            sentence = tr("The mean of the last {n} weights scores no higher than the best of all.")
        say(sentence.format(n=len(kept)))
    for path in kept:
        path.unlink()
    load_weights(folder / BEST, model)


def _recent(folder: Path, step: int) -> Path:
    return folder / f"recent-{step}.safetensors"


@torch.no_grad()
def _load_mean(paths: Sequence[Path], model: torch.nn.Module) -> None:
    """What is no real number (a count of batches) is the last one's."""
    for name, tensor in changing(model).items():
        told = [_tensor(path, name) for path in paths]
        tensor.copy_(torch.stack(told).mean(0) if tensor.is_floating_point() else told[-1])


def _tensor(path: Path, name: str) -> torch.Tensor:
    with safe_open(path, framework="pt") as file:
        tensor: torch.Tensor = file.get_tensor(name)
    return tensor


@torch.no_grad()
def _copy(source: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])
