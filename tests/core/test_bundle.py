"""A Bundle opens as it was sealed, or not at all."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from luodi.core.bundle import (
    ALLOWED_SUFFIXES,
    FILE,
    GOLDEN,
    NUM_GOLDEN,
    GoldenPair,
    compare,
    open_bundle,
    read_manifest,
    seal_bundle,
)  # fmt: skip
from luodi.core.store import hash_json
from luodi.core.types import Dataset
from luodi.errors import BundleError, LuodiError, ParityError


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def files_of(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def refused(folder: Path, kind: type[LuodiError] = BundleError) -> LuodiError:
    with pytest.raises(kind) as caught:
        open_bundle(folder)
    return caught.value


def test_it_opens_answers_and_proves_itself(bundle: Path, tiny_dataset: Dataset[str, str]) -> None:
    opened = open_bundle(bundle)
    answers = opened.predict([e.input for e in tiny_dataset.test])
    assert sum(a.value == e.target for a, e in zip(answers, tiny_dataset.test, strict=True)) >= 45
    assert opened.replay().holds
    assert opened.replay().n == min(NUM_GOLDEN, len(tiny_dataset.validation))
    assert opened.size_bytes == sum(p.stat().st_size for p in files_of(bundle))
    assert opened.identity == read_manifest(bundle).seal


def test_no_single_bit_may_differ(bundle: Path) -> None:
    """64 bits, anywhere: spread over all files, so that small ones get their share."""
    rng = random.Random(0)
    for i in range(64):
        path = files_of(bundle)[i % len(files_of(bundle))]
        sound = path.read_bytes()
        place = rng.randrange(len(sound) * 8)
        spoilt = bytearray(sound)
        spoilt[place // 8] ^= 1 << place % 8
        path.write_bytes(spoilt)
        refused(bundle)
        path.write_bytes(sound)
    open_bundle(bundle)


def test_no_byte_of_the_manifest_may_differ(bundle: Path) -> None:
    """Names of keys and spaces included."""
    path, rng = bundle / FILE, random.Random(1)
    sound = path.read_bytes()
    for place in range(len(sound)):
        spoilt = bytearray(sound)
        spoilt[place] ^= 1 << rng.randrange(8)
        path.write_bytes(spoilt)
        with pytest.raises(BundleError):
            read_manifest(bundle)


def test_no_file_may_be_cut_short_or_longer(bundle: Path) -> None:
    for path in files_of(bundle):
        sound = path.read_bytes()
        for spoilt in (b"", sound[: len(sound) // 2], sound[:-1], sound + b"\0"):
            path.write_bytes(spoilt)
            refused(bundle)
        path.write_bytes(sound)
    open_bundle(bundle)


def test_no_file_may_be_missing(bundle: Path) -> None:
    for path in files_of(bundle):
        sound = path.read_bytes()
        path.unlink()
        error = refused(bundle)
        assert error.code == ("bundle.missing" if path.name == FILE else "bundle.altered")
        path.write_bytes(sound)


@pytest.mark.parametrize("name", ["evil.py", "weights/more.safetensors", ".hidden", "processor/x.txt"])
def test_no_file_may_be_added(name: str, bundle: Path) -> None:
    (bundle / name).write_text("x", encoding="utf-8")
    error = refused(bundle)
    assert error.code == "bundle.altered"
    assert name in error.message.replace("\\", "/")


@pytest.mark.parametrize("name", ["weights/model.pkl", "weights/model.pt", "code.py", "weights/lib.so", "x"])
def test_no_kind_that_can_carry_code_even_under_a_sound_seal(name: str, bundle: Path) -> None:
    (bundle / name).write_bytes(b"x")
    reseal(bundle)
    assert refused(bundle).code == "bundle.kind"
    assert not name.endswith(ALLOWED_SUFFIXES)


class Boom:
    """Unpickling it writes a file: the proof that it was unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("target", ["weights/model.safetensors", "weights/model.bin", "processor/tokenizer.json"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_pickle_in_disguise_is_never_run(target: str, bundle: Path, tmp_path: Path) -> None:
    """Under a sound seal: whoever made this could seal it too."""
    proof = tmp_path / "it ran"
    (bundle / target).write_bytes(pickle.dumps(Boom(proof)))
    reseal(bundle)
    try:
        open_bundle(bundle)
        answered = True
    except Exception:  # noqa: BLE001 - each reader has its own error; that it is none of ours is not the point here
        answered = False
    assert not proof.exists()
    # A stray .bin beside sound weights is dead data: nothing reads it.
    assert answered == (target == "weights/model.bin")


def reseal(folder: Path) -> None:
    golden = tuple(GoldenPair(**pair) for pair in json.loads((folder / GOLDEN).read_bytes()))
    seal_bundle(folder, read_manifest(folder), golden)


def test_golden_answers_may_not_be_changed(bundle: Path) -> None:
    golden = json.loads((bundle / GOLDEN).read_bytes())
    golden[0]["value"] = "差评" if golden[0]["value"] == "好评" else "好评"
    (bundle / GOLDEN).write_text(json.dumps(golden, ensure_ascii=False), encoding="utf-8")
    assert refused(bundle).code == "bundle.altered"


def test_golden_answers_that_the_model_does_not_give_refuse_in_words(bundle: Path, both_languages: str) -> None:
    """With a sound seal as well."""
    opened = open_bundle(bundle)
    wrong = [replace(pair, scores={k: 1 - p for k, p in pair.scores.items()}) for pair in opened.golden[:3]]
    seal_bundle(bundle, opened.manifest, [*wrong, *opened.golden[3:]])
    error = refused(bundle, ParityError)
    assert error.exit_code == 1
    assert str(len(opened.golden)) in error.message
    assert open_bundle(bundle, replay=False).manifest.task == "text_classification"


@pytest.mark.parametrize("module", ["os", "luodi_evil", "torch.hub", "builtins"])
def test_a_bundle_may_not_name_a_module_of_others(module: str, bundle: Path) -> None:
    opened = open_bundle(bundle)
    for part in ({"engine": module}, {"processor": module}):
        seal_bundle(bundle, replace(opened.manifest, **part), opened.golden)
        assert refused(bundle).code == "bundle.module"


def test_a_broken_seal_is_seen_without_opening_the_model(bundle: Path) -> None:
    told = json.loads((bundle / FILE).read_bytes())
    told["schema"]["threshold"] = 0.01
    (bundle / FILE).write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(BundleError):
        read_manifest(bundle)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", '{"task": 3}', "\0"])
def test_what_is_no_manifest_is_told(text: str, bundle: Path) -> None:
    (bundle / FILE).write_text(text, encoding="utf-8")
    assert refused(bundle).code == "bundle.altered"


def test_one_made_before_a_field_was_thought_of_opens(bundle: Path) -> None:
    """What stood in it is judged, not what this version would write: fields that came later have their defaults."""

    def forget(told: dict[str, Any]) -> None:
        del told["schema"]["threshold"], told["tolerance"]

    as_another_version(bundle, forget)
    assert open_bundle(bundle).manifest.tolerance == 1e-3


def test_one_made_by_a_newer_version_is_told(bundle: Path, both_languages: str) -> None:
    """It may ask for what this version does not know: answering without would be answering otherwise."""
    as_another_version(bundle, lambda told: told["schema"].update(beams=4))
    error = refused(bundle)
    assert error.code == "bundle.newer"
    assert "schema.beams" in str(error)


def as_another_version(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """A sound seal over a changed manifest, as another version would write it."""
    told = json.loads((folder / FILE).read_text(encoding="utf-8"))
    change(told)
    told["seal"] = hash_json({**told, "seal": ""})
    (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=1))


def test_a_folder_that_is_no_bundle_is_told(tmp_path: Path, both_languages: str) -> None:
    assert refused(tmp_path).code == "bundle.missing"


def pair(value: str, **scores: float) -> GoldenPair:
    return GoldenPair(input=None, value=value, confidence=None, scores=scores)


def test_a_tie_may_fall_either_way_and_nothing_else_may() -> None:
    tied, turned = pair("a", a=0.5004, b=0.4996), pair("b", a=0.4998, b=0.5002)
    assert compare([tied], [turned], 1e-3).holds
    assert not compare([pair("a", a=0.9, b=0.1)], [pair("b", a=0.1, b=0.9)], 1e-3).holds
    assert not compare([pair("a", a=0.9, b=0.1)], [pair("a", a=0.8, b=0.2)], 1e-3).holds
    assert not compare([pair("a", a=0.9, b=0.1)], [pair("a")], 1e-3).holds
    assert compare([pair("a", a=0.9, b=0.1)], [pair("a", a=0.8, b=0.2)], 0.2).worst == pytest.approx(0.1)
