"""Column files of tagged words or characters (CoNLL, BIO, BMES): a line a token, its tag last, a blank line between
sentences. They become rows with a text and its entities.

One rule reads IOB1, IOB2, BIOES, BILOU and BMES, and mends what fits none of them: that of conlleval (CoNLL-2000).
A tag that cannot go on from the one before it begins an entity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from luodi.messages import tr

TEXT, ENTITIES = "text", "entities"
_TAG = re.compile(r"(?:O|([BIESMLUW])[-_](\S+))\Z")
_ROLE = {"M": "I", "L": "E", "U": "S", "W": "S"}
# Characters that no space stands between: kana, Han, and their marks in full width.
_CLOSE = re.compile(r"[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_BY_CHARACTER = 0.9  # share of tokens of one character; the others are numbers and foreign words


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    text: str
    role: str
    """B, I, E, S or O."""
    label: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    line: int
    """On which it begins, from 1."""
    tokens: Sequence[Token]
    fault: str = ""


def is_tagged(text: str) -> bool:
    """Whether the first lines are tokens with tags, entities among them."""
    lines = list(islice((line for line in text.split("\n") if line.strip()), 200))
    tokens = [_token(line) for line in lines if not _is_comment(line)]
    return len(tokens) > 1 and all(tokens) and any(t.role != "O" for t in tokens if t)


def read_sentences(text: str) -> list[Sentence]:
    return [s for s in _sentences(text) if s.tokens or s.fault]


def cells_of(sentence: Sentence, by_character: bool) -> dict[str, Any]:
    """{"text": ..., "entities": [{"start", "end", "label"}]}"""
    text, spans = "", list[dict[str, Any]]()
    before = Token(text="", role="O")
    for token in sentence.tokens:
        if _has_space(before, token, by_character):
            text += " "
        start, text = len(text), text + token.text
        if _begins(before, token):
            spans.append({"start": start, "end": len(text), "label": token.label})
        elif token.role != "O":
            spans[-1]["end"] = len(text)
        before = token
    return {TEXT: text, ENTITIES: spans}


def is_by_character(sentences: Sequence[Sentence]) -> bool:
    lengths = [len(t.text) for s in sentences for t in s.tokens]
    return sum(n == 1 for n in lengths) > _BY_CHARACTER * len(lengths)


def count_repairs(sentences: Sequence[Sentence]) -> int:
    """Entities that began with the tag of an inner part. None where that is the rule (IOB1: no B after an O)."""
    pairs = [
        (before, token)
        for s in sentences
        for before, token in zip((Token(text="", role="O"), *s.tokens), s.tokens, strict=False)
    ]
    if not any(token.role in "BS" and before.role == "O" for before, token in pairs):
        return 0
    return sum(token.role in "IE" and _begins(before, token) for before, token in pairs)


def _sentences(text: str) -> Iterator[Sentence]:
    begun, tokens, fault = 0, list[Token](), ""
    for number, line in enumerate([*text.removeprefix("\ufeff").split("\n"), ""], 1):
        if _is_comment(line):
            continue
        if not line.strip() and not re.fullmatch(r"\s+O\s*", line):
            yield Sentence(line=begun, tokens=tuple(tokens), fault=fault)
            begun, tokens, fault = 0, [], ""
            continue
        begun = begun or number
        token = _token(line)
        if token:
            tokens.append(token)
        elif not fault:
            fault = tr("Line {line} is no token with a tag: {text!r}.").format(line=number, text=line[:40])


def _token(line: str) -> Token | None:
    parts = line.split()
    match = _TAG.match(parts[-1]) if parts else None
    if match is None or (len(parts) == 1 and not line[0].isspace()):
        return None
    word = parts[0] if len(parts) > 1 else " "  # a space is a character too
    if match[1] is None:
        return Token(text=word, role="O")
    return Token(text=word, role=_ROLE.get(match[1], match[1]), label=match[2])


def _is_comment(line: str) -> bool:
    return line.startswith("-DOCSTART-") or (line.startswith("#") and _token(line) is None)


def _begins(before: Token, token: Token) -> bool:
    """conlleval's rule."""
    if token.role == "O":
        return False
    return token.role in "BS" or before.role in "OES" or before.label != token.label


def _has_space(before: Token, token: Token, by_character: bool) -> bool:
    if not before.text or _CLOSE.match(before.text[-1]) or _CLOSE.match(token.text[0]):
        return False
    if before.text[-1].isspace() or token.text[0].isspace():
        return False
    return not by_character or min(len(before.text), len(token.text)) > 1
