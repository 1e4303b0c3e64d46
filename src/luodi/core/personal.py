"""Personal data in texts: found by form, and by check digits where there are any, and masked.

Names of people and street addresses have no form of their own and are not found; who publishes a text reads it first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS = "10X98765432"
_NO_DIGIT_BEFORE, _NO_DIGIT_AFTER = r"(?<![\d.])", r"(?!\d)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Masked:
    text: str
    counts: Mapping[str, int]
    """How often each kind was found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    name: str
    pattern: re.Pattern[str]
    group: int = 0
    """What of the match is masked."""
    holds: Callable[[str], bool] = lambda _: True


def _is_identity_number(text: str) -> bool:
    """The check digit of a Chinese resident identity number (GB 11643-1999, ISO 7064 MOD 11-2)."""
    return _CHECKS[sum(w * int(c) for w, c in zip(_WEIGHTS, text, strict=False)) % 11] == text[-1].upper()


def _is_card_number(text: str) -> bool:
    """Luhn's check digit (ISO/IEC 7812-1)."""
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [sum(divmod(2 * d, 10)) if i % 2 else d for i, d in enumerate(reversed(digits))]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and sum(doubled) % 10 == 0


def _is_account_number(text: str) -> bool:
    """The check digits of an IBAN (ISO 13616, ISO 7064 MOD 97-10)."""
    plain = text.replace(" ", "")
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _is_address(text: str) -> bool:
    return all(int(part) < 256 for part in text.split("."))


# In this order: a longer form goes before one that would take a part of it.
_KINDS: Sequence[_Kind] = (
    _Kind(name="secret", group=1, pattern=re.compile(
        r"(?:password|passwd|pwd|密码|口令|api[_ -]?key|token)\s*(?:is|[:：=是为])+\s*([^\s,，。;；]{4,64})", re.I)),
    _Kind(name="secret", pattern=re.compile(r"(?<![\w-])(?:sk|pk|ghp|gho|xox[bp])[-_][\w-]{16,200}", re.A)),
    _Kind(name="e-mail", pattern=re.compile(r"[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,5}", re.A)),
    _Kind(name="id", group=1, pattern=re.compile(  # said to be one, whatever its check digit
        r"(?:身份证|证件|护照|passport|social security|\bSSN\b|\bID card)(?:\s?(?:号码?|number|no\.?))?"
        r"\s*(?:is|[:：=是为#])*\s*([A-Za-z]{0,2}[\d-]{6,20}[\dXx]?)(?![A-Za-z\d])", re.I)),
    _Kind(name="card", group=1, pattern=re.compile(
        r"(?:卡号|银行卡|信用卡|card(?:\s?(?:number|no\.?))?)\s*(?:is|[:：=是为#])*\s*"
        r"(\d(?:[ -]?\d){11,18})(?!\d)", re.I)),
    _Kind(name="account", holds=_is_account_number, pattern=re.compile(
        r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)", re.A)),
    _Kind(name="id", pattern=re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")),
    _Kind(name="id", holds=_is_identity_number, pattern=re.compile(
        _NO_DIGIT_BEFORE + r"[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])\d{3}[\dXx]" + _NO_DIGIT_AFTER)),
    _Kind(name="phone", pattern=re.compile(
        r"(?<![\d.])(?:\+?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}" + _NO_DIGIT_AFTER)),
    _Kind(name="card", holds=_is_card_number, pattern=re.compile(
        _NO_DIGIT_BEFORE + r"\d{4}(?:[- ]?\d{4}){2}[- ]?\d{1,7}" + _NO_DIGIT_AFTER)),
    _Kind(name="phone", pattern=re.compile(r"(?<![\d.])0\d{2,3}[- ]\d{7,8}" + _NO_DIGIT_AFTER)),
    _Kind(name="phone", pattern=re.compile(
        r"(?<!\w)\+\d{1,3}[ -]?(?:\(\d{1,4}\)[ -]?)?\d(?:[ -]?\d){6,11}" + _NO_DIGIT_AFTER)),
    _Kind(name="phone", pattern=re.compile(r"(?<![\d.-])(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\d-])")),
    _Kind(name="ip", holds=_is_address, pattern=re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")),
    _Kind(name="ip", pattern=re.compile(r"(?<![\w:])(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}(?![\w:])", re.I)),
    _Kind(name="account", group=1, pattern=re.compile(
        r"(?:微信号?|wechat|weixin|QQ号?|vx)\s*(?:is|[:：=是为])*\s*([A-Za-z0-9_-]{5,20})", re.I)),
    _Kind(name="account", pattern=re.compile(r"(?<![\w@/.])@[A-Za-z0-9_]{3,30}\b", re.A)),
)  # fmt: skip
_NARROW = {0xFF01 + i: 0x21 + i for i in range(94)}
"""Full-width signs: １３８ is 138 to who reads it."""
MARKS = tuple(dict.fromkeys(f"[{kind.name}]" for kind in _KINDS))


def mask(text: str) -> Masked:
    """Each find gives way to its kind in brackets: "call 13812345678" becomes "call [phone]"."""
    counts: Counter[str] = Counter()
    for kind in _KINDS:
        text = _masked(text, kind, counts)
    return Masked(text=text, counts=dict(counts))


def _masked(text: str, kind: _Kind, counts: Counter[str]) -> str:
    """Looked for in the same text with narrow signs, place by place; what is no find stays as it was written."""
    kept, end = [], 0
    for match in kind.pattern.finditer(text.translate(_NARROW)):
        found = match.group(kind.group)
        if found in MARKS or not kind.holds(found):
            continue
        counts[kind.name] += 1
        kept += [text[end : match.start(kind.group)], f"[{kind.name}]"]
        end = match.end(kind.group)
    return "".join([*kept, text[end:]])
