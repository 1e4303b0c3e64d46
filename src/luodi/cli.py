"""The command line. What its words do stands in `commands.py`; flags come from the signatures there.

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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, get_type_hints

from luodi import __version__
from luodi.commands import COMMANDS, words
from luodi.core import config
from luodi.core.disk import full, is_full
from luodi.core.stopping import Stopped, stopped_by_signals
from luodi.errors import LuodiError, UsageError
from luodi.messages import tr
from luodi.screen import Screen
from luodi.summary import summary

MEETING = frozenset({"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"})
"""What torchrun tells each of the processes that it starts (`env://` of torch.distributed)."""


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not os.environ.keys() >= MEETING or os.environ["WORLD_SIZE"] == "1":
        return _run(given)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read once, when torch is imported
    from luodi.stages.train.launched import lead

    return lead(lambda: _run(given))


def _run(given: list[str]) -> int:
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
    slogan = tr("Large models that land: from examples to a model that has proved itself.")
    top = _Parser(prog="luodi", description=slogan)
    top.add_argument("--version", action="version", version=f"luodi {__version__}")
    commands = top.add_subparsers(dest="verb", required=True, metavar=tr("COMMAND"))
    for verb, about in words().items():
        if verb in COMMANDS:
            commands.add_parser(verb, help=about)
    return top


def _verb_parser(verb: str) -> argparse.ArgumentParser:
    told = words()
    parser = _Parser(prog=f"luodi {verb}", description=told[verb])
    parser.add_argument("--json", action="store_true", help=tr("print one JSON object"))
    kinds = get_type_hints(COMMANDS[verb])
    for name, parameter in _parameters(verb).items():
        _add(parser, name, parameter, kinds[name], told.get(f"{verb}.{name}") or told[name])
    return parser


def _parameters(verb: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(COMMANDS[verb]).parameters


def _add(parser: argparse.ArgumentParser, name: str, parameter: inspect.Parameter, kind: type, about: str) -> None:
    """Positional parameters stand bare, `*settings` takes the rest, keyword-only ones are flags."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        parser.add_argument(name, nargs="*", metavar="key=value" if name == "settings" else name, help=about)
    elif parameter.kind is parameter.KEYWORD_ONLY and kind is bool:
        parser.add_argument(f"--{name}", action="store_true", help=about)
    elif parameter.kind is parameter.KEYWORD_ONLY:
        parser.add_argument(f"--{name}", type=kind, default=parameter.default, help=about)
    elif parameter.default is parameter.empty:
        parser.add_argument(name, help=about)
    else:
        parser.add_argument(name, nargs="?", default=parameter.default, help=about)


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
