"""A Bundle that is not as it was sealed does not open: `predict` and `serve` say so in one line, exit code 2."""

from __future__ import annotations

import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Command
from shop import luodi


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "new.csv"
    path.write_text("text\n好吃\n", encoding="utf-8")
    return path


def files_of(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def refused(command: Command, bundle: Path, rows: Path, language: str = "en", verb: str = "predict") -> str:
    """The line that is said."""
    words = {"predict": (str(bundle), str(rows)), "serve": (str(bundle), "--port", "0")}[verb]
    done = command(verb, *words, language=language)
    assert (done.code, done.out) == (2, ""), done.err
    assert done.line.startswith(f"luodi {verb}: ")
    assert not rows.with_name("new.answers.csv").exists()
    return done.line


def test_64_bits_anywhere(bundle: Path, rows: Path, command: Command) -> None:
    """Spread over all files, so that small ones get their share."""
    rng = random.Random(0)
    for i in range(64):
        path = files_of(bundle)[i % len(files_of(bundle))]
        sound = path.read_bytes()
        place = rng.randrange(len(sound) * 8)
        spoilt = bytearray(sound)
        spoilt[place // 8] ^= 1 << place % 8
        path.write_bytes(spoilt)
        line = refused(command, bundle, rows, "zh" if i % 2 else "en", "serve" if i % 8 == 0 else "predict")
        assert path.name in line
        assert line.endswith("[bundle.altered]")
        path.write_bytes(sound)
    assert command("predict", str(bundle), str(rows), language="en").code == 0


@pytest.mark.parametrize("language", ["en", "zh"])
def test_cut_short(language: str, bundle: Path, rows: Path, command: Command) -> None:
    for path in files_of(bundle):
        sound = path.read_bytes()
        for spoilt, verb in ((b"", "predict"), (sound[: len(sound) // 2], "serve"), (sound[:-1], "predict")):
            path.write_bytes(spoilt)
            assert path.name in refused(command, bundle, rows, language, verb)
        path.write_bytes(sound)


class Boom:
    """Unpickling it writes a file: the proof that it was unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    "name", ["weights/model.safetensors", "weights/model.bin", "weights/more.safetensors", "model.pkl", "x.pt"]
)
def test_a_pickle_in_disguise(
    name: str, language: str, bundle: Path, rows: Path, command: Command, tmp_path: Path
) -> None:
    proof = tmp_path / "it ran"
    (bundle / name).write_bytes(pickle.dumps(Boom(proof)))
    for verb in ("predict", "serve"):
        line = refused(command, bundle, rows, language, verb)
        assert name in line
        assert line.endswith("[bundle.altered]")
        assert not proof.exists()


def test_in_processes_of_their_own(bundle: Path, rows: Path) -> None:
    path = bundle / "bundle.json"
    path.write_bytes(path.read_bytes().replace(b"text_classification", b"text_classificatiom"))
    for words in (("predict", str(bundle), str(rows)), ("serve", str(bundle), "--port", "0")):
        done = luodi(*words, LUODI_LANG="zh")
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1
        assert "bundle.json" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("what", ["nothing", "a file"])
def test_what_is_no_bundle(what: str, tmp_path: Path, rows: Path, command: Command) -> None:
    place = tmp_path / "nowhere"
    if what == "a file":
        place.write_text("x")
    line = refused(command, place, rows)
    assert "nowhere" in line
