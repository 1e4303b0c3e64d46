"""A task for which memory does not suffice in one of several processes: here, where a new process can import it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist

from luodi.tasks.text_classification import TextClassification

ROOM, SINCE = "TEST_ROOM", "TEST_ROOM_SINCE"
"""Environment: how many examples the second process has room for, and the file from whose being there on."""


class Cramped(TextClassification):
    def loss(self, outputs: Mapping[str, torch.Tensor], batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        is_cramped = dist.is_initialized() and dist.get_rank() == 1 and Path(os.environ[SINCE]).exists()
        if is_cramped and len(batch["labels"]) > int(os.environ[ROOM]):
            raise torch.OutOfMemoryError("no memory")
        return super().loss(outputs, batch)
