"""The page at /docs: try the model, read the API. One file, nothing fetched from elsewhere, no data in it."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from functools import cache
from pathlib import Path
from string import Template

from luodi.messages import language, tr


def page(*, has_key: bool) -> str:
    """In the language that is being spoken."""
    words = {
        "title": tr("Luodi model service"), "try_it": tr("Try it"), "key": tr("Key"), "send": tr("Send"),
        "field": tr("One input. Ctrl+Enter sends it."), "answer": tr("Answer"), "confidence": tr("Confidence"),
        "took": tr("ms there and back"), "api": tr("What it answers"), "call": tr("From the command line"),
        "offline": tr("The service does not answer."), "each_line": tr("Each line is an input of its own"),
        "pictures": tr("Pictures"),
    }  # fmt: skip
    told = {name: html.escape(text) for name, text in words.items()}
    return Template(_template()).substitute(told, lang=language(), key_shown="" if has_key else "hidden")


@cache
def _template() -> str:
    return (Path(__file__).parent / "docs.html").read_text(encoding="utf-8")


def _hash_of_script() -> str:
    """The one script that the browser may run. It holds no words, so it is the same in all languages."""
    match = re.search(r"<script>(.*?)</script>", _template(), re.DOTALL)
    if match is None:
        raise RuntimeError("docs.html has no script")
    script = match[1].replace("$$", "$")
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


PAGE_HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_hash_of_script()}'; connect-src 'self'; "
        "img-src data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "vary": "accept-language",
}  # fmt: skip
