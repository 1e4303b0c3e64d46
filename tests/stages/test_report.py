"""The page: whole, safe, in both languages, readable on a phone."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from luodi.core.contract import VERBS
from luodi.core.measure import Measure
from luodi.core.report import Report, Verdict
from luodi.report import charts
from luodi.report.page import About, latest_contract, overall, write_page
from luodi.report.words import number, points, say_limit, word
from luodi.stages.evaluate import tables

EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
LONG = "很长的标签" * 12 + "averyveryverylongwordwithoutanybreakinit" * 3
HAN = re.compile(r"[\u4e00-\u9fff]")


class Seen(HTMLParser):
    """Every tag with its attributes, and the text that stands in the page's body."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._is_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._is_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._is_style = False

    def handle_data(self, data: str) -> None:
        if not self._is_style and data.strip():
            self.text.append(data.strip())


def measure(value: float, half: float = 0.01, unit: str = "", n: int = 500) -> Measure:
    return Measure(value=value, low=value - half, high=value + half, n=n, unit=unit)


def row(
    limit: str, state: str, number: Measure | None = None, where: str = "", due: str = "evaluate"
) -> dict[str, Any]:
    told = {k: getattr(number, k) if number else None for k in ("value", "low", "high", "n")}
    return {"limit": limit, "state": state, "where": where, "due": due, **told}


def candidate(name: str, size: float, ms: float, value: float, **more: Any) -> dict[str, Any]:
    interval = {"value": value, "low": value - 0.01, "high": value + 0.01}
    gap = {"value": value - 0.88, "low": value - 0.885, "high": value - 0.875}
    return {
        "name": name, "made_by": ["train"], "size_mb": size, "p50_ms": ms, "p95_ms": 2 * ms, "throughput_per_s": 100.0,
        "speedup": 40 / ms, "score": interval, "difference": gap, "refused": None, "chosen": False, "pareto": True,
        **more,
    }  # fmt: skip


def reports(label: str = "好评", text: str = "物流太慢了") -> Mapping[str, Report]:
    labels = ["差评", label]
    numbers = {"accuracy": measure(0.88), "beats_baseline.tfidf": measure(0.03), "slices.length.short": measure(0.84)}
    confusion = [[200, 30], [30, 240]]
    classes = [{"label": x, "precision": 0.9, "recall": None, "f1": 0.8, "n": 230} for x in labels]
    quality = {
        "metric": "accuracy", "labels": labels, "confusion": confusion, "per_class": classes, "wrong": 60,
        "confused": [{"target": labels[0], "answer": label, "n": 30}], "openings": 1, "advice": [text],
        "slices": [{"family": "length", "name": "short", "value": 0.84, "low": 0.8, "high": 0.88, "n": 90}],
        "baselines": [{"name": "tfidf", "value": 0.85, "low": 0.83, "high": 0.87, "n": 500, "p": 0.001,
                       "difference": {"value": 0.03, "low": 0.02, "high": 0.04}}],
        "errors": [{"id": "7", "input": text, "target": label, "answer": "差评", "confidence": 0.9}] * 20,
        "calibration": tables.calibration([0.6, 0.9, 0.99] * 9, [True, True, False] * 9),
    }  # fmt: skip
    sheet = {
        "rows_read": 3000, "rows_kept": 2500, "dropped": {"duplicate": 400, "contradictory": 100}, "leak_share": 0.0,
        "splits": {"train": 1600, "validation": 400, "test": 500}, "targets": {"train": {label: 800, "差评": 800}},
        "slices": {}, "sources": {label: {"encoding": "gb18030", "rows": 3000, "sha256": "ab" * 32}}, "notes": [],
    }  # fmt: skip
    squeezed = [
        candidate("onnx-int8", 31, 9, 0.879, chosen=True), candidate("openvino", 119, 20, 0.88),
        candidate("onnx-all", 30, 8.9, 0.5, pareto=False, refused=text),
    ]  # fmt: skip
    training = {
        "plan": {"steps": 100, "epochs": 1.0, "precision": "bfloat16", "device": "cpu", "threads": 2,
                 "parameters": 10**8, "trainable": 10**7},
        "curve": [{"step": s, "loss": 0.7 - s / 300} for s in range(1, 101)], "metric": "accuracy",
        "scores": [{"step": 50, "value": 0.8, "low": 0.78, "high": 0.82}, {"step": 100, "value": 0.88}],
        "best": {"step": 100, "value": 0.88},
    }  # fmt: skip
    judged = (
        row("accuracy >= 0.87", "kept", measure(0.88)),
        row("slices.* >= 0.8", "kept", measure(0.84), "length.short"),
    )
    late = {**numbers, "p95_ms": measure(18, 1, "ms"), "size_mb": Measure.exact(31, unit="MB")}
    return {
        "prepare": Report(
            verb="prepare", verdict=Verdict.DONE, findings=(text,),
            details={"datasheet": sheet, "dropped_examples": [
                {"file": label, "row": 3, "reason": "duplicate", "text": text}
            ]},
        ),
        "train": Report(verb="train", verdict=Verdict.DONE, details=training, findings=(text,), seconds=300),
        "evaluate": Report(
            verb="evaluate", verdict=Verdict.ACCEPTED, numbers=numbers, findings=(text,), details=quality,
            contract=(*judged, row("p95_ms <= 30", "open", due="compress")),
        ),
        "compress": Report(
            verb="compress", verdict=Verdict.ACCEPTED, numbers=late, findings=(text,),
            contract=(*judged, row("p95_ms <= 30", "kept", late["p95_ms"])),
            details={"metric": "accuracy", "reference": candidate("trained", 471, 40, 0.88), "candidates": squeezed,
                     "machine": {"processor": text, "threads": 2}, "parity": {"n": 64, "same": 64, "worst": 1e-4,
                     "tolerance": 1e-3}},
        ),
    }  # fmt: skip


