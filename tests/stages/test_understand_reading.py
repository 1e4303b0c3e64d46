"""A file of feedback as it comes: which column is what, personal data out, copies folded."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from luodi.core.personal import mask
from luodi.errors import ConfigError, DataError
from luodi.stages.prepare.near_duplicates import group_places
from luodi.stages.understand.columns import Found, find_columns, tell_columns
from luodi.stages.understand.config import UnderstandSettings, check_settings
from luodi.stages.understand.reading import Read, read_feedback
from luodi.stages.understand.times import times_of

NO_SETTINGS = UnderstandSettings()


def read(table: dict[str, list[object]], settings: UnderstandSettings = NO_SETTINGS) -> Read:
    return read_feedback(table, find_columns(table, settings, "f.csv"), group_places, settings, "f.csv")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("打我电话13812345678谢谢", "打我电话[phone]谢谢"),
        ("call +44 20 7946 0958 now", "call [phone] now"),
        ("call (212) 555-0188.", "call [phone]."),
        ("座机 010-62345678", "座机 [phone]"),
        ("write to a.b+c@mail.example.com, ok", "write to [e-mail], ok"),
        ("身份证11010519491231002X号", "身份证[id]号"),
        ("card 4111 1111 1111 1111!", "card [card]!"),
        ("from 192.168.0.12", "from [ip]"),
        ("my password is hunter22, help", "my password is [secret], help"),
        ("密码：abc12345，打不开", "密码：[secret]，打不开"),
        ("加微信wx_kefu01聊", "加微信[account]聊"),
        ("thanks @support_team", "thanks [account]"),
        ("电话１３８１２３４５６７８，谢谢！", "电话[phone]，谢谢！"),
        ("身份证号：110105194912310021", "身份证号：[id]"),
        ("卡号 4111 1111 1111 1112 丢了", "卡号 [card] 丢了"),
        ("护照 E12345678", "护照 [id]"),
        ("my SSN is 078-05-1120.", "my SSN is [id]."),
        ("IBAN DE89 3704 0044 0532 0130 00 please", "IBAN [account] please"),
        ("(555)123-4567", "[phone]"),
        ("call 555 123 4567 now", "call [phone] now"),
        ("token sk-abcdefghijklmnop1234", "token [secret]"),
        ("fe80:0:0:0:0:0:0:1 is down", "[ip] is down"),
    ],
)
def test_personal_data_is_masked(text: str, masked: str) -> None:
    assert mask(text).text == masked
    assert sum(mask(text).counts.values()) == 1


@pytest.mark.parametrize(
    "text",
    ["订单号 110105194912310021", "4111 1111 1111 1112", "version 1.2.3.400", "3.14159265358", "2024-05-06 10:11:12",
     "price 12,345,678 yuan", "@ home", "a@b", "微信支付失败", "1234567890123456789012345"],
)  # fmt: skip
def test_other_numbers_are_left_as_they_are(text: str) -> None:
    assert mask(text) == mask(mask(text).text)
    assert mask(text).text == text


def test_columns_are_found_by_name_in_both_languages() -> None:
    chinese = {
        "评论内容": ["很好用", "打不开", "太慢了"] * 10, "提交时间": ["2024年5月6日"] * 30, "用户ID": list(range(30)),
        "评分": [5, 1, 2] * 10, "渠道": ["app", "web", "app"] * 10, "套餐": ["免费", "付费", "免费"] * 10,
    }  # fmt: skip
    found = find_columns(chinese, NO_SETTINGS, "f.csv")
    assert (found.text, found.time, found.user, found.rating) == ("评论内容", "提交时间", "用户ID", "评分")
    assert (found.source, found.segments) == ("渠道", ("套餐",))
    english = {"Created At": ["2024-05-06T10:00:00Z"] * 30, "Review_Text": ["good", "bad", "so so"] * 10, "x": [1] * 30}
    found = find_columns(english, NO_SETTINGS, "f.csv")
    assert (found.text, found.time) == ("Review_Text", "Created At")
    assert "Not used: x" in " ".join(tell_columns(found, english))


def test_a_part_of_a_name_is_enough_where_its_column_holds_such() -> None:
    table: dict[str, list[object]] = {
        "question": ["yes", "no"] * 15, "comment text": [f"the export of page {i} fails" for i in range(30)],
        "create_time": [f"2026-03-{i % 28 + 1:02d}T10:00:00" for i in range(30)], "rating (1-5)": [5, 4, 1] * 10,
        "order_amount": [10.5, 20, 30] * 10, "user_kind": ["new", "old"] * 15,
    }
    found = find_columns(table, NO_SETTINGS, "f.csv")
    assert (found.text, found.time, found.rating) == ("comment text", "create_time", "rating (1-5)")
    assert (found.money, found.user) == ("order_amount", "")
    assert found.segments == ("question", "user_kind")


def test_of_a_conversation_turn_by_turn_only_what_users_said_is_read() -> None:
    table: dict[str, list[object]] = {
        "role": ["user", "assistant"] * 20, "content": [f"message {i} about exports" for i in range(40)],
        "ts": [f"2026-03-{i % 28 + 1:02d} 10:00" for i in range(40)],
    }  # fmt: skip
    found = read(table, UnderstandSettings(near_duplicates=1))
    assert [f.row for f in found.feedback] == list(range(0, 40, 2))
    assert all(f.time for f in found.feedback)
    assert "20 rows are not what users said; they are left out." in found.notes
    assert not any("hold no text" in note for note in found.notes)


def test_kinds_of_people_and_sources_are_masked_too() -> None:
    table: dict[str, list[object]] = {
        "text": [f"message {i} about exports" for i in range(40)], "channel": ["agent1@corp.com", "web"] * 20,
        "desk": ["13812345678", "none"] * 20,
    }  # fmt: skip
    told = {value for f in read(table).feedback for value in f.segments.values()}
    assert told == {"[e-mail]", "web", "[phone]", "none"}


def test_a_name_is_not_believed_against_what_stands_there() -> None:
    table = {"score": ["very good", "bad", "fine"] * 10, "notes": [f"remark number {i} of all" for i in range(30)]}
    found = find_columns(table, NO_SETTINGS, "f.csv")
    assert (found.rating, found.text) == ("", "notes")


def test_a_column_that_is_not_there_and_no_text_at_all() -> None:
    with pytest.raises(DataError, match="no column spoken"):
        find_columns({"a": ["x"]}, UnderstandSettings(text="spoken"), "f.csv")
    with pytest.raises(DataError, match="no column of texts"):
        find_columns({"a": [1, 2, 3], "b": ["2024-01-01"] * 3}, NO_SETTINGS, "f.csv")


def test_a_language_is_what_the_file_says_and_else_read_off_the_text() -> None:
    table = {"text": ["好用的软件", "good app", "bon outil", "nice"], "locale": ["zh-CN", "英语", "fr_FR", ""]}
    made = read({name: values * 5 for name, values in table.items()}, UnderstandSettings(near_duplicates=1)).feedback
    assert [f.language for f in made] == ["zh", "en", "fr", ""]
    assert [f.segments.get("locale", "") for f in made] == ["zh", "en", "fr", ""]


@pytest.mark.parametrize(
    ("given", "scale", "read_as", "told"),
    [
        ([7, 4], [], [1.0, 0.5], "from 1 to 7"),
        ([7, 4], [0.0, 10.0], [0.7, 0.4], "from 0 to 10"),
        ([1, 5], [5.0, 1.0], [1.0, 0.0], "from 5 to 1"),
        ([11, 3], [0.0, 10.0], [1.0, 0.3], "1 ratings lie outside"),
    ],
)
def test_a_scale_may_be_said(given: list[object], scale: list[float], read_as: list[float], told: str) -> None:
    made = read({"text": ["good app", "bad app"], "stars": given}, UnderstandSettings(rating_scale=scale))
    assert [f.rating for f in made.feedback] == pytest.approx(read_as)
    assert any(told in note for note in made.notes)


@pytest.mark.parametrize("scale", [[1.0], [1.0, 2.0, 3.0], [3.0, 3.0]])
def test_a_scale_has_two_ends(scale: list[float], both_languages: str) -> None:
    with pytest.raises(ConfigError, match="rating_scale"):
        check_settings(UnderstandSettings(rating_scale=scale))


def test_times_are_read_as_people_write_them() -> None:
    expected = datetime(2024, 5, 26, tzinfo=UTC)
    for written in ("2024-05-26", "2024/5/26", "2024年5月26日", "26.05.2024", "5/26/2024", "20240526", "May 26, 2024",
                    "1716681600", "1716681600000", expected.replace(tzinfo=None)):  # fmt: skip
        assert times_of([written, written]).times == (expected, expected), written
    for written in ("2024-05-26T08:30:00.250+00:00", "2024-05-26 08:30:00.250", "2024/05/26 08:30:00.25"):
        assert times_of([written]).times == (expected.replace(hour=8, minute=30, microsecond=250_000),), written
    assert times_of(["5/6/2024", "5/7/2024"]).is_ambiguous
    assert not times_of(["5/6/2024", "5/27/2024"]).is_ambiguous
    assert times_of(["yesterday", None]).times == (None, None)


def test_copies_of_one_user_are_one_message_and_of_many_are_many() -> None:
    long = "the export to pdf fails on every long document that I have tried so far this week"
    table = {"text": [long, long + "!", long, "crash", "", "?!"], "user": ["a", "a", "b", "c", "d", "e"]}
    made = read(table)
    assert [f.row for f in made.feedback] == [0, 2, 3]
    assert made.feedback[0].copies == (1,)
    assert made.feedback[0].weight == 2
    assert made.num_rows == 6
    assert "2 of 6 rows hold no text." in made.notes
    assert any("near copies" in note for note in made.notes)


def test_a_conversation_gives_what_its_user_said_first_and_last() -> None:
    turns = [
        {"role": "user", "content": "how do I export?"}, {"role": "assistant", "content": "click export"},
        {"role": "user", "content": "that does not work"},
    ]  # fmt: skip
    assert read({"messages": [turns, turns]}).feedback[0].text == "how do I export?\nthat does not work"


def test_users_are_names_that_say_nothing_and_ratings_lie_between_0_and_1() -> None:
    made = read({"text": ["good app", "bad app"], "user": ["ann@example.com", "bob"], "stars": [5, 1]})
    assert [f.user for f in made.feedback] == ["u1", "u2"]
    assert [f.rating for f in made.feedback] == [1.0, 0.0]
    assert any("from 1 to 5" in note for note in made.notes)


def test_a_named_column_of_numbers_holds_no_text() -> None:
    table: dict[str, list[object]] = {"stars": [5, 4, 1] * 10, "remark": [f"remark {i}" for i in range(30)]}
    wanted = UnderstandSettings(text="stars")
    with pytest.raises(DataError, match="the column stars holds no text"):
        read_feedback(table, find_columns(table, wanted, "f.csv"), group_places, wanted, "f.csv")


def test_a_column_without_texts_is_one_clear_line() -> None:
    with pytest.raises(DataError, match="holds no text"):
        read_feedback({"text": ["...", "!!"]}, Found(text="text"), group_places, NO_SETTINGS, "f.csv")
