"""Which column of a file is what: by its name in either language, and by what stands in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from luodi.errors import DataError
from luodi.messages import tr
from luodi.stages.understand.config import UnderstandSettings
from luodi.stages.understand.times import times_of

NAMES: Mapping[str, tuple[str, ...]] = {
    "text": (
        "text", "feedback", "comment", "comments", "review", "reviewtext", "message", "content", "body", "description",
        "utterance", "query", "prompt", "question", "remark", "verbatim", "suggestion", "complaint", "反馈", "反馈内容",
        "评论", "评论内容", "评价", "评价内容", "内容", "文本", "意见", "建议", "留言", "正文", "描述", "问题",
        "问题描述", "诉求", "投诉内容", "messages", "conversations",
    ),
    "time": ("time", "date", "datetime", "timestamp", "ts", "createdat", "created", "submittedat", "updatedat", "时间",
             "日期", "创建时间", "提交时间", "评论时间", "反馈时间"),
    "user": ("user", "userid", "username", "uid", "customer", "customerid", "author", "account", "accountid", "client",
             "reviewer", "用户", "用户id", "用户名", "客户", "客户id", "作者", "会员", "会员id", "昵称"),
    "rating": ("rating", "score", "stars", "star", "nps", "satisfaction", "评分", "星级", "打分", "满意度", "得分"),
    "money": ("revenue", "arr", "mrr", "amount", "ltv", "spend", "contractvalue", "收入", "金额", "消费", "消费金额",
              "合同额", "客单价", "年费"),
    "language": ("language", "lang", "locale", "languagecode", "语言", "语种"),
    "source": ("source", "channel", "platform", "来源", "渠道", "平台"),
    "attachment": ("attachment", "attachments", "image", "picture", "screenshot", "file", "audio", "附件", "图片",
                   "截图", "文件", "录音"),
}  # fmt: skip
ORDER = ("text", "time", "user", "rating", "money", "language", "source", "attachment")
ROLES = ("role", "from", "speaker", "sender", "角色", "发送者", "发言人")
USERS_TURN = ("user", "human", "客户", "用户")
_OTHERS_TURN = ("assistant", "bot", "gpt", "system", "agent", "tool", "客服", "助手", "系统", "机器人", "坐席")
_TELLING = ("text", "time", "rating", "money")
"""Kinds of which a part of a name is enough, since what stands there is looked at, too: order_amount."""
MOST_KINDS, FEWEST_EACH = 30, 5
"""A segment column has at most so many values, each on so many rows on average."""
_MOSTLY = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Names of columns; empty: there is none."""

    text: str
    time: str = ""
    user: str = ""
    rating: str = ""
    money: str = ""
    language: str = ""
    source: str = ""
    attachment: str = ""
    role: str = ""
    """Whose turn a row is, in a conversation that is kept turn by turn."""
    segments: tuple[str, ...] = ()


def find_columns(table: Mapping[str, Sequence[Any]], settings: UnderstandSettings, file: str) -> Found:
    """`table`: the values of each column. Raises DataError where a named column is not there, or no text is found."""
    wanted = {name: getattr(settings, name) for name in ORDER}
    for name in (*filter(None, wanted.values()), *settings.segments):
        if name not in table:
            raise _no_column(name, list(table), file)
    taken: dict[str, str] = {kind: name for kind, name in wanted.items() if name}
    for kind in ORDER:
        if kind not in taken:
            name = _named(kind, table, {*taken.values(), *settings.segments})
            if name:
                taken[kind] = name
    if "text" not in taken:
        taken["text"] = _longest(table, set(taken.values()))
    if not taken["text"]:
        message = tr("{file} has no column of texts among {names}.").format(file=file, names=", ".join(table))
        raise DataError(message, code="feedback.text", hint=tr("Name it: luodi understand FILE text=COLUMN"))
    role = next((name for name in table if plain(name) in ROLES and _is_role(table[name])), "")
    segments = tuple(settings.segments) or tuple(
        name for name, values in table.items() if name not in (*taken.values(), role) and _divides(values)
    )
    return Found(
        text=taken["text"], time=taken.get("time", ""), user=taken.get("user", ""), rating=taken.get("rating", ""),
        money=taken.get("money", ""), language=taken.get("language", ""), source=taken.get("source", ""),
        attachment=taken.get("attachment", ""), role=role, segments=segments,
    )  # fmt: skip


