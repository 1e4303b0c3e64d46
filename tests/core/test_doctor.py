"""`luodi doctor` says what is so, and what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from luodi import doctor
from luodi.core.report import Verdict
from luodi.errors import InputError


def test_it_looks_at_this_machine(tmp_path: Path, both_languages: str) -> None:
    found = doctor.doctor(tmp_path)
    assert found.verdict is Verdict.DONE
    assert found.numbers["cores"].value == len(os.sched_getaffinity(0))
    assert found.numbers["disk_free"].value == pytest.approx(shutil.disk_usage(tmp_path).free / 1e9, rel=0.1)
    assert 0.1 < found.numbers["memory"].value < 100_000
    assert any(sys.version.split()[0] in line for line in found.findings)
    assert any(str(tmp_path.resolve()) in line for line in found.findings)
    assert json.loads(found.to_json())["details"]["packages"]["train"]["torch"]["has"] == version("torch")


def test_what_is_missing_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(package: str) -> str:
        if package == "onnxruntime":
            raise PackageNotFoundError(package)
        return "0.1" if package == "pyarrow" else version(package)

    monkeypatch.setattr(doctor, "version", without)
    found = doctor.doctor(tmp_path)
    assert any('onnxruntime>=' in line and 'pip install "luodi[serve]"' in line for line in found.findings)
    assert any('pyarrow>=' in line and 'pip install "luodi[tables]"' in line for line in found.findings)
    assert found.next == 'pip install "luodi[serve,tables]"'


def test_nothing_missing_asks_for_nothing(tmp_path: Path) -> None:
    assert doctor.doctor(tmp_path).next == "luodi new"


@pytest.mark.parametrize("has_weights", [True, False])
def test_weights_are_there_or_the_command_that_gets_them(
    has_weights: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from luodi.models.packaged import PACKAGED, provenance

    monkeypatch.setenv("LUODI_CACHE", str(tmp_path))
    if has_weights:
        model = PACKAGED["e5-small"]
        folder = tmp_path / "models" / f"e5-small-{model.member.version}-{model.format}"
        folder.mkdir(parents=True)
        (folder / "SOURCE.json").write_text(json.dumps(provenance(model)), encoding="utf-8")
    findings = doctor.doctor(tmp_path).findings
    assert any(str(tmp_path) in line for line in findings)
    assert ("e5-small is there." in findings) is has_weights
    assert any("luodi fetch e5-small" in line for line in findings) is not has_weights


def test_no_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        doctor.doctor(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("has", "needs", "enough"),
    [("2.13.0+cpu", "2.11", True), ("2.9.1", "2.11", False), ("5.17.0", "5.17", True), ("1.0rc1", "1.0", True)],
)
def test_versions_are_compared_as_numbers(has: str, needs: str, enough: bool) -> None:
    assert (doctor.missing_of({"x": {"has": has, "needs": needs}}) == []) is enough


def test_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pathlib import Path; from luodi.doctor import doctor; doctor(Path('.'));"
        "print(*({'torch', 'transformers', 'openvino', 'onnxruntime', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
