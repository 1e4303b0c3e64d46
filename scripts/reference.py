"""The pages of the documentation that come from the code: settings, errors, commands, Python. And the sentences that
the page of verdicts quotes.

    python scripts/reference.py            writes them, in English and Chinese
    python scripts/reference.py check      says which are not as the code is; exit code 1

English is read off the source. Chinese comes from the catalogue, and from docs/words.yaml for what is no sentence of
the running program: how an error is mended where the error itself does not say, and what a Python name is for.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import messages
import yaml

import luodi
from luodi import cli, commands, errors
from luodi.core.config import Brief
from luodi.core.project import settings_types
from luodi.messages import Sentence, speaking
from luodi.stages.understand.config import UnderstandSettings

DOCS = messages.ROOT / "docs"
LANGUAGES = ("en", "zh")
SAYS = re.compile(r"<!-- says: (.*?) -->\n\n?(?:> .*\n)?")
_ERRORS = {name for name, value in vars(errors).items() if inspect.isclass(value)} | {"Refusal"}
_CODE = re.compile(r"[a-z]+\.[a-z0-9_]+|internal")


@cache
def catalogue() -> Mapping[str, str]:
    return messages.entries(messages.read(messages.PO))


@cache
def words() -> Mapping[str, Any]:
    told: Mapping[str, Any] = yaml.safe_load((DOCS / "words.yaml").read_text(encoding="utf-8"))
    return told


def said(sentence: str, language: str) -> str:
    """Raises KeyError where it has no Chinese."""
    return sentence if language == "en" else catalogue()[sentence]


def shown(sentence: str) -> str:
    """For a page: fields in braces without their formats, and nothing that Markdown would take for its own."""
    plain = re.sub(r"\{(\w*)(?:![rs])?(?::[^}]*)?\}", r"{\1}", sentence)
    code = plain.split("`")
    return "`".join(c if i % 2 else re.sub(r"([*_\[\]<>|])", r"\\\1", c) for i, c in enumerate(code))


# ---- settings -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    name: str
    kind: str
    default: str
    sentence: str


def fields_of(kind: type) -> list[Field]:
    """In the order of the source."""
    body = messages.class_body(inspect.getsource(kind))
    told = dict(messages.sentences_below(body))
    found = []
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            default = ast.unparse(node.value) if node.value else ""
            default = {"field(default_factory=dict)": "{}", "field(default_factory=list)": "[]"}.get(default, default)
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                default = node.value.value
            name = node.target.id
            found.append(
                Field(name=name, kind=ast.unparse(node.annotation), default=default, sentence=told.get(name, ""))
            )
    return found


def configuration(language: str) -> Iterator[str]:
    yield from words()["intro"]["configuration"][language]
    yield "## 顶层" if language == "zh" else "## At the top"
    yield table(Brief, language)
    for verb, kind in {"understand": UnderstandSettings, **settings_types()}.items():
        yield f"## {verb}"
        if verb == "understand":
            yield words()["intro"]["understand"][language]
        yield table(kind, language)


def table(kind: type, language: str) -> str:
    """One entry for each setting: a list reads better than a table on a telephone."""
    told = []
    empty = "空" if language == "zh" else "empty"
    default = "默认" if language == "zh" else "default"
    for one in fields_of(kind):
        value = empty if one.default in ("", "{}", "[]") else f"`{one.default}`"
        told.append(f"`{one.name}` · `{one.kind}` · {default} {value}")
        told.append(f":   {shown(said(one.sentence, language)) if one.sentence else '&nbsp;'}\n")
    return "\n".join(told).rstrip()


# ---- errors ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Code:
    sentences: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)


@cache
def codes() -> dict[str, Code]:
    """Error code to what is said with it, read off every place that raises one."""
    found: dict[str, Code] = {}
    for path in sorted(messages.SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]:
            for call in _raised(function):
                told = found.setdefault(_code_of(call), Code())
                named = {k.arg: k.value for k in call.keywords}
                place = 2 if ast.unparse(call.func) == "Refusal" else 0
                parts = [named.get("message"), *call.args[place : place + 1]]
                told.sentences += [s for p in parts if p for s in _literals(p, function, call.lineno)]
                hints = [named.get("hint"), *(call.args[3:4] if place else [])]
                told.hints += [s for p in hints if p for s in _literals(p, function, call.lineno)]
    return {code: Code(_once(c.sentences), _once(c.hints)) for code, c in sorted(found.items())}


def _raised(function: ast.AST) -> Iterator[ast.Call]:
    nested = [f for f in ast.walk(function) if f is not function and isinstance(f, ast.FunctionDef)]
    inner = {id(node) for f in nested for node in ast.walk(f)}
    for node in ast.walk(function):
        is_error = isinstance(node, ast.Call) and ast.unparse(node.func) in _ERRORS and id(node) not in inner
        if is_error and _code_of(node):
            yield node


def _code_of(call: ast.Call) -> str:
    """Of `DataError(message, code="data.x")` and of `Refusal(400, "request.x", message)`."""
    given = [k.value for k in call.keywords if k.arg == "code"] or call.args[1:2]
    literal = given[0].value if given and isinstance(given[0], ast.Constant) else ""
    return literal if isinstance(literal, str) and _CODE.fullmatch(literal) else ""


def _literals(node: ast.AST, function: ast.AST, line: int) -> list[str]:
    """What `tr` is called with inside an expression; a name is looked up where it was last set before `line`."""
    direct = [
        n.args[0].value for n in ast.walk(node)
        if isinstance(n, ast.Call) and ast.unparse(n.func) == "tr" and isinstance(n.args[0], ast.Constant)
    ]  # fmt: skip
    if direct:
        return [str(d) for d in direct]
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    if names & {"did_you_mean", "near_files"}:
        return ["Did you mean {name}?"]
    places: list[tuple[int, ast.AST]] = []
    for n in ast.walk(function):
        if isinstance(n, ast.Assign) and n.lineno < line:
            for target in n.targets:
                pairs = [(target, n.value)]
                if isinstance(target, ast.Tuple) and isinstance(n.value, ast.Tuple):
                    pairs = list(zip(target.elts, n.value.elts, strict=True))
                places += [(n.lineno, v) for t, v in pairs if isinstance(t, ast.Name) and t.id in names]
    for at, value in sorted(places, key=lambda p: -p[0]):
        if told := _literals(value, function, at):
            return told
    return []


def _once(told: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(told))


def error_page(language: str) -> Iterator[str]:
    yield from words()["intro"]["errors"][language]
    area = ""
    for code, told in codes().items():
        if code.partition(".")[0] != area:
            area = code.partition(".")[0]
            yield f"## {area}"
        yield f"### `{code}` {{ #{code.replace('.', '-')} }}"
        yield "\n".join(f"> {shown(said(s, language))}\n" for s in told.sentences).rstrip()
        fix = words()["fixes"].get(code, {}).get(language)
        hints = [shown(said(h, language)) for h in told.hints]
        yield fix or " ".join(hints)


# ---- commands and Python --------------------------------------------------------------------------------


def command_page(language: str) -> Iterator[str]:
    yield from words()["intro"]["commands"][language]
    with speaking("en"):
        told = commands.words()
        for verb in commands.COMMANDS:
            yield f"## luodi {verb}"
            yield _sentence(told[verb], language).rstrip("。.") + ("。" if language == "zh" else ".")
            usage = " ".join(cli._verb_parser(verb).format_usage().split()[1:]).replace(" [-h]", "")
            yield f"```text\n{usage}\n```"
            lines = [
                f"`{'--' if p.kind is p.KEYWORD_ONLY else ''}{name}`\n:   "
                f"{_sentence(told.get(f'{verb}.{name}') or told[name], language)}\n"
                for name, p in cli._parameters(verb).items()
            ]
            if lines:
                yield "\n".join(lines).rstrip()


def _sentence(sentence: str, language: str) -> str:
    key = sentence.key if isinstance(sentence, Sentence) else sentence
    return shown(said(key, language))


def python_page(language: str) -> Iterator[str]:
    yield from words()["intro"]["python"][language]
    yield f"```python\n{words()['example'].strip()}\n```"
    for name in sorted(luodi.__all__, key=lambda n: (n[0].isupper(), n)):
        value = getattr(luodi, name)
        place = f"luodi.{name}"
        yield f"## {name}"
        yield f"```python\n{_signature(place, value)}\n```"
        yield _purpose(name, value, language)


def _purpose(name: str, value: Any, language: str) -> str:
    """The first paragraph of its docstring. Dataclasses without one are given one that says nothing."""
    told = words()["python"][name]
    if isinstance(told, dict):
        return str(told[language])
    first = " ".join((vars(value).get("__doc__") or "").split("\n\n")[0].split())
    assert not first.startswith(f"{name}("), f"docs/words.yaml must say in both languages what {name} is for"
    return shown(first) if language == "en" else str(told)


def _signature(place: str, value: Any) -> str:
    if inspect.isclass(value) and not is_dataclass(value):
        return f"class {place}"
    if inspect.isclass(value):
        told = [f"    {one.name}: {one.kind}" for one in fields_of(value)]
        return "\n".join([f"class {place}:", *told])
    plain = re.sub(r"<function .*? at 0x[0-9a-f]+>", "...", f"{place}{inspect.signature(value)}")
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", plain)


# ---- what verdicts say ----------------------------------------------------------------------------------


def with_quotes(text: str, language: str) -> str:
    """Below each `<!-- says: SENTENCE -->` the sentence, as it is said in this language."""
    return SAYS.sub(lambda m: f"<!-- says: {m[1]} -->\n\n> {shown(said(m[1], language))}\n", text)


PAGES: Mapping[str, Callable[[str], Iterator[str]]] = {
    "configuration.md": configuration, "errors.md": error_page, "commands.md": command_page, "python.md": python_page,
}  # fmt: skip
QUOTING = ("verdicts.md",)


def pages() -> dict[Path, str]:
    found = {}
    for language in LANGUAGES:
        for name, write in PAGES.items():
            found[DOCS / language / name] = "\n\n".join(write(language)) + "\n"
        for name in QUOTING:
            path = DOCS / language / name
            found[path] = with_quotes(path.read_text(encoding="utf-8"), language)
    return found


def stale() -> list[Path]:
    return [p for p, text in pages().items() if not p.is_file() or p.read_text(encoding="utf-8") != text]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="write", choices=["write", "check"])
    if parser.parse_args(arguments).what == "write":
        for path, text in pages().items():
            path.write_text(text, encoding="utf-8")
        return 0
    found = stale()
    sys.stdout.write("".join(f"{path.relative_to(messages.ROOT)} is not as the code is\n" for path in found))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
