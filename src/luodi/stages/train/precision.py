"""What this machine multiplies fast. Decided once, said, and kept in the plan."""

from __future__ import annotations

import os

import torch

from luodi.core.machine import num_threads, read_cpu


def choose_device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_precision(wanted: str, device: str) -> str:
    """bfloat16 only where the hardware has it: emulated, it is several times slower than float32."""
    if wanted != "auto":
        return wanted
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if device == "cpu" and read_cpu().has_bf16 else "float32"


def set_threads() -> int:
    """One thread for each core that this process may use; OMP_NUM_THREADS where the user has set it."""
    wanted = os.environ.get("OMP_NUM_THREADS")
    threads = num_threads(int(wanted) if wanted else None)
    torch.set_num_threads(threads)
    return threads
