"""What a service keeps of its traffic: where it is wanted, without personal data, and readable by `understand`."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from luodi import commands
from luodi.core.bundle import open_bundle
from luodi.errors import ConfigError, ResourceError
from luodi.modalities.image import Image
from luodi.modalities.prompt import Prompt
from luodi.modalities.text import Text
from luodi.stages.serve import traffic as module
from luodi.stages.serve.config import ServeSettings
from luodi.stages.serve.serve import serve
from luodi.stages.serve.traffic import TABLE, require_text
from luodi.stages.understand.config import UnderstandSettings
from luodi.understanding import feedback_of, read_source
from poet import write_bundle
from serving import Served, served

GOOD, BAD = "好吃 不错 great", "难吃 太差 terrible"


def rows(file: Path, columns: str = "text, answer") -> list[Any]:
    with closing(sqlite3.connect(file)) as database:
        return database.execute(f"SELECT {columns} FROM {TABLE} ORDER BY id").fetchall()


def counted(service: Served, fate: str) -> float:
    """Waits until so many were kept or lost as there will be."""
    name = f'luodi_traffic_total{{fate="{fate}"}} '
    for _ in range(200):
        lines = [line for line in service.client.get("/metrics").text.splitlines() if line.startswith(name)]
        if lines:
            return float(lines[0].removeprefix(name))
        time.sleep(0.05)
    raise AssertionError(f"nothing was {fate}")


def test_nothing_is_kept_where_it_is_not_wanted(tiny_bundle: Path, tmp_path: Path) -> None:
    before = set(tiny_bundle.rglob("*"))
    with served(tiny_bundle, ServeSettings()) as running:
        running.ask(GOOD)
        assert "traffic" not in running.client.get("/metrics").text
    assert set(tiny_bundle.rglob("*")) == before


def test_what_was_asked_and_answered_is_feedback(tiny_bundle: Path, tmp_path: Path) -> None:
    """Without the golden inputs that it asks itself, the probes, and what was refused."""
    file = tmp_path / "traffic.db"
    with served(tiny_bundle, ServeSettings(traffic=str(file))) as running:
        running.ask(f"{GOOD} 电话13812345678")
        running.ask(BAD, GOOD)
        running.client.get("/health/progress")
        running.client.post("/predict", json={"input": ""})
    assert rows(file) == [("好吃 不错 great 电话[phone]", "好评"), (BAD, "差评"), (GOOD, "好评")]
    assert {told[0] for told in rows(file, "model")} == {open_bundle(tiny_bundle).identity}
    read = feedback_of(read_source(str(file)), UnderstandSettings())
    assert [f.text for f in read.feedback] == [told[0] for told in rows(file, "text")]
    assert all(f.time is not None for f in read.feedback)


@pytest.mark.skipif(os.name != "posix", reason="other systems have other rights")
def test_only_its_owner_may_read_it(tiny_bundle: Path, tmp_path: Path) -> None:
    with served(tiny_bundle, ServeSettings(traffic=str(tmp_path / "traffic.db"))):
        assert stat.S_IMODE((tmp_path / "traffic.db").stat().st_mode) == 0o600


def test_the_oldest_make_place_and_a_second_run_goes_on(tiny_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "traffic.db"
    for first in (0, 3):
        with served(tiny_bundle, ServeSettings(traffic=str(file), max_traffic=4)) as running:
            for number in range(first, first + 3):
                running.ask(f"好吃 {number}")
    assert [text for text, _ in rows(file)] == [f"好吃 {number}" for number in (2, 3, 4, 5)]


def test_a_store_that_fails_is_told_and_holds_nobody_up(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.05)
    file = tmp_path / "traffic.db"
    with served(tiny_bundle, ServeSettings(traffic=str(file))) as running:
        running.ask(GOOD)
        assert counted(running, "kept") == 1
        with closing(sqlite3.connect(file)) as database, database:
            database.execute(f"DROP TABLE {TABLE}")
        assert running.ask(GOOD, BAD).status_code == 200
        assert counted(running, "lost") == 2


def test_of_more_than_it_can_hold_the_rest_is_lost_and_counted(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    monkeypatch.setattr(module, "EVERY_S", 60.0)
    with served(tiny_bundle, ServeSettings(traffic=str(tmp_path / "traffic.db"))) as running:
        running.ask(GOOD, BAD, GOOD, GOOD)
        assert counted(running, "lost") == 2
    assert len(rows(tmp_path / "traffic.db")) == 2


@pytest.mark.parametrize("kind", ["no folder", "another file", "another table"])
def test_a_place_where_nothing_can_be_kept_is_refused_at_once(
    kind: str, tiny_bundle: Path, tmp_path: Path, both_languages: str
) -> None:
    file = tmp_path / ("none/traffic.db" if kind == "no folder" else "traffic.db")
    if kind == "another file":
        file.write_text("text,label\n" * 100, encoding="utf-8")
    if kind == "another table":
        with closing(sqlite3.connect(file)) as database, database:
            database.execute(f"CREATE TABLE {TABLE} (car)")
    with pytest.raises(ResourceError) as caught:
        serve(tiny_bundle, ServeSettings(port=0, traffic=str(file)))
    assert str(file) in caught.value.message
    assert caught.value.hint


def test_texts_alone_are_kept(both_languages: str) -> None:
    require_text(Text())
    require_text(Prompt())
    with pytest.raises(ConfigError, match=r"serve\.traffic"):
        require_text(Image())


def test_a_conversation_is_kept_turn_by_turn(tmp_path: Path) -> None:
    """Streamed or not; `understand` reads what the user said in it."""
    write_bundle(tmp_path / "bundle")
    talk = [{"role": "user", "content": "春风 a.b@example.com"}]
    file = tmp_path / "traffic.db"
    with served(tmp_path / "bundle", ServeSettings(traffic=str(file))) as running:
        running.client.post("/predict", json={"input": talk})
        running.client.post("/predict", json={"input": talk, "stream": True}).read()
    (first, answer), (second, streamed) = rows(file)
    assert first == second == '[{"role": "user", "content": "春风 [e-mail]"}]'
    assert answer == streamed
    read = feedback_of(read_source(str(file)), UnderstandSettings(near_duplicates=1))
    assert [f.text for f in read.feedback] == ["春风 [e-mail]"]
    assert read.feedback[0].weight == 2


@pytest.mark.parametrize("setting", ["trafic=x.db", "train.threads=1", "serve.nothing=1"])
def test_of_a_bundle_too_an_unknown_setting_is_told(setting: str, tiny_bundle: Path, both_languages: str) -> None:
    """It was passed over once: a service ran that kept nothing."""
    with pytest.raises(ConfigError, match="serve"):
        commands.serve(str(tiny_bundle), setting)
