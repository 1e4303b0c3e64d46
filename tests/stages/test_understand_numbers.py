"""What the numbers of a need promise, held by drawing again and again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from luodi.core.types import Array
from luodi.stages.understand import communities
from luodi.stages.understand.agreement import adjusted_rand, best_overlaps
from luodi.stages.understand.feedback import Feedback
from luodi.stages.understand.feelings import feel
from luodi.stages.understand.graph import Graph, _exact, build_graph, centred, nearest_neighbours
from luodi.stages.understand.grouping import group
from luodi.stages.understand.places import HEIGHT, place_needs, radius
from luodi.stages.understand.quoting import choose_quotes
from luodi.stages.understand.segments import find_segments
from luodi.stages.understand.sizes import corrected, coverage, shares
from luodi.stages.understand.trends import calendar_of, find_trends
from luodi.stages.understand.words import phrases_of, words_of


def divided(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """True needs of unequal size, and a division that takes a fifth of each for the largest."""
    rng = np.random.default_rng(seed)
    sizes = 1 / np.arange(1, 11)
    truth = rng.choice(10, count, p=sizes / sizes.sum())
    found = np.where(rng.random(count) < 0.2, 0, truth)
    return truth, found


def test_corrected_sizes_hold_the_truth_as_often_as_they_say() -> None:
    truth, found = divided(4000, 0)
    real = [float((truth == k).mean()) for k in range(10)]
    weights = np.ones(len(truth))
    plain = coverage(real, shares(found, 10, weights, np.arange(len(truth))))
    rng = np.random.default_rng(1)
    held = []
    for _ in range(200):
        checked = {int(i): int(truth[i]) for i in rng.choice(len(truth), 150, replace=False)}
        held.append(coverage(real, corrected(found, 10, weights, checked)))
    assert plain <= 0.5
    assert 0.93 <= np.mean(held) <= 0.98


def test_corrected_sizes_are_narrower_than_labels_alone() -> None:
    truth, _ = divided(4000, 0)
    rng = np.random.default_rng(2)
    found = np.where(rng.random(len(truth)) < 0.05, (truth + 1) % 10, truth)
    checked = {int(i): int(truth[i]) for i in rng.choice(len(truth), 150, replace=False)}
    (largest, *_) = corrected(found, 10, np.ones(len(truth)), checked)
    alone = 2 * 1.96 * (largest.value * (1 - largest.value) / 150) ** 0.5
    assert largest.high - largest.low <= 0.55 * alone


def times(weeks: np.ndarray) -> list[datetime | None]:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    return [start + timedelta(days=7 * int(w)) for w in weeks]


def test_trends_that_are_none_are_seldom_told() -> None:
    """Weeks that scatter more than chance: some weeks one need is the talk of everybody."""
    flagged = tests = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        weeks, labels = [], []
        for week in range(12):
            shares_now = rng.dirichlet(40 * np.full(8, 1 / 8))
            weeks += [week] * 60
            labels += list(rng.choice(8, 60, p=shares_now))
        calendar = calendar_of(times(np.array(weeks)))
        found = find_trends(calendar, np.array(labels), 8, np.ones(len(labels)))
        flagged += sum(trend is not None and trend.q <= 0.05 for trend in found)
        tests += any(trend is not None and trend.q <= 0.05 for trend in found)
    assert tests <= 6  # of 60 reports, at most one in ten tells a trend


def test_trends_that_are_there_are_found() -> None:
    found = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        weeks = np.repeat(np.arange(12), 60)
        p = np.where(weeks >= 6, 0.18, 0.07)
        labels = np.where(rng.random(len(weeks)) < p, 0, rng.integers(1, 8, len(weeks)))
        trends = find_trends(calendar_of(times(weeks)), labels, 8, np.ones(len(weeks)))
        trend = trends[0]
        found += trend is not None and trend.q <= 0.05 and trend.ratio.low > 1
    assert found >= 30


def test_a_calendar_has_enough_periods_and_no_gaps() -> None:
    assert calendar_of([None, None]) is None
    assert calendar_of(times(np.zeros(5))) is None
    weekly = calendar_of(times(np.array([0, 11])))
    assert weekly is not None
    assert (weekly.step, len(weekly.starts)) == ("week", 12)
    monthly = calendar_of([datetime(2025, 1, 31, tzinfo=UTC), datetime(2025, 12, 1, tzinfo=UTC), None])
    assert monthly is not None
    assert (monthly.step, len(monthly.starts), monthly.period_of[2]) == ("month", 12, -1)


def test_segments_count_users_and_correct_for_how_many_were_tried() -> None:
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(20):
        feedback = [Feedback(row=i, text="x", segments={"plan": str(rng.integers(6))}) for i in range(600)]
        found = find_segments(feedback, rng.integers(0, 10, 600), 10, np.arange(600))
        told += any(found)
    assert told <= 2
    one = [Feedback(row=i, text="x", user="loud", segments={"plan": "firm"}) for i in range(200)]
    many = [Feedback(row=i, text="x", user=f"u{i}", segments={"plan": "free"}) for i in range(200)]
    labels = np.array([0] * 200 + [1] * 200)
    speakers = np.array([0] * 200 + list(range(1, 201)))
    assert find_segments([*one, *many], labels, 2, speakers)[0] == ()


@pytest.mark.parametrize(
    ("text", "feeling", "kind"),
    [
        ("the app crashes when I export, terrible", -1, "bug"),
        ("love it, works great", 1, "praise"),
        ("not good at all", -1, "other"),
        ("please add a dark mode", 0, "wish"),
        ("how do I change my address?", 0, "question"),
        ("闪退，打不开", -1, "bug"),
        ("非常好用，推荐", 1, "praise"),
        ("一点也不好用", -1, "other"),
        ("希望增加夜间模式", 0, "wish"),
        ("怎么修改收货地址", 0, "question"),
        ("没有任何问题", 1, "praise"),
    ],
)
def test_words_tell_feelings_and_kinds(text: str, feeling: int, kind: str) -> None:
    told = feel([Feedback(row=0, text=text)], [words_of(text)])
    assert (np.sign(told.sentiment[0]), told.kinds) == (feeling, (kind,))


def test_ratings_teach_what_words_mean_here() -> None:
    """A word that the lists do not know: where people rate it low, it is no praise."""
    good = [Feedback(row=i, text=f"zimply item {i}", rating=1.0) for i in range(150)]
    bad = [Feedback(row=i, text=f"quorple item {i}", rating=0.0) for i in range(150)]
    asked = [Feedback(row=0, text="so quorple"), Feedback(row=1, text="so zimply")]
    all_of_them = [*good, *bad, *asked]
    told = feel(all_of_them, [words_of(f.text) for f in all_of_them])
    assert told.sentiment[-2] < -0.3
    assert told.sentiment[-1] > 0.3


def test_phrases_are_stretches_of_the_text() -> None:
    text = "怎么导出PDF文件, the Export fails on [e-mail] long documents! https://shop.example.cn/item?id=3，www.example.com"
    found = phrases_of(text, words_of(text))
    assert {"导出", "export fails", "long documents"} <= set(found)
    assert not any(word in phrase for word in ("mail", "http", "example", "item") for phrase in found)
    assert all(phrase in phrases_of(text[a:b], words_of(text[a:b])) for phrase, (a, b) in found.items())
    text = "8 good, 9"  # no number alone
    assert phrases_of(text, words_of(text)) == {"8 good": (0, 6), "good": (2, 6)}


def test_divisions_are_compared_as_the_library_does() -> None:
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 300), rng.integers(0, 7, 300)
    assert adjusted_rand(a, b) == pytest.approx(adjusted_rand_score(a, b))
    assert adjusted_rand(a, a) == 1.0
    assert list(best_overlaps(np.array([0, 0, 1]), np.array([3, 3, 3]), 3)[:2]) == pytest.approx([2 / 3, 1 / 3])


def planted_points(each: int, kinds: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(kinds, 32))
    labels = np.repeat(np.arange(kinds), each)
    return centred(centres[labels] + spread * rng.normal(size=(len(labels), 32))), labels


def test_as_many_groups_as_were_planted() -> None:
    for kinds in (3, 8, 20):
        points, labels = planted_points(60, kinds, 0.5)
        found = group(points)
        assert found.count == kinds
        assert adjusted_rand(found.labels, labels) > 0.98
        assert found.is_stable
        assert found.is_confirmed.all()


def test_neighbours_above_the_limit_are_nearly_the_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    points, _ = planted_points(150, 12, 1.0)
    exact, _ = _exact(points, 10)
    monkeypatch.setattr("luodi.stages.understand.graph.EXACT_UP_TO", 100)
    near, alike = nearest_neighbours(points, 10)
    same = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, near, strict=True)])
    assert same >= 0.9
    assert (np.diff(alike, axis=1) <= 1e-6).all()
    assert not (near == np.arange(len(points))[:, None]).any()


def test_edges_are_each_once_and_weigh_more_where_neighbours_are_shared() -> None:
    points, labels = planted_points(40, 3, 0.3)
    graph = build_graph(points)
    assert (graph.edges[:, 0] < graph.edges[:, 1]).all()
    assert len(np.unique(graph.edges, axis=0)) == len(graph.edges)
    inside = labels[graph.edges[:, 0]] == labels[graph.edges[:, 1]]
    assert inside.mean() > 0.99


def test_circles_of_the_map_do_not_cover_one_another() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 9, 60, 150):
        sizes = rng.dirichlet(np.full(count, 0.7))
        places = place_needs(rng.normal(size=(count, 20)), sizes)
        radii = radius(sizes)
        assert (places >= radii[:, None] - 1e-9).all()
        assert (places <= np.array([1.0, HEIGHT]) - radii[:, None] + 1e-9).all()
        far = np.linalg.norm(places[:, None] - places[None], axis=2) + 10 * np.eye(count)
        assert (far >= 0.93 * (radii[:, None] + radii[None])).all()
        assert (place_needs(rng.normal(size=(count, 20)) * 0 + 1, sizes) >= 0).all()


def test_what_a_large_group_shares_by_chance_is_no_stability(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)

    def divided(graph: Graph, *_: object) -> Array:
        return (rng.random(graph.num_nodes) < 0.1).astype(np.int64)

    monkeypatch.setattr(communities, "divide", divided)
    whole = Graph(edges=np.zeros((0, 2), np.int64), weights=np.zeros(0), num_nodes=2000)
    level = communities.level_at(whole, communities.subsamples(whole, 4, 0), 1.0, 0)
    assert level.count == 2
    assert np.abs(level.stability).max() < 0.1  # nine tenths of everything overlap by 0.82 however they are drawn


def test_quotes_are_of_different_users_even_where_the_core_is_one_s() -> None:
    feedback = [Feedback(row=i, text=f"remark {i}", user="loud" if i < 8 else f"u{i}") for i in range(11)]
    points = np.eye(11, 12, dtype=np.float32) * 0.2
    points[:, 11] = 1
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    told = choose_quotes(feedback, np.arange(8), np.arange(11), points, ())
    assert [quote.user for quote in told][0] == "loud"
    assert len({quote.user for quote in told}) == len(told) == 4