def made(folder: Path, told: Mapping[str, Report], language: str = "en", title: str = "Good or bad?") -> str:
    write_page(folder / "report.html", title, told, language)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_what_a_manager_reads_first(tmp_path: Path) -> None:
    page = made(tmp_path, reports())
    seen = Seen()
    seen.feed(page)
    text = " ".join(seen.text)
    for part in (
        "This model may be used.",
        "It keeps all 3 limits",
        "Accuracy ≥ 0.87",
        "18 ms",
        "+3.0",
        "Data care",
        "物流太慢了",
    ):
        assert part in text, part
    assert page.count("<svg") >= 8


def test_a_refusal_says_why(tmp_path: Path) -> None:
    broken = (
        row("accuracy >= 0.95", "broken", measure(0.88)), row("robustness >= 0.9", "broken"),
        row("beats_baseline", "broken", measure(-0.002), "tfidf"),
    )  # fmt: skip
    page = made(tmp_path, {"evaluate": Report(verb="evaluate", verdict=Verdict.REFUSED, contract=broken)})
    assert "This model must not be used yet." in page
    assert "Accuracy ≥ 0.95 is asked; measured: 0.880." in page
    assert "Robustness ≥ 0.9: it was not measured." in page
    assert "−0.2 points" in page
    leaky = Report(verb="prepare", verdict=Verdict.REFUSED, findings=("3 % of the test rows leak.",))
    top = made(tmp_path, {"prepare": leaky}).partition("</header>")[0]
    assert "3 % of the test rows leak." in top


def in_bits(told: Mapping[str, Report]) -> Mapping[str, Report]:
    """The same with a score that is no share, and that is better the lower it is."""
    numbers = {
        "accuracy": measure(6.772, 0.1, "bits"), "beats_baseline.tfidf": measure(0.696, 0.2, "bits"),
    }  # fmt: skip
    limit = row("beats_baseline", "broken", numbers["beats_baseline.tfidf"], "tfidf")
    details = {k: v for k, v in told["evaluate"].details.items() if k != "calibration"}
    details["baselines"] = [{"name": "tfidf", "value": 7.468, "low": 7.4, "high": 7.5, "n": 500, "p": 0.001,
                             "difference": {"value": 0.696, "low": 0.496, "high": 0.896}}]  # fmt: skip
    quality = replace(
        told["evaluate"], numbers=numbers, contract=(limit,), details=details, verdict=Verdict.REFUSED
    )
    return {**told, "evaluate": quality, "compress": replace(told["compress"], contract=(), numbers={})}


def test_a_difference_with_a_unit_is_not_told_in_points(tmp_path: Path) -> None:
    seen = Seen()
    seen.feed(made(tmp_path, in_bits(reports())))
    text = " ".join(seen.text)
    assert not re.search(r"\bpoints?\b", text)
    for part in (
        "TF-IDF and linear model: +0.696 bits, +0.496 to +0.896)",  # why it is refused
        "+0.696 bits +0.496 … +0.896",  # the contract
        "Above the best simple model +0.696 bits, +0.496 … +0.896",  # the card
        "7.468 +0.696, p = 0.0010",  # so much more than this model
        "bits from this model",
        "Better by, bits",
    ):
        assert part in text, part
    assert "points from this model" in made(tmp_path, reports())


