"""`luodi.yaml`, read into frozen types. An unknown key is one line with "did you mean".

At most 15 keys at the top. Each stage owns the type of its settings (`stages/<verb>/config.py`) and this
module knows none of them: `read_brief` takes them as a mapping from verb to type.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

import msgspec
import yaml

from luodi.core.types import Columns
from luodi.errors import ConfigError
from luodi.messages import tr

FILE = "luodi.yaml"
_NAMING = ("input", "target", "group")  # keys of the brief whose values are names of columns
Settings = TypeVar("Settings")


@dataclass(frozen=True, kw_only=True, slots=True)
class Brief:
    """What a typical user writes: the whole page, apart from the stages' own settings."""

    goal: str = ""
    """What the model is for, in the user's words. Goes onto the report."""
    task: str = ""
    """A file of tasks/, or the dotted path of a module of yours."""
    data: str | list[str] | dict[str, str] = ""
    """A file, a folder, a list of them, or one for each of train, validation and test; `package:NAME/path` is
    data that travels in an installed Python package."""
    input: str | list[str] = ""
    """The column, or columns, that the model reads; "pixel0:pixel63" means all from the first to the second, in the
    table's order."""
    target: str = ""
    """The column that holds the right answer."""
    group: str | None = None
    """Rows with one value here stay together on one side of the split: a user, a document."""
    model: str = "auto"
    """auto, a packaged name, a folder, a hub id, or family:size for training from scratch."""
    budget: str = ""
    """Time for training: "10 min", "2 h". Empty: until the score no longer rises."""
    seed: int = 0
    """Everything that is drawn at random is drawn from this."""
    accept: dict[str, Any] = field(default_factory=dict)
    """The contract."""

    @property
    def title(self) -> str:
        """What a run, or its Bundle, is called."""
        return self.goal or Path(str(self.data)).stem

    @property
    def columns(self) -> Columns:
        inputs = (self.input,) if isinstance(self.input, str) else tuple(self.input)
        return Columns(input=inputs, target=self.target or None, group=self.group)

    @property
    def budget_seconds(self) -> float | None:
        return parse_duration(self.budget) if self.budget else None


def read_yaml(folder: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The file's keys with `key=value` and `stage.key=value` laid over them."""
    path = folder / FILE
    if not path.is_file():
        message = tr("There is no {file} in {folder}.").format(file=FILE, folder=folder)
        raise ConfigError(message, code="config.missing", hint=tr("Make one with: luodi new YOUR_FILE"))
    try:
        told = _from_yaml(path.read_text(encoding="utf-8-sig")) or {}
    except PermissionError as error:
        message = tr("You have no right to read {file}.").format(file=path)
        hint = tr("Change its permissions, or name another file.")
        raise ConfigError(message, code="config.unreadable", hint=hint) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        message = tr("{file} is not valid YAML (line {line}).").format(file=path, line=where.line + 1 if where else "?")
        raise ConfigError(message, code="config.yaml") from error
    if not isinstance(told, dict):
        raise ConfigError(tr("{file} must hold `key: value` lines.").format(file=path), code="config.yaml")
    for override in overrides:
        lay_over(told, override)
    return told


def split_brief(told: Mapping[str, Any], stages: Mapping[str, type]) -> tuple[Brief, Mapping[str, Any]]:
    """The brief, and each stage's typed settings by verb. Raises ConfigError in one line."""
    known = [f.name for f in dataclasses.fields(Brief)]
    for key in told:
        if key not in known and key not in stages:
            message = tr("{file} has an unknown key: {key}.").format(file=FILE, key=key)
            raise ConfigError(message, code="config.unknown_key", hint=did_you_mean(str(key), (*known, *stages)))
    brief = typed(Brief, {k: _as_name(v) if k in _NAMING else v for k, v in told.items() if k in known}, "")
    return brief, {verb: typed(kind, told.get(verb) or {}, verb) for verb, kind in stages.items()}


def expand_columns(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """`names` with each range "first:last" as the columns from the one to the other, in the order of `known`. A
    column that is called so itself is taken as it is; a range without its ends stays, for the caller to complain of."""
    return tuple(column for name in names for column in _range(name, known) or (name,))


def range_ends(name: str, known: Sequence[str]) -> tuple[str, str] | None:
    """The two columns that a name means, where it is no column itself and holds a colon: those that are there where
    there are such."""
    if name in known or ":" not in name:
        return None
    parts = name.split(":")
    pairs = [(":".join(parts[:i]).strip(), ":".join(parts[i:]).strip()) for i in range(1, len(parts))]
    return next((pair for pair in pairs if set(pair) <= set(known)), pairs[0])


def typed(kind: type[Settings], told: Any, where: str) -> Settings:
    """A mapping as a frozen dataclass; `where` is the key that it stands under."""
    if not isinstance(told, Mapping):
        raise ConfigError(tr("{where} must hold `key: value` lines.").format(where=where), code="config.type")
    names = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in told:
        if key not in names:
            message = tr("{where} has an unknown key: {key}.").format(where=where or FILE, key=key)
            raise ConfigError(message, code="config.unknown_key", hint=did_you_mean(str(key), names))
    try:
        return msgspec.convert(dict(told), kind)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), where, kind), code="config.type") from error


