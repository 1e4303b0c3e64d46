"""The Chinese catalogue: what is missing, take translations in, compile.

    python scripts/messages.py missing              sentences that have no translation yet, as entries to fill in
    python scripts/messages.py merge FILE.po ...    take translations over; sentences that nobody says any more go
    python scripts/messages.py compile              luodi.po -> luodi.mo, which is what runs

Needs babel (the extra `test`). The sentences are read off the source: every `tr("...")`, and those below the fields
of settings, which the documentation shows in both languages.
"""

from __future__ import annotations

import argparse
import ast
import io
import itertools
import re
import string
import sys
import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "luodi"
PO = SOURCE / "messages" / "zh" / "LC_MESSAGES" / "luodi.po"
MO = PO.with_suffix(".mo")
TEMPLATES = (".html", ".j2", ".jinja", ".js")
_CALL = re.compile(r"""(?<![\w.])tr\(\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^)]*))""")
NEVER = datetime(2000, 1, 1, tzinfo=UTC)
HEADER = """# Chinese sentences of Luodi. Written by scripts/messages.py: edit translations, not the list."""


def sentences() -> dict[str, str]:
    """Sentence to the first place that says it."""
    found: dict[str, str] = {}
    for path, line, sentence in (*calls(), *settings()):
        if sentence is not None:
            found.setdefault(sentence, f"{path.relative_to(ROOT).as_posix()}:{line}")
    return found


def settings() -> Iterator[tuple[Path, int, str]]:
    """(file, line, sentence) of what stands below each field of luodi.yaml's types."""
    for path in (SOURCE / "core" / "config.py", *sorted(SOURCE.glob("stages/*/config.py"))):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                for _, sentence in sentences_below(node.body):
                    yield path, node.lineno, sentence


def class_body(source: str) -> list[ast.stmt]:
    found = ast.parse(textwrap.dedent(source)).body[0]
    assert isinstance(found, ast.ClassDef)
    return found.body


def sentences_below(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    """(field, the sentence below it) of a class: they are no part of the running program."""
    for node, below in itertools.pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            yield ast.unparse(node.target), " ".join(str(below.value.value).split())


def calls() -> Iterator[tuple[Path, int, str | None]]:
    """(file, line, sentence) of every `tr(...)`; None where the sentence is not a literal."""
    for path in sorted(SOURCE.rglob("*")):
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "tr":
                    told = node.args[0] if len(node.args) == 1 else None
                    is_text = isinstance(told, ast.Constant) and isinstance(told.value, str)
                    yield path, node.lineno, told.value if is_text else None  # type: ignore[union-attr]
        elif path.suffix in TEMPLATES:
            text = path.read_text(encoding="utf-8")
            for match in _CALL.finditer(text):
                literal = match[1] if match[1] is not None else match[2]
                sentence = None if literal is None else re.sub(r"\\(.)", r"\1", literal)
                yield path, text.count("\n", 0, match.start()) + 1, sentence


def fields(sentence: str) -> list[str]:
    """Names in braces, with their formats, in order of the alphabet: ["n", "worst:.4f"]."""
    parts = [part[1:] for part in string.Formatter().parse(sentence) if part[1]]
    return sorted({f"{name}{'!' + turn if turn else ''}{':' + form if form else ''}" for name, form, turn in parts})


def read(path: Path) -> Catalog:
    with path.open("rb") as handle:
        return read_po(handle, locale="zh", abort_invalid=True)


def entries(catalogue: Catalog) -> dict[str, str]:
    return {str(m.id): str(m.string) for m in catalogue if m.id}


def running() -> dict[str, str]:
    """What the compiled file says."""
    with MO.open("rb") as handle:
        return entries(read_mo(handle))


def compiled(catalogue: Catalog) -> bytes:
    catalogue.creation_date = catalogue.revision_date = NEVER  # else it would differ at every run
    out = io.BytesIO()
    write_mo(out, catalogue)
    return out.getvalue()


def missing() -> dict[str, str]:
    """Sentence to place, of those without a translation."""
    have = {m.id for m in read(PO) if m.id and m.string} if PO.exists() else set()
    return {sentence: place for sentence, place in sentences().items() if sentence not in have}


def merge(paths: Sequence[Path]) -> None:
    """Later files win; only what the source says is kept."""
    wanted, told = sentences(), {}
    for path in ([PO] if PO.exists() else []) + list(paths):
        told.update({str(m.id): str(m.string) for m in read(path) if m.id and m.string and not m.fuzzy})
    catalogue = Catalog(locale="zh", fuzzy=False)
    for sentence in sorted(wanted):
        if sentence in told:
            catalogue.add(sentence, told[sentence])
    PO.parent.mkdir(parents=True, exist_ok=True)
    out = io.BytesIO()
    write_po(out, catalogue, width=110, omit_header=True)
    # The header that gettext reads, without the date and version that would change at every run.
    top = 'msgid ""\nmsgstr ""\n"Language: zh\\n"\n"MIME-Version: 1.0\\n"\n'
    top += '"Content-Type: text/plain; charset=utf-8\\n"\n"Content-Transfer-Encoding: 8bit\\n"\n'
    PO.write_text(f"{HEADER}\n{top}\n{out.getvalue().decode()}", encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["missing", "merge", "compile"])
    parser.add_argument("files", nargs="*", type=Path)
    told = parser.parse_args(arguments)
    if told.what == "merge":
        merge(told.files)
    if told.what in ("merge", "compile"):
        MO.write_bytes(compiled(read(PO)))
    lacking = missing()
    for sentence, place in lacking.items():
        quoted = sentence.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        sys.stdout.write(f'#: {place}\nmsgid "{quoted}"\nmsgstr ""\n\n')
    return 1 if lacking else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