def tell_columns(found: Found, table: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """One line that says what was taken for what, one of what was left."""
    said = {f.name: getattr(found, f.name) for f in fields(found)}
    words = {
        "text": tr("text"), "time": tr("time"), "user": tr("user"), "rating": tr("rating"), "money": tr("money"),
        "language": tr("language"), "source": tr("source"), "attachment": tr("attachment"), "role": tr("whose turn"),
        "segments": tr("segments"),
    }  # fmt: skip
    parts = [
        f"{words[kind]} = {', '.join(value) if isinstance(value, tuple) else value}"
        for kind, value in said.items() if value
    ]  # fmt: skip
    yield tr("Columns: {parts}.").format(parts="; ".join(parts))
    used = {*found.segments, *(v for v in said.values() if isinstance(v, str))}
    left = [name for name in table if name not in used]
    if left:
        told = tr("Not used: {names}. Name a column with text=, time=, user=, rating=, money=, language=, segments=.")
        yield told.format(names=", ".join(left))


def plain(name: str) -> str:
    """"Created At", "created_at" and "Created At (UTC)" are one name."""
    return re.sub(r"[\s_\-.·]+", "", re.sub(r"[(（\[].*[)）\]]", "", name) or name).casefold()


def _parts(name: str) -> list[str]:
    return [part.casefold() for part in re.split(r"[\s_\-.·()（）]+|(?<=[a-z])(?=[A-Z])", name) if part]


def _is_role(values: Sequence[Any]) -> bool:
    said = {str(value).strip().casefold() for value in values if value not in (None, "")}
    return bool(said & {*USERS_TURN}) and said <= {*USERS_TURN, *_OTHERS_TURN}


def numbers(values: Sequence[Any]) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value) if value == value else None
    text = re.sub(r"[\s,，¥￥$€£]|元$|星$|stars?$", "", str(value))
    try:
        return float(text) if re.fullmatch(r"[+-]?\d+(\.\d+)?", text) else None
    except ValueError:  # digits of another script
        return None


def _named(kind: str, table: Mapping[str, Sequence[Any]], taken: set[str]) -> str:
    """The first of the known names that stands there and holds what it should."""
    by_name = {plain(name): name for name in table if name not in taken}
    found = next((by_name[n] for n in NAMES[kind] if n in by_name and _holds(kind, table[by_name[n]])), "")
    if found or kind not in _TELLING:
        return found
    known = {*NAMES[kind]}
    fitting = (name for name in by_name.values() if known & {*_parts(name)} and _holds(kind, table[name]))
    return next(fitting, "")


def _holds(kind: str, values: Sequence[Any]) -> bool:
    given = [v for v in values if v not in (None, "")]
    if not given:
        return False
    if kind == "time":
        return sum(t is not None for t in times_of(given).times) >= _MOSTLY * len(given)
    if kind in ("rating", "money"):
        return sum(n is not None for n in numbers(given)) >= _MOSTLY * len(given)
    if kind == "language":
        return len({str(v) for v in given}) <= MOST_KINDS
    if kind == "text":
        return _letters(given) > 1 and (len(given) < 10 or len({str(v) for v in given}) > 2)  # yes and no are no texts
    return True


def _letters(values: Sequence[Any]) -> float:
    """Mean count of letters and signs of writing in a value."""
    some = values[:2000]
    return sum(sum(c.isalpha() for c in str(v)) for v in some) / max(len(some), 1)


def _longest(table: Mapping[str, Sequence[Any]], taken: set[str]) -> str:
    """The column in which most is written, and mostly something else each time."""
    best, size = "", 3.0
    for name, values in table.items():
        given = [v for v in values if v not in (None, "")]
        if name in taken or not given or len({str(v) for v in given}) < 0.3 * len(given):
            continue
        if isinstance(given[0], datetime) or _holds("time", given):
            continue
        if _letters(given) > size:
            best, size = name, _letters(given)
    return best


def _divides(values: Sequence[Any]) -> bool:
    given = [str(v) for v in values if v not in (None, "")]
    kinds = len(set(given))
    return 2 <= kinds <= MOST_KINDS and len(given) >= FEWEST_EACH * kinds


def _no_column(name: str, known: Sequence[str], file: str) -> DataError:
    message = tr("{file} has no column {name}; it has {known}.").format(file=file, name=name, known=", ".join(known))
    hint = tr("Name one that is there: luodi understand FILE text=COLUMN")
    return DataError(message, code="feedback.column", hint=hint)
