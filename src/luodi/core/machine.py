"""What the processor of this machine can do, as far as training and compression depend on it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


def num_threads(asked: int | None) -> int:
    """All that this process may use, where not asked for fewer."""
    if asked:
        return asked
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Cpu:
    name: str
    flags: frozenset[str]
    """As Linux names them; empty where they are not told."""

    @property
    def has_bf16(self) -> bool:
        """In hardware: emulated, it is several times slower than float32."""
        return bool(self.flags & {"avx512_bf16", "amx_bf16"})

    @property
    def has_vnni(self) -> bool:
        """Unknown counts as yes: 64-bit ARM, the likely case, has its own int8 products that do not overflow."""
        return not self.flags or bool(self.flags & {"avx512_vnni", "avx_vnni"})


def read_cpu(path: Path = Path("/proc/cpuinfo")) -> Cpu:
    """Of the machine that this runs on."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = (line.partition(":")[::2] for line in lines)
    told = {key.strip(): value.strip() for key, value in pairs}
    return Cpu(name=told.get("model name", ""), flags=frozenset(told.get("flags", "").split()))
