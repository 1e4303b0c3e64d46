"""A result is there whole or not at all, wherever the power fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luodi.core.lock import held, holder_of
from luodi.core.store import MANIFEST, Store, hash_file, hash_json, leased, need_disk, write_atomically
from luodi.errors import ResourceError

# A child makes a result and dies, without any clean-up, at the n-th call that touches the disk for good.
CHILD = """
import os, sys
from pathlib import Path
from luodi.core import store

left = int(sys.argv[2])

def mortal(real, after):
    def call(*arguments):
        global left
        left -= 1
        if left == 0 and not after:
            os._exit(9)
        result = real(*arguments)
        if left == 0:
            os._exit(9)
        return result
    return call

after = sys.argv[3] == "after"
for name in ("fsync", "replace", "rename", "open", "mkdir"):
    setattr(os, name, mortal(getattr(os, name), after))

def work(folder):
    store.write_atomically(folder / "first.txt", "one " * 1000)
    (folder / "deep").mkdir(exist_ok=True)
    with (folder / "deep" / "second.bin").open("wb") as handle:
        handle.write(bytes(range(256)) * 100)

store.Store(Path(sys.argv[1])).make("train", "abc", {"dataset": "d1"}, work)
os._exit(0)
"""


def child(root: Path, dies_at: int, when: str) -> int:
    command = [sys.executable, "-c", CHILD, str(root), str(dies_at), when]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 9), done.stderr
    return done.returncode


def is_whole(folder: Path) -> bool:
    """Every file that the manifest names is there as it was, and no other."""
    told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {MANIFEST}
    return found == set(told) == {"first.txt", "deep/second.bin"} and all(
        hash_file(folder / name) == stamp for name, stamp in told.items()
    )


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_point_leaves_all_or_nothing(when: str, tmp_path: Path) -> None:
    died = 0
    for point in range(1, 60):
        store = Store(tmp_path / f"{point}")
        code = child(store.root, point, when)
        found = store.find("train", "abc")
        assert found is None or is_whole(found.path)
        assert store.latest("train") == found
        final = store.root / "train-abc"
        assert not final.exists() or is_whole(final)
        if code == 0:
            assert found is not None
            break
        died += 1
        # The same work goes on over what is left, and ends as if nothing had happened.
        assert child(store.root, 0, when) == 0
        assert is_whole(final)
        assert [p.name for p in store.root.iterdir() if p.name.endswith(".work")] == []
    assert died >= 8, "the child was to die at every call"


def test_made_once_and_found_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    calls: list[Path] = []

    def work(folder: Path) -> None:
        calls.append(folder)
        (folder / "a.txt").write_text("x", encoding="utf-8")

    first = store.make("prepare", "k1", {"sources": "s"}, work)
    assert store.make("prepare", "k1", {"sources": "s"}, work) == first == store.find("prepare", "k1")
    assert len(calls) == 1
    assert first.parents == ("s",)
    assert store.make("prepare", "k2", {}, work).key == "k2"
    assert len(calls) == 2


def test_work_goes_on_in_the_folder_that_an_error_left(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fails(folder: Path) -> None:
        (folder / "half.txt").write_text("kept", encoding="utf-8")
        raise RuntimeError("power")

    with pytest.raises(RuntimeError):
        store.make("train", "k", {}, fails)
    assert store.find("train", "k") is None

    def ends(folder: Path) -> None:
        assert (folder / "half.txt").read_text(encoding="utf-8") == "kept"

    assert (store.make("train", "k", {}, ends).path / "half.txt").is_file()


def test_a_folder_without_manifest_is_no_result_and_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "train-k").mkdir()
    (tmp_path / "train-k" / "stray.txt").write_text("?", encoding="utf-8")
    store = Store(tmp_path)
    assert store.find("train", "k") is None
    made = store.make("train", "k", {}, lambda folder: None)
    assert [p.name for p in made.path.iterdir()] == [MANIFEST]


def test_the_newest_is_the_one_published_last(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.latest("train") is None
    for key in ("b", "a", "c"):
        store.make("train", key, {}, lambda folder: None)
        newest = store.latest("train")
        assert newest is not None
        assert newest.key == key
    store.make("evaluate", "z", {}, lambda folder: None)
    assert store.latest("train") == store.find("train", "c")


def test_a_second_process_is_told(tmp_path: Path, both_languages: str) -> None:
    code = (
        "import sys; from pathlib import Path; from luodi.core.store import Store\n"
        "def wait(folder): print('in', flush=True); sys.stdin.readline()\n"
        f"Store(Path({str(tmp_path)!r})).make('train', 'k', {{}}, wait)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdin
        assert first.stdout
        assert first.stdout.readline().strip() == b"in"
        with pytest.raises(ResourceError) as caught:
            Store(tmp_path).make("train", "other", {}, lambda folder: None)
        assert caught.value.code == "store.locked"
        assert caught.value.hint
        assert f"{first.pid}" in caught.value.message
        assert "train" in caught.value.message
        first.stdin.write(b"\n")
        first.stdin.flush()
        assert first.wait(30) == 0
    assert Store(tmp_path).make("train", "other", {}, lambda folder: None).key == "other"


def test_the_lock_goes_with_a_killed_process(tmp_path: Path) -> None:
    code = (
        "import time; from pathlib import Path; from luodi.core.store import Store\n"
        "def wait(folder): print('in', flush=True); time.sleep(60)\n"
        f"Store(Path({str(tmp_path)!r})).make('train', 'k', {{}}, wait)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as first:
        assert first.stdout
        first.stdout.readline()
        first.kill()
    assert Store(tmp_path).make("train", "k", {}, lambda folder: None).key == "k"


def test_test_openings_are_counted_by_dataset(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    assert [store.count_test_opening(d, "evaluate") for d in ("a", "b", "a", "a")] == [1, 1, 2, 3]


def test_work_that_goes_on_looks_at_the_test_set_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    first = store.count_test_opening("d", "evaluate", "evaluate-a")
    other = store.count_test_opening("d", "evaluate", "evaluate-b")
    assert (first, other, store.count_test_opening("d", "evaluate", "evaluate-a")) == (1, 2, 1)
    assert store.count_test_opening("d", "compress", "evaluate-a") == 3


def test_what_killed_writers_left_does_not_get_into_a_result(tmp_path: Path) -> None:
    """safetensors writes aside under a name that nobody can foresee; a Bundle that held it would not open."""
    draft = tmp_path / "train-k.work" / "bundle"
    draft.mkdir(parents=True)
    for left in (draft / ".tmpA1b2C3", draft / ".golden.json.1.tmp", tmp_path / f".report.html.{os.getpid()}.tmp"):
        left.write_bytes(b"half")
    made = Store(tmp_path).make("train", "k", {}, lambda folder: None)
    assert [p.name for p in made.path.rglob("*") if p.is_file()] == [MANIFEST]
    write_atomically(tmp_path / "report.html", "page")
    assert (tmp_path / f".report.html.{os.getpid()}.tmp").exists() is False


def test_a_torn_manifest_is_no_result(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.make("train", "k", {}, lambda folder: None)
    (made.path / MANIFEST).write_bytes(b"")
    assert store.find("train", "k") is None
    assert store.latest("train") is None
    assert store.make("train", "k", {}, lambda folder: None).key == "k"


def test_who_holds_the_store_holds_it_inside_too(tmp_path: Path) -> None:
    """A whole life is one command: nobody comes in between two of its verbs."""
    store = Store(tmp_path)
    with store.held("run"):
        store.make("prepare", "a", {}, lambda folder: None)
        holder = holder_of(tmp_path / ".lock")
        assert holder is not None
        assert (holder.doing, holder.pid) == ("run", os.getpid())
    assert holder_of(tmp_path / ".lock") is None
    with pytest.raises(ResourceError), held(tmp_path / ".lock", "other"):
        store.make("prepare", "b", {}, lambda folder: None)


def test_a_lease_lasts_as_long_as_its_process(tmp_path: Path) -> None:
    made = Store(tmp_path).make("compress", "k", {}, lambda folder: (folder / "bundle").mkdir())
    code = (
        "import sys; from pathlib import Path; from luodi.core.store import leased\n"
        f"with leased(Path({str(made.path / 'bundle')!r})): print('in', flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as service:
        assert service.stdout
        service.stdout.readline()
        assert {name: holder.pid for name, holder in Store(tmp_path).services().items()} == {made.name: service.pid}
        service.kill()
    assert Store(tmp_path).services() == {}
    with leased(tmp_path / "elsewhere" / "bundle"):  # a copy needs none
        assert not (tmp_path / "elsewhere").exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(value=st.dictionaries(st.text(max_size=5), JSON, max_size=5))
@settings(max_examples=60, deadline=None)
def test_the_hash_knows_no_order_of_keys_and_every_value(value: dict[str, object]) -> None:
    assert hash_json(dict(reversed(value.items()))) == hash_json(value) == hash_json(json.loads(json.dumps(value)))
    assert hash_json({**value, "one more": 1}) != hash_json(value)


@given(old=st.binary(max_size=50), new=st.binary(max_size=50))
@settings(max_examples=30, deadline=None)
def test_writing_replaces_and_leaves_nothing_beside(
    old: bytes, new: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("w") / "file"
    write_atomically(path, old)
    write_atomically(path, new)
    assert path.read_bytes() == new
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_too_little_disk_is_told_before_the_first_step(tmp_path: Path) -> None:
    need_disk(tmp_path / "new", 1)
    with pytest.raises(ResourceError) as caught:
        need_disk(tmp_path, 10**18)
    assert caught.value.code == "disk.full"
    assert "1000000000.0 GB" in caught.value.message
