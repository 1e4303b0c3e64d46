"""Small charts as SVG, drawn here because a plotting library's own fonts need not have Chinese characters.

Places along the axes are percentages of the box and letters keep their size, so a chart fits any width
without a script. Colours and line widths are classes of `style.css`, which knows light, dark and print.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from math import ceil, floor, log10, sqrt
from typing import Any

MOST_POINTS = 240  # more would only draw the same pixels again
HEIGHT = 220
LABEL_GAP = 18
FEWEST_TICKS = 3
NARROWEST = 260  # pixels of a plot's width on a phone
LETTER = 15  # pixels that a letter takes, with air


class Svg(str):
    """Markup that a template prints as it is: everything in it was escaped where it was put in."""

    def __html__(self) -> str:
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """From a value to a percentage of the box."""

    low: float
    high: float
    is_log: bool = False

    def at(self, value: float) -> float:
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = log10(low), log10(high), log10(value)
        return round(100 * (value - low) / (high - low), 2)

    @property
    def ticks(self) -> list[float]:
        return _log_ticks(self.low, self.high) if self.is_log else _ticks(self.low, self.high)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dot:
    """A point with, where known, the interval of its y."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    kind: str = ""
    """Class of the style sheet."""
    size: float = 4.0
    """Radius in pixels."""
    letter: str = ""
    shift: tuple[float, float] = (0.0, 0.0)
    """From the point to its letter, in pixels."""
    title: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axes:
    x: Scale
    y: Scale
    label: str
    """What a screen reader says."""
    lines: Sequence[Sequence[tuple[float, float]]] = field(default_factory=tuple)


def scale_of(values: Sequence[float], *, margin: float = 0.05, is_log: bool = False) -> Scale:
    """Around the values, with some air; never of zero width."""
    low, high = min(values), max(values)
    if is_log:
        return Scale(low=low / 1.35, high=high * 1.35, is_log=True)
    air = (high - low) * margin or abs(high) * 0.05 or 1.0
    return Scale(low=low - air, high=high + air)


def plot(axes: Axes, dots: Sequence[Dot] = ()) -> Svg:
    """Axes with ticks, lines, and dots over them."""
    parts = [
        f'<svg class="plot" height="{HEIGHT}" role="img" aria-label="{escape(axes.label)}">',
        *_grid(axes), *(_line(axes, line) for line in axes.lines), *(_dot(axes, d) for d in dots), "</svg>",
    ]  # fmt: skip
    return Svg("".join(parts))


def whisker(row: dict[str, Any], scale: Scale, mark: float | None = None) -> Svg:
    """One row of a dot-and-whisker chart; `mark` is the score of the whole, or a limit."""
    low, high, value = (scale.at(row[k]) for k in ("low", "high", "value"))
    parts = [
        '<svg class="whisker" height="22" aria-hidden="true">',
        '<line class="axis" x1="0" x2="100%" y1="11" y2="11"/>',
    ]
    if mark is not None:
        parts.append(f'<line class="mark" x1="{scale.at(mark)}%" x2="{scale.at(mark)}%" y1="0" y2="22"/>')
    parts.append(f'<line class="interval" x1="{low}%" x2="{high}%" y1="11" y2="11"/>')
    parts.append(f'<circle class="dot" cx="{value}%" cy="11" r="5"/></svg>')
    return Svg("".join(parts))


def ruler(scale: Scale) -> Svg:
    """The axis under rows of whiskers."""
    return Svg(f'<svg class="whisker" height="16" aria-hidden="true">{"".join(_x_figures(scale, 12))}</svg>')


def whisker_scale(rows: Sequence[dict[str, Any]], mark: float | None = None) -> Scale:
    values = [row[k] for row in rows for k in ("low", "high")] + ([] if mark is None else [mark])
    return scale_of(values, margin=0.08)


def loss_plot(curve: Sequence[dict[str, Any]], label: str) -> Svg:
    """Training loss over steps."""
    points = [(row["step"], row["loss"]) for row in _thinned(curve)]
    x, y = scale_of([p[0] for p in points], margin=0.02), scale_of([0.0, *(p[1] for p in points)])
    return plot(Axes(x=x, y=Scale(low=0, high=y.high), label=label, lines=[points]))