def test_it_says_what_training_was_to_cost_and_did_cost(tmp_path: Path) -> None:
    due = {"seconds": 60.0, "memory_bytes": 0, "disk_bytes": 5 * 10**6, "watts": 36.0, "watt_hours": 0.6, "money": 0.03}
    paid = {"seconds": 45.0, "memory_bytes": 7 * 10**8, "disk_bytes": 3 * 10**6, "watt_hours": 0.45, "money": 0.02}
    told = reports()

    def text(price: float) -> str:
        both = ({**due, **later, "price_per_hour": price} for later in ({}, paid))
        details = {**told["train"].details, "cost": dict(zip(("expected", "paid"), both, strict=True))}
        seen = Seen()
        seen.feed(made(tmp_path, {**told, "train": replace(told["train"], details=details)}))
        return " ".join(seen.text)

    for part in ("Time 60 s 45 s", "Memory – 700 MB", "Disk at most 5.0 MB 3.0 MB", "Energy at 36 W 0.600 Wh 0.450 Wh"):
        assert part in text(0.0), part
    assert "Money" not in text(0.0)
    assert "Money at 2 an hour 0.03 0.02" in text(2.0)


def test_nothing_that_a_stranger_wrote_is_run(tmp_path: Path) -> None:
    write_page(
        tmp_path / "report.html", EVIL, reports(EVIL, EVIL), "en",
        About(model=EVIL, recipe={EVIL: EVIL}, versions={EVIL: EVIL}, identities={EVIL: EVIL}),
    )  # fmt: skip
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    seen = Seen()
    seen.feed(page)
    assert not {"script", "img", "iframe", "object", "link", "base", "form"} & {tag for tag, _ in seen.tags}
    assert not [a for _, attributes in seen.tags for a in attributes if a.startswith("on")]
    assert "&lt;script&gt;" in page


def test_it_asks_nothing_of_the_network(tmp_path: Path) -> None:
    seen = Seen()
    page = made(tmp_path, reports())
    seen.feed(page)
    assert not [a for _, attributes in seen.tags for a in attributes if a in ("src", "href", "srcset", "action")]
    assert not re.search(r"@import|url\(|https?://", page)
    policy = [a["content"] for tag, a in seen.tags if tag == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_a_mistake_that_is_a_picture_is_shown(tmp_path: Path) -> None:
    """It travels inside the page; the words that stand for it are escaped like all others."""
    seen = Seen()
    told = reports()
    row = {
        "id": 'cats/"<b>.png', "input": '"<b>', "target": "cat", "answer": "dog", "confidence": 0.9,
        "picture": "data:image/png;base64,iVBORw0KGgo=",
    }  # fmt: skip
    told["evaluate"] = replace(told["evaluate"], details={**told["evaluate"].details, "errors": [row]})
    page = made(tmp_path, told)
    seen.feed(page)
    shown = [attributes for tag, attributes in seen.tags if tag == "img"]
    assert shown == [{"src": row["picture"], "alt": row["input"]}]
    assert "<b>" not in page


def test_it_speaks_one_language(tmp_path: Path) -> None:
    plain = reports("positive", "slow delivery")
    plain = {v: r for v, r in plain.items() if v != "prepare"}
    english, chinese = (made(tmp_path, plain, language) for language in ("en", "zh"))
    assert '<html lang="en">' in english
    assert '<html lang="zh-CN">' in chinese
    assert {*HAN.findall(english)} <= set("差评")
    headings = re.findall(r"<h[123][^>]*>(.*?)[<\n]", chinese)
    assert len(headings) > 8
    assert [h for h in headings[1:] if not HAN.search(h)] == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_report_without_details_is_no_fault(verb: str, tmp_path: Path) -> None:
    assert "Nothing has been judged yet." in made(tmp_path, {verb: Report(verb=verb, verdict=Verdict.DONE)})


def test_each_missing_detail_leaves_out_its_part_only(tmp_path: Path) -> None:
    whole = reports()
    for verb, report in whole.items():
        for key in report.details:
            less = {k: v for k, v in report.details.items() if k != key}
            told = Report(verb=verb, verdict=report.verdict, numbers=report.numbers, details=less)
            assert "</html>" in made(tmp_path, {**whole, verb: told}), (verb, key)


def test_a_later_verb_overrules(tmp_path: Path) -> None:
    told = latest_contract(list(reports().values()))
    assert [(r["limit"], r["state"], r["verb"]) for r in told][2] == ("p95_ms <= 30", "kept", "compress")
    other = [{**r, "limit": "p95_ms <= 10", "state": "broken"} for r in told if r["limit"] == "p95_ms <= 30"]
    own = Report(verb="compress", verdict=Verdict.REFUSED, contract=other)  # as `--target p95_ms=10` makes it
    limits = [r["limit"] for r in latest_contract([reports()["evaluate"], own])]
    assert ("p95_ms <= 10" in limits, "p95_ms <= 30" in limits) == (True, False)
    refused = Report(verb="evaluate", verdict=Verdict.REFUSED)
    assert overall([refused, *reports().values()]) is Verdict.REFUSED
    assert overall([]) is Verdict.DONE


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.8839, "0.884"),
        (16.52, "16.5"),
        (31, "31"),
        (0.0012, "0.0012"),
        (12345.6, "12,346"),
        (None, "–"),
        (0, "0"),
        (1.0, "1"),
    ],
)
def test_numbers_have_the_figures_that_matter(value: float | None, said: str) -> None:
    assert number(value) == said


