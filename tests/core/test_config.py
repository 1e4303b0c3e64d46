"""`luodi.yaml`: what a user writes, and one line where it does not hold together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from luodi.core.config import (
    Brief,
    did_you_mean,
    expand_columns,
    parse_duration,
    read_yaml,
    schema,
    split_brief,
)  # fmt: skip
from luodi.core.project import open_project, settings_types
from luodi.errors import ConfigError, InputError

STAGES = settings_types()
EXAMPLE = Path(__file__).parents[2] / "examples" / "reviews"
GOOD = "task: text_classification\ndata: a.csv\ninput: text\ntarget: label\n"


def project_in(folder: Path, text: str) -> Path:
    (folder / "luodi.yaml").write_text(text, encoding="utf-8")
    return folder


def refusal(told: dict[str, Any]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        split_brief(told, STAGES)
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_page_becomes_typed(tmp_path: Path) -> None:
    text = GOOD + "budget: 90 s\naccept: {accuracy: '>= 0.9'}\ntrain: {epochs: 7}\n"
    project = open_project(project_in(tmp_path, text))
    assert project.brief.columns.input == ("text",)
    assert project.brief.budget_seconds == 90
    assert project.settings["train"].epochs == 7
    assert project.settings["train"].max_length == STAGES["train"]().max_length
    assert set(project.settings) == set(STAGES)
    assert [str(limit) for limit in project.contract.limits] == ["accuracy >= 0.9"]


def test_there_are_at_most_fifteen_keys_at_the_top_beside_those_of_the_stages() -> None:
    assert len(set(schema(STAGES)["properties"]) - set(STAGES)) <= 15


@pytest.mark.parametrize(
    ("key", "meant"), [("targt", "target"), ("Data", "data"), ("trian", "train"), ("budgets", "budget")]
)
def test_an_unknown_key_is_told_with_the_one_meant(key: str, meant: str, both_languages: str) -> None:
    error = refusal({key: "x"})
    assert error.code == "config.unknown_key"
    assert key in error.message
    assert meant in error.hint


def test_an_unknown_setting_of_a_stage_is_told_with_its_place() -> None:
    error = refusal({"train": {"Epochs": 3}})
    assert "train" in error.message
    assert "epochs" in error.hint


@pytest.mark.parametrize(
    ("told", "key"),
    [
        ({"seed": "many"}, "seed"),
        ({"goal": 3}, "goal"),
        ({"train": {"epochs": "three"}}, "train.epochs"),
        ({"prepare": {"test": []}}, "prepare.test"),
        ({"accept": ["accuracy"]}, "accept"),
        ({"train": {"precision": "fp8"}}, "train"),
    ],
)
def test_a_wrong_type_is_told_with_its_key(told: dict[str, Any], key: str, both_languages: str) -> None:
    error = refusal(told)
    assert error.code == "config.type"
    assert key in error.message


def test_a_stage_that_is_no_mapping_is_told() -> None:
    assert "train" in refusal({"train": 3}).message


@pytest.mark.parametrize("text", ["a: [", "- a\n- b", "just words", "a: b: c", "\t- x"])
def test_what_is_not_a_page_is_told(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_yaml(project_in(tmp_path, text))
    assert caught.value.code == "config.yaml"
    assert "luodi.yaml" in caught.value.message


def test_a_missing_page_and_a_missing_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no luodi.yaml"):
        open_project(tmp_path)
    with pytest.raises(InputError, match="nowhere"):
        open_project(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["data: a.csv\n", "input: text\n", "input: []\ndata: a.csv\n", ""])
def test_a_page_without_data_or_input_is_told(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_project(project_in(tmp_path, text))
    assert caught.value.code == "config.incomplete"


def test_a_byte_order_mark_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "luodi.yaml").write_text(GOOD, encoding="utf-8-sig")
    assert open_project(tmp_path).brief.task == "text_classification"


def test_the_command_line_lies_over_the_page(tmp_path: Path) -> None:
    project_in(tmp_path, GOOD + "train: {epochs: 3, patience: 9}\naccept: {accuracy: '>= 0.9'}\n")
    settings = ["train.epochs=1", "seed=5", "accept.slices.language.zh=>= 0.8", "accept.accuracy=>= 0.5", "goal=a=b"]
    project = open_project(tmp_path, settings)
    assert (project.settings["train"].epochs, project.settings["train"].patience) == (1, 9)
    assert project.brief.seed == 5
    assert project.brief.goal == "a=b"
    assert project.brief.accept == {"accuracy": ">= 0.5", "slices.language.zh": ">= 0.8"}


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "1E-4", "1.e-4"])
def test_a_small_number_is_a_number_however_it_is_written(text: str, tmp_path: Path) -> None:
    on_the_page = open_project(project_in(tmp_path, GOOD + f"train: {{learning_rate: {text}}}\n"))
    over_it = open_project(project_in(tmp_path, GOOD), [f"train.learning_rate={text}"])
    assert on_the_page.settings["train"].learning_rate == over_it.settings["train"].learning_rate == 1e-4


def test_nothing_is_built_from_a_tag(tmp_path: Path) -> None:
    """The loader stays a safe one."""
    with pytest.raises(ConfigError):
        read_yaml(project_in(tmp_path, "goal: !!python/object/apply:os.getcwd []\n"))


@pytest.mark.parametrize("text", ["epochs", "=3", "task.deep.er=1"])
def test_an_override_of_another_form_is_told(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_project(project_in(tmp_path, GOOD), [text])
    assert caught.value.code == "config.override"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90 s", 90), ("10 min", 600), ("2 h", 7200), ("5", 300), ("1.5m", 90), (" 3 sec ", 3)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(number=st.integers(1, 10**6), unit=st.sampled_from([("s", 1), ("min", 60), ("h", 3600)]))
@settings(deadline=None)
def test_every_duration_is_read(number: int, unit: tuple[str, int]) -> None:
    assert parse_duration(f"{number} {unit[0]}") == parse_duration(f"{number}{unit[0]}") == number * unit[1]


@pytest.mark.parametrize("text", ["soon", "-3 s", "3 days", "", "1e3 s", "10 min 5"])
def test_what_is_no_duration_is_told(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_duration(text)
    assert caught.value.code == "config.budget"


@given(word=st.text(max_size=12))
@settings(deadline=None)
def test_any_word_gets_a_hint(word: str) -> None:
    assert did_you_mean(word, ["accuracy", "budget"])


KINDS: dict[str, Any] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
    "null": type(None),
}  # fmt: skip


def errors(value: Any, rule: dict[str, Any], top: dict[str, Any]) -> list[str]:
    """A small reader of JSON schema: as much of it as the published one uses."""
    if "$ref" in rule:
        return errors(value, top["$defs"][rule["$ref"].rpartition("/")[2]], top)
    if "anyOf" in rule:
        found = [errors(value, option, top) for option in rule["anyOf"]]
        return [] if not all(found) else found[0]
    if "enum" in rule:
        return [] if value in rule["enum"] else [f"{value!r} is none of {rule['enum']}"]
    kind = rule.get("type")
    if kind and (not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{value!r} is not {kind}"]
    if kind == "array":
        return [e for part in value for e in errors(part, rule.get("items", {}), top)]
    return errors_inside(value, rule, top) if kind == "object" else []


def errors_inside(value: dict[str, Any], rule: dict[str, Any], top: dict[str, Any]) -> list[str]:
    known, rest = rule.get("properties", {}), rule.get("additionalProperties", {})
    unknown = [f"{key} is unknown" for key in value if key not in known and rest is False]
    inner = {key: known.get(key, rest) for key in value}
    return unknown + [e for key, part in inner.items() if isinstance(part, dict) for e in errors(value[key], part, top)]


def test_the_published_schema_takes_the_example() -> None:
    told = yaml.safe_load((EXAMPLE / "luodi.yaml").read_text(encoding="utf-8"))
    assert errors(told, schema(STAGES), schema(STAGES)) == []
    brief, _ = split_brief(told, STAGES)
    assert brief.goal


@pytest.mark.parametrize("told", [{"targt": "x"}, {"seed": "x"}, {"train": {"epochs": "x"}}, {"train": {"Epochs": 1}}])
def test_the_published_schema_refuses_what_the_reader_refuses(told: dict[str, Any]) -> None:
    assert errors(told, schema(STAGES), schema(STAGES))
    refusal(told)


def test_the_published_schema_is_whole_and_says_what_it_means() -> None:
    told = schema(STAGES)
    assert json.loads(json.dumps(told)) == told
    assert told["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    refs = [part for part in json.dumps(told).split('"$ref": "#/$defs/')[1:]]
    assert {ref.partition('"')[0] for ref in refs} <= set(told["$defs"])
    assert set(told["properties"]) == {*Brief.__dataclass_fields__, *STAGES}


def test_the_schema_in_the_docs_is_the_one_in_force() -> None:
    """Mend with: luodi schema > docs/luodi.schema.json"""
    published = Path(__file__).parents[2] / "docs" / "luodi.schema.json"
    assert json.loads(published.read_text(encoding="utf-8")) == schema(settings_types())


KNOWN = ("id", "pixel0", "pixel1", "pixel2", "label", "a:b")


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["pixel0:pixel2"], ("pixel0", "pixel1", "pixel2")),
        (["id", "pixel1:label"], ("id", "pixel1", "pixel2", "label")),
        (["a:b"], ("a:b",)),
        (["label:a:b"], ("label", "a:b")),
        (["pixel2:pixel0"], ()),
        (["pixel0:pixel9"], ("pixel0:pixel9",)),
        (["pixel0 : pixel1"], ("pixel0", "pixel1")),
    ],
)
def test_ranges_of_columns(names: list[str], columns: tuple[str, ...]) -> None:
    assert expand_columns(names, KNOWN) == (columns or tuple(names))


def test_columns_that_are_called_by_a_number(tmp_path: Path) -> None:
    """YAML 1.1 would read 1:59 as 119 seconds."""
    (tmp_path / "luodi.yaml").write_text("input: 1:59\ntarget: 65\ndata: a.csv\n", encoding="utf-8")
    brief, _ = split_brief(read_yaml(tmp_path, ["group=3"]), {})
    assert (brief.input, brief.target, brief.group) == ("1:59", "65", "3")
    assert read_yaml(tmp_path, ["seed=12", "train.rate=1e-4"])["seed"] == 12
