"""What the processor of this machine can do, as far as training and compression depend on it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from luodi.core.disk import tell_size
from luodi.errors import ResourceError
from luodi.messages import tr


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


def peak_memory() -> int | None:
    """Bytes that this process has held at the most; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    told = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return told if sys.platform == "darwin" else told * 1024


def free_memory(meminfo: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that this process may still take; None where that is not told. A container's limit counts as the machine's
    end."""
    lines = meminfo.read_text(encoding="utf-8").splitlines() if meminfo.is_file() else []
    told = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    limit, used = (group / name for name in ("memory.max", "memory.current"))
    if limit.is_file() and used.is_file() and limit.read_text().strip() != "max":
        told.append(int(limit.read_text()) - int(used.read_text()))
    return min(told, default=None)


def need_memory(needed: int) -> None:
    """Refuses before the first step what the system would end halfway, without a word."""
    free = free_memory()
    if free is not None and needed > free:
        message = tr("This machine has {free} of memory free; this needs at least {needed}.")
        message = message.format(free=tell_size(free), needed=tell_size(needed))
        raise ResourceError(message, code="memory.full", hint=tr("Close other programs, or take a smaller model."))