def test_words() -> None:
    assert say_limit("p95_ms <= 30") == "95th percentile latency ≤ 30 ms"
    assert say_limit("slices.language.* >= 0.8") == "every part by language ≥ 0.8"
    assert say_limit("slices.language.zh >= 0.8") == "language · Chinese ≥ 0.8"
    assert word("something_new") == "something_new"
    assert (points(-0.0004), points(-0.012), points(0.03)) == ("0.0", "−1.2", "+3.0")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.84, 0.9), (0, 0.7), (1, 1300), (0.8431, 0.8433), (-3, 2e6)])
def test_axes_have_round_ticks_inside(low: float, high: float) -> None:
    ticks = charts.Scale(low=low, high=high).ticks
    assert 3 <= len(ticks) <= 8
    assert min(ticks) >= low
    assert max(ticks) <= high


@pytest.mark.parametrize(("low", "high"), [(7, 60), (9, 11), (0.3, 4000)])
def test_logarithmic_axes_too(low: float, high: float) -> None:
    scale = charts.Scale(low=low, high=high, is_log=True)
    assert 2 <= len(scale.ticks) <= 6
    assert scale.at(low) == 0
    assert scale.at(high) == 100


def test_charts_of_next_to_nothing() -> None:
    one = candidate("a", 3, 5, 0.5)
    assert "circle" in charts.pareto_plot([one], "x")
    assert "nan" not in charts.pareto_plot([one, one], "x")
    assert "polyline" in charts.loss_plot([{"step": 1, "loss": 0.0}, {"step": 2, "loss": 0.0}], "x")
    many = [{"step": s, "loss": 1 / s} for s in range(1, 5001)]
    assert len(charts.loss_plot(many, "x")) < 20_000


def test_letters_of_one_place_do_not_cover_each_other() -> None:
    drawn = charts.pareto_plot([candidate(f"c{i}", 31, 9, 0.88) for i in range(5)], "x")
    places = re.findall(r'class="letter[^"]*" x="([^"]+)" y="([^"]+)" dx="([^"]+)" dy="([^"]+)"', drawn)
    assert len(set(places)) == 5


@pytest.mark.parametrize(("width", "language"), [(390, "en"), (390, "zh"), (360, "zh"), (1440, "en")])
def test_nothing_overflows_sideways(browser: str, tmp_path: Path, width: int, language: str) -> None:
    """With long labels and all folds open. The page forbids scripts: the one that measures stands round a copy."""
    page = made(tmp_path, reports(LONG, LONG), language, LONG)
    copy = page.replace("<details>", "<details open>").replace("default-src 'none'; ", "")
    (tmp_path / "copy.html").write_text(copy, encoding="utf-8")
    (tmp_path / "frame.html").write_text(
        f'<iframe id="f" src="copy.html" style="border:0;width:{width}px;height:900px"></iframe><p id="p"></p><script>'
        "onload = () => { const d = document.getElementById('f').contentDocument.documentElement;"
        "document.getElementById('p').textContent = 'measured ' + d.scrollWidth + ' of ' + d.clientWidth; }</script>",
        encoding="utf-8",
    )
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--allow-file-access-from-files",
    ]
    command = [
        browser,
        *flags,
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        (tmp_path / "frame.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"measured (\d+) of (\d+)", done.stdout)
    assert found, done.stderr
    assert int(found[2]) in (width, width - 15)  # less a scroll bar
    assert int(found[1]) <= int(found[2])
