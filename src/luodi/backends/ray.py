"""Ray Train: a function called by workers on the machines of a cluster, with a process group among them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luodi.backends import need


@dataclass(frozen=True, kw_only=True, slots=True)
class Workers:
    count: int
    folder: Path
    """On every machine under this path; Ray keeps its own notes of the run there."""
    on_graphics: bool


def run_workers(work: Callable[..., None], arguments: tuple[Any, ...], workers: Workers) -> None:
    """Comes back when `work(*arguments)` is done in all of them. The cluster is the one that RAY_ADDRESS names, or this
    machine for as long as it takes. Files that the arguments name have to be there on every machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to Ray's makers
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    ray, train, by_torch = need("ray"), need("ray.train"), need("ray.train.torch")
    was_there = ray.is_initialized()
    if not was_there:
        ray.init(
            address=os.environ.get("RAY_ADDRESS"), include_dashboard=False, log_to_driver=False,
            logging_level=logging.ERROR,
        )  # fmt: skip

    def call(told: dict[str, Any]) -> None:
        work(*told["arguments"])

    try:
        by_torch.TorchTrainer(
            call, train_loop_config={"arguments": arguments},
            scaling_config=train.ScalingConfig(num_workers=workers.count, use_gpu=workers.on_graphics),
            run_config=train.RunConfig(name=workers.folder.name, storage_path=str(workers.folder.parent)),
        ).fit()
    finally:
        if not was_there:
            ray.shutdown()