def score_plot(scores: Sequence[dict[str, Any]], best: int | None, label: str) -> Svg:
    """Validation score over steps with its intervals; the step that was kept is marked."""
    rows = _thinned(scores)
    x = scale_of([row["step"] for row in rows], margin=0.06)
    ends = [row.get(k) for row in rows for k in ("low", "high", "value")]
    y = scale_of([v for v in ends if v is not None])
    dots = [
        Dot(x=r["step"], y=r["value"], low=r.get("low"), high=r.get("high"), kind="best" if r["step"] == best else "",
            size=7 if r["step"] == best else 4.5)
        for r in rows
    ]  # fmt: skip
    return plot(Axes(x=x, y=y, label=label, lines=[[(r["step"], r["value"]) for r in rows]]), dots)


def calibration_plot(bins: Sequence[dict[str, Any]], label: str) -> Svg:
    """Share of right answers over confidence; on the diagonal the confidences are true."""
    low = min([b[k] for b in bins for k in ("confidence", "right")])
    x = y = Scale(low=min(low, 0.9) - 0.03, high=1.02)
    dots = [Dot(x=b["confidence"], y=b["right"]) for b in bins]
    return plot(Axes(x=x, y=y, label=label, lines=[[(x.low, x.low), (1, 1)]]), dots)


def abstention_plot(rows: Sequence[dict[str, Any]], label: str) -> Svg:
    """Share of right answers over the share that is answered, the surest first."""
    dots = [Dot(x=r["share"], y=r["value"], low=r["low"], high=r["high"]) for r in rows]
    y = scale_of([v for r in rows for v in (r["low"], r["high"])], margin=0.1)
    line = [(r["share"], r["value"]) for r in rows]
    return plot(Axes(x=Scale(low=0.47, high=1.03), y=y, label=label, lines=[line]), dots)


