"""`luodi doctor`: the machine, what is installed, what is missing and the command that brings it. Changes nothing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from luodi.core.machine import num_threads, read_cpu
from luodi.core.measure import Measure
from luodi.core.report import Report, Verdict
from luodi.errors import InputError, ResourceError
from luodi.messages import language, tr
from luodi.models.packaged import PACKAGED, cache_dir, fetch

USER_EXTRAS = ("train", "compress", "serve", "report", "tables")
"""Extras that a verb needs; `demo` and `test` are sums of these."""
LITTLE_DISK_GB = 5
LITTLE_MEMORY_GB = 4
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*>=\s*([0-9.]+)\s*;\s*extra\s*==\s*['\"](\w+)['\"]")
_NVIDIA = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")


def doctor(folder: Path) -> Report:
    """What was found, in words; never refuses. InputError where there is no such folder."""
    if not folder.is_dir():
        raise InputError(tr("There is no folder {folder}.").format(folder=folder), code="project.folder")
    numbers = {
        "cores": Measure.exact(num_threads(None)),
        "disk_free": Measure.exact(shutil.disk_usage(folder).free / 1e9, unit="GB"),
    }
    memory = memory_bytes()
    if memory:
        numbers["memory"] = Measure.exact(memory / 1e9, unit="GB")
    packages = installed()
    lacking = {extra: short for extra, found in packages.items() if (short := missing_of(found))}
    findings = (
        *_machine(numbers), *_disk(folder, numbers["disk_free"].value), *_packages(packages, lacking), *_weights(),
        *_settings(),
    )  # fmt: skip
    command = f'pip install "luodi[{",".join(lacking)}]"' if lacking else "luodi new"
    details = {"python": platform.python_version(), "platform": platform.platform(), "packages": packages}
    return Report(
        verb="doctor", verdict=Verdict.DONE, numbers=numbers, findings=findings, next=command, details=details
    )


def installed() -> dict[str, dict[str, dict[str, Any]]]:
    """Extra to package to {"needs": lowest version, "has": version or None}; nothing is imported."""
    found: dict[str, dict[str, dict[str, Any]]] = {extra: {} for extra in USER_EXTRAS}
    for line in requires("luodi") or []:
        match = _REQUIREMENT.match(line)
        if match and match[3] in found:
            found[match[3]][match[1]] = {"needs": match[2], "has": version_of(match[1])}
    return found


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def missing_of(packages: dict[str, dict[str, Any]]) -> Sequence[str]:
    """Packages that are not there, or too old."""
    return [name for name, p in packages.items() if p["has"] is None or numbered(p["has"]) < numbered(p["needs"])]


def numbered(text: str) -> tuple[int, ...]:
    """(2, 13) of 2.13.0+cpu: as much of a version as a lower bound looks at, without trailing zeros."""
    leading = re.match(r"[0-9]+(?:\.[0-9]+)*", text)
    parts = [int(part) for part in leading[0].split(".")] if leading else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def memory_bytes() -> int | None:
    """What this process may use: the machine's, or its container's share. None where the system does not tell."""
    if not hasattr(os, "sysconf"):  # Windows
        return None
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    told = limit.read_text(encoding="ascii").strip() if limit.is_file() else "max"
    return min(whole, int(told)) if told.isdigit() else whole


def gpus() -> Sequence[str]:
    """As the driver names them; without torch, which takes seconds to import."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return ["Apple Metal (mps)"]
    if not shutil.which(_NVIDIA[0]):
        return []
    try:
        done = subprocess.run(_NVIDIA, capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:  # a driver that hangs is as good as none, and training would hang too
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def _machine(numbers: dict[str, Measure]) -> Sequence[str]:
    cpu = read_cpu()
    told = tr("Python {python} on {platform}; {cores} cores: {name}.").format(
        python=platform.python_version(), platform=platform.platform(), cores=round(numbers["cores"].value),
        name=cpu.name or platform.machine(),
    )  # fmt: skip
    found = [told]
    if "memory" in numbers:
        found.append(tr("Memory: {memory:.1f} GB.").format(memory=numbers["memory"].value))
        if numbers["memory"].value < LITTLE_MEMORY_GB:
            found.append(tr("That is little: training needs about {needed} GB.").format(needed=LITTLE_MEMORY_GB))
    if cpu.has_bf16:
        found.append(tr("The processor multiplies bfloat16 in hardware: training on it is faster."))
    else:
        found.append(tr("The processor has no bfloat16: training on it uses float32."))
    found += [tr("Graphics processor: {name}.").format(name=name) for name in gpus()] or [
        tr("No graphics processor was found; none is needed.")
    ]
    return found


def _disk(folder: Path, free_gb: float) -> Sequence[str]:
    found = [tr("{folder} has {free:.1f} GB free.").format(folder=folder.resolve(), free=free_gb)]
    if free_gb < LITTLE_DISK_GB:
        found.append(tr("That is little: a whole life needs about {needed} GB.").format(needed=LITTLE_DISK_GB))
    return found


def _packages(packages: dict[str, dict[str, dict[str, Any]]], lacking: Mapping[str, Sequence[str]]) -> Sequence[str]:
    found = []
    for extra, wanted in packages.items():
        have = ", ".join(f"{name} {p['has']}" for name, p in wanted.items() if p["has"])
        if have:
            found.append(tr("{extra}: {packages}.").format(extra=extra, packages=have))
        if extra in lacking:
            names = ", ".join(f"{name}>={wanted[name]['needs']}" for name in lacking[extra])
            message = tr('{extra} lacks {packages}: pip install "luodi[{extra}]"')
            found.append(message.format(extra=extra, packages=names))
    return found


def _weights() -> Sequence[str]:
    """Packaged weights, in the cache or still to be fetched."""
    found = [tr("Packaged weights are kept in {folder}.").format(folder=cache_dir())]
    for name in PACKAGED:
        try:
            fetch(name, offline=True)
        except ResourceError:
            found.append(tr("{name} is not there yet: luodi fetch {name}").format(name=name))
        else:
            found.append(tr("{name} is there.").format(name=name))
    return found


def _settings() -> Sequence[str]:
    found = [tr("Language: {language} (LUODI_LANG=zh or en changes it).").format(language=language())]
    now = datetime.now().astimezone()
    found.append(tr("Clock: {time}.").format(time=now.isoformat(timespec="seconds")))
    built = datetime.fromtimestamp(Path(__file__).stat().st_mtime).astimezone()
    if now < built - timedelta(days=1):  # certificates and the order of results depend on it
        found.append(tr("The clock is behind the files of Luodi itself: set it."))
    return found
