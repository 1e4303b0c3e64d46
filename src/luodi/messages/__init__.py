"""What people read, in their language. English is the source text; `zh` is a gettext catalogue.

`tr("No file {path}.").format(path=path)`: the sentence is the key, so code reads as it speaks.
A test holds that the Chinese catalogue has every sentence, with the same fields in braces.
"""

from __future__ import annotations

import gettext
import locale
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "zh")

_chosen: ContextVar[str | None] = ContextVar("luodi_language", default=None)


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    if language == "en":
        return gettext.NullTranslations()
    return gettext.translation("luodi", Path(__file__).parent, [language])


def language() -> str:
    """`LUODI_LANG`, else the locale; English where neither is Chinese."""
    chosen = _chosen.get()
    if chosen:
        return chosen
    for name in ("LUODI_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "zh" if (locale.getlocale()[0] or "").lower().startswith(("zh", "chinese")) else "en"


class Sentence(str):
    """What was said, and how to say it again in another language: reports are kept so."""

    key: str
    values: Mapping[str, object]

    @staticmethod
    def of(key: str, values: Mapping[str, object] | None = None) -> Sentence:
        """In the language spoken now; without values it waits for `format`."""
        said = _catalogue(language()).gettext(key)
        sentence = Sentence(said if values is None else said.format(**values))
        sentence.key, sentence.values = key, values or {}
        return sentence

    def format(self, *_: object, **values: object) -> Sentence:
        return Sentence.of(self.key, values)


def tr(sentence: str) -> Sentence:
    return Sentence.of(sentence)


@contextmanager
def speaking(chosen: str) -> Iterator[None]:
    """Use one language inside a block: `with speaking("zh"): ...`."""
    token = _chosen.set(chosen)
    try:
        yield
    finally:
        _chosen.reset(token)


def one_line(text: str, most: int | None = None) -> str:
    """A stranger's text as a terminal can show it: one line, no control characters, cut to `most`."""
    plain = "".join(c if c.isprintable() or c == "\u200d" else " " if c.isspace() else "?" for c in text)
    return plain if most is None or len(plain) <= most else plain[: most - 1] + "…"
