"""Words by which it is told, without a model, what somebody feels and wants; they stand in cues.yaml.

A floor, not a judge: where people gave ratings, these teach what words mean here (`feelings.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml

_TOLD: Mapping[str, Any] = yaml.safe_load(files(__package__).joinpath("cues.yaml").read_text(encoding="utf-8"))


def _words(key: str) -> frozenset[str]:
    return frozenset(_TOLD[key].split())


def _families(key: str) -> Mapping[str, frozenset[str]]:
    return {name: frozenset(words.split()) for name, words in _TOLD[key].items()}


GOOD, BAD, NOT, PRESSING = _words("good"), _words("bad"), _words("not"), _words("pressing")
FAULT, WISH, ASK, ASKS_ANYWHERE = _words("fault"), _words("wish"), _words("ask"), _words("asks_anywhere")
EMPTY = _words("empty")
MODALITIES, FAMILIES = _families("modalities"), _families("families")