def schema(stages: Mapping[str, type]) -> dict[str, Any]:
    """JSON schema of the whole file, for editors; the sentence below each field becomes its description."""
    properties, definitions = _described(Brief), {}
    for verb, kind in stages.items():
        definitions[kind.__name__] = {
            "type": "object", "additionalProperties": False, "properties": _described(kind)
        }  # fmt: skip
        properties[verb] = {"$ref": f"#/$defs/{kind.__name__}"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": FILE, "type": "object",
        "additionalProperties": False, "properties": properties, "$defs": definitions,
    }  # fmt: skip


def _described(kind: type) -> dict[str, Any]:
    """Properties of a settings type. Sentences below fields are no part of the running class: they are read from
    its source."""
    properties: dict[str, Any] = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"]
    body = cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]).body
    for field_node, below in itertools.pairwise(body):
        is_sentence = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if is_sentence and isinstance(field_node, ast.AnnAssign) and isinstance(field_node.target, ast.Name):
            sentence = str(below.value.value)  # type: ignore[attr-defined]
            properties[field_node.target.id]["description"] = " ".join(sentence.split())
    return properties


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint, or nothing where nothing is near. Case is folded: `Epochs` is near `epochs`."""
    folded = {k.casefold(): k for k in known}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.5)
    if near:
        return tr("Did you mean {name}?").format(name=folded[near[0]])
    return tr("Known: {names}.").format(names=", ".join(sorted(folded.values())))


def parse_duration(text: str) -> float:
    """Seconds of "90 s", "10 min", "2 h"; a bare number is minutes."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|sec|min|m|h)?\s*", str(text))
    if not match:
        message = tr('budget is {text!r}; write it like "90 s", "10 min" or "2 h".').format(text=text)
        raise ConfigError(message, code="config.budget")
    return float(match[1]) * {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, None: 60}[match[2]]


def lay_over(told: dict[str, Any], override: str) -> None:
    """`key=value` or `stage.key=value` put into `told`, the value read as YAML."""
    path, sign, value = override.partition("=")
    if not sign or not path:
        message = tr("{text} is not of the form key=value.").format(text=override)
        raise ConfigError(message, code="config.override")
    # Contract names hold dots (slices.language.zh): below `accept` the rest is one key.
    *above, last = path.split(".", 1) if path.startswith("accept.") else path.split(".")
    place = told
    for name in above:
        place = place.setdefault(name, {})
        if not isinstance(place, dict):
            raise ConfigError(tr("{where} holds no keys.").format(where=name), code="config.override")
    try:
        place[last] = _from_yaml(value)
    except yaml.YAMLError:  # ">= 0.9" begins like a YAML block, and is meant as it stands
        place[last] = value


def laid_alone(overrides: Sequence[str], stage: str) -> dict[str, Any]:
    """Settings of one stage, where there is no page: `serve.port=8000`, or `port=8000`. To be `typed`, which refuses
    what the stage does not know."""
    told: dict[str, Any] = {}
    for override in overrides:
        lay_over(told, override.removeprefix(f"{stage}."))
    return told


class _Loader(yaml.SafeLoader):
    """Safe, and 1e-4 is a number: YAML 1.2 says so; PyYAML reads YAML 1.1, which wants 1.0e-4."""


# YAML 1.1 takes 1:64 for a time of day in seconds; here it is a range of columns.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not (tag.endswith(":int") and first in "+-0123456789")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0[0-7_]+)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _from_yaml(text: str) -> Any:
    return yaml.load(text, _Loader)


def _range(name: str, known: Sequence[str]) -> tuple[str, ...]:
    ends = range_ends(name, known)
    if ends is None or not set(ends) <= set(known):
        return ()
    first, last = known.index(ends[0]), known.index(ends[1])
    return tuple(known[first : last + 1])


def _as_name(value: Any) -> Any:
    """Columns of a table without a header are called 1, 2, ..., and YAML reads those as numbers."""
    if isinstance(value, list):
        return [_as_name(v) for v in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _explain(error: str, where: str, kind: type) -> str:
    """msgspec says: Expected `int`, got `str` - at `$.seed`."""
    match = re.fullmatch(r"(?:Expected `(.+?)`, got `(.+?)`|Invalid enum value '?(.+?)'?) - at `\$\.?(.*)`", error)
    if not match:
        return f"{where or FILE}: {error}"
    key = f"{where}.{match[4]}" if where else match[4]
    if match[3]:
        name, in_list, _ = match[4].partition("[")
        told = get_args(get_type_hints(kind).get(name))
        choices = ", ".join(map(str, get_args(told[0]) if in_list else told))
        return tr("{key} must be one of {choices}, not {got!r}.").format(key=key, choices=choices, got=match[3])
    expected = tr(" or ").join(_kind_in_words(name) for name in match[1].split(" | "))
    return tr("{key} must be {expected}, not {got}.").format(key=key, expected=expected, got=_kind_in_words(match[2]))


def _kind_in_words(name: str) -> str:
    """What msgspec calls a type, as people call it."""
    words = {
        "int": tr("a whole number"), "float": tr("a number"), "str": tr("a word"), "bool": tr("yes or no"),
        "array": tr("a list"), "object": tr("`key: value` lines"), "null": tr("nothing"),
    }  # fmt: skip
    return words.get(name, name)