def letters(count: int) -> list[str]:
    """A, B, ... Z, AA, ...: names short enough to stand in a bubble."""
    return [("" if i < 26 else chr(64 + i // 26)) + chr(65 + i % 26) for i in range(count)]


def pareto_plot(rows: Sequence[dict[str, Any]], label: str) -> Svg:
    """Score over latency (logarithmic), bubble area = size. Small bubbles are drawn over large ones."""
    # One collapsed candidate would press all others into a line: the axis is made for those that were not refused.
    shown = [r for r in rows if not r.get("refused")] or rows
    ends = [r["score"].get(k) for r in shown for k in ("low", "high", "value")]
    y = scale_of([v for v in ends if v is not None], margin=0.25)
    x = scale_of([r["p50_ms"] for r in rows], is_log=True)
    largest = max(r["size_mb"] for r in rows)
    dots = [
        _bubble(r, y, 6 + 18 * sqrt(r["size_mb"] / largest), letter)
        for r, letter in zip(rows, letters(len(rows)), strict=True)
    ]
    front = sorted((r["p50_ms"], r["score"]["value"]) for r in rows if r.get("pareto"))
    axes = Axes(x=x, y=y, label=label, lines=[front])
    return plot(axes, _with_free_letters(axes, sorted(dots, key=lambda d: -d.size)))


def _bubble(row: dict[str, Any], y: Scale, size: float, letter: str) -> Dot:
    """A candidate; one below the chart stands on its lower edge with an arrow."""
    score = row["score"]
    if not y.low <= score["value"] <= y.high:
        edge = y.low if score["value"] < y.low else y.high
        arrow = "↓" if score["value"] < y.low else "↑"
        return Dot(x=row["p50_ms"], y=edge, kind=kind_of(row), size=size, letter=letter + arrow, title=str(row["name"]))
    low, high = (end if end is None else min(max(end, y.low), y.high) for end in (score.get("low"), score.get("high")))
    return Dot(
        x=row["p50_ms"], y=score["value"], low=low, high=high, kind=kind_of(row), size=size, letter=letter,
        title=str(row["name"]),
    )  # fmt: skip


def _with_free_letters(axes: Axes, dots: Sequence[Dot]) -> list[Dot]:
    """Letters in their bubbles where there is room, else beside them, so that none covers another, even on a phone."""
    centres = [(NARROWEST * axes.x.at(d.x) / 100, -HEIGHT * axes.y.at(d.y) / 100) for d in dots]
    taken: list[tuple[float, float]] = []
    found = []
    for i, (dot, (x, y)) in enumerate(zip(dots, centres, strict=True)):
        out = dot.size + 9
        shifts = [(0.0, 0.0), (0.0, -out), (0.0, out), (out, 0.0), (-out, 0.0), (out, -out), (-out, -out), (out, out)]
        inside = dot.size >= LETTER / 2 + 2 and not any(_near((x, y), c) for c in centres[i + 1 :])
        free = [s for s in shifts[0 if inside else 1 :] if not any(_near((x + s[0], y + s[1]), t) for t in taken)]
        shift = (free or shifts)[0]
        taken.append((x + shift[0], y + shift[1]))
        found.append(replace(dot, shift=shift))
    return found


def _near(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return abs(a[0] - b[0]) < LETTER and abs(a[1] - b[1]) < LETTER


def kind_of(row: dict[str, Any]) -> str:
    """How a candidate is drawn, on the chart and in the table."""
    return next((kind for kind in ("chosen", "refused", "pareto") if row.get(kind)), "beaten")


def _grid(axes: Axes) -> list[str]:
    parts = []
    for tick in axes.y.ticks:
        y = 100 - axes.y.at(tick)
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y}%" y2="{y}%"/>')
        parts.append(f'<text x="-8" y="{y}%" dy="4" text-anchor="end">{_figure(tick)}</text>')
    for tick in axes.x.ticks:
        x = axes.x.at(tick)
        parts.append(f'<line class="grid" x1="{x}%" x2="{x}%" y1="0" y2="100%"/>')
    parts += _x_figures(axes.x, HEIGHT + LABEL_GAP)
    parts.append('<line class="axis" x1="0" x2="100%" y1="100%" y2="100%"/>')
    parts.append('<line class="axis" x1="0" x2="0" y1="0" y2="100%"/>')
    return parts


def _x_figures(scale: Scale, y: int) -> list[str]:
    """Every second one is `spare`: the style leaves it out where the page is narrow and they would touch."""
    return [
        f'<text class="{"spare" if i % 2 else ""}" x="{scale.at(t)}%" y="{y}" text-anchor="middle">{_figure(t)}</text>'
        for i, t in enumerate(scale.ticks)
    ]


def _line(axes: Axes, line: Sequence[tuple[float, float]]) -> str:
    """In a box of 100 x 100 that is stretched to the plot; the style keeps the stroke's width."""
    points = " ".join(f"{axes.x.at(x)},{round(100 - axes.y.at(y), 2)}" for x, y in line)
    return (
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">'
        f'<polyline class="line" points="{points}"/></svg>'
    )


def _dot(axes: Axes, dot: Dot) -> str:
    x, y = axes.x.at(dot.x), round(100 - axes.y.at(dot.y), 2)
    kind = escape(dot.kind)
    parts = [f'<g class="{kind}"><title>{escape(dot.title)}</title>' if dot.title else f'<g class="{kind}">']
    if dot.low is not None and dot.high is not None:
        ends = (round(100 - axes.y.at(v), 2) for v in (dot.low, dot.high))
        parts.append('<line class="interval" x1="{x}%" x2="{x}%" y1="{0}%" y2="{1}%"/>'.format(*ends, x=x))
    parts.append(f'<circle class="dot" cx="{x}%" cy="{y}%" r="{dot.size:.1f}"/>')
    if dot.letter:
        dx, dy = dot.shift
        kind = "letter" if dx == dy == 0 else "letter outside"
        place = f'x="{x}%" y="{y}%" dx="{dx:.0f}" dy="{dy + 4:.0f}" text-anchor="middle"'
        parts.append(f'<text class="{kind}" {place}>{escape(dot.letter)}</text>')
    return "".join(parts) + "</g>"


def _thinned(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every k-th row and the last one."""
    step = ceil(len(rows) / MOST_POINTS) or 1
    kept = list(rows[::step])
    return kept if kept[-1:] == list(rows[-1:]) else [*kept, rows[-1]]


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, as few as may be but three at the least."""
    size = 10.0 ** ceil(log10(high - low))
    steps = (m * size for m in (1, 0.5, 0.2, 0.1, 0.05, 0.02))
    found: list[float] = []
    for step in steps:
        found = [round(i * step, 10) for i in range(ceil(low / step), floor(high / step) + 1)]
        if len(found) >= FEWEST_TICKS:
            break
    return found


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 in each decade; every whole figure where that leaves fewer than three."""
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    for figures in ((1, 2, 5), tuple(range(1, 10)), tuple(i / 2 for i in range(2, 20))):
        found = [f * 10.0**d for d in decades for f in figures if low <= f * 10.0**d <= high]
        if len(found) >= FEWEST_TICKS:
            return found[:: ceil(len(found) / 6)]
    return found


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{round(value, 6):g}"
