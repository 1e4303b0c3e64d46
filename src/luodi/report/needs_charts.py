"""Pictures of needs: where they lie, how they go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from luodi.report.charts import Svg

_WIDTH, _HEIGHT = 1000, 560
_FEELING = 0.15
_LETTER = 0.56
"""Of a letter's height its width, about; a Chinese character is as wide as high."""


def need_rows(needs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """As `whisker` wants them: the opportunity of each."""
    return [{k: need["opportunity"]["score"][k] for k in ("value", "low", "high")} for need in needs]


def map_of_needs(needs: Sequence[Mapping[str, Any]], language: str, label: str) -> Svg:
    """Circles with their numbers, and names where there is room in or beside them."""
    circles = "".join(_circle(need, language) for need in sorted(needs, key=lambda n: -n["radius"]))
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}"'
    return Svg(f'<svg class="map" {box}>{circles}</svg>')


def sparkline(periods: Sequence[Mapping[str, Any]]) -> Svg:
    """The need's share in each period; periods without any message leave a gap."""
    shares = [p["count"] / p["total"] if p["total"] else None for p in periods]
    most = max((s for s in shares if s is not None), default=0.0) or 1.0
    width = 100 / max(len(shares), 1)
    bars = "".join(
        f'<rect x="{i * width + 0.12 * width:.2f}%" width="{0.76 * width:.2f}%" y="{48 - 46 * s / most:.1f}" '
        f'height="{46 * s / most:.1f}"><title>{escape(p["start"])}: {p["count"]} / {p["total"]}</title></rect>'
        for i, (s, p) in enumerate(zip(shares, periods, strict=True)) if s
    )  # fmt: skip
    return Svg(f'<svg class="spark" height="50" aria-hidden="true">{bars}</svg>')


def _circle(need: Mapping[str, Any], language: str) -> str:
    x, y = need["place"][0] * _WIDTH, _HEIGHT - need["place"][1] * _WIDTH
    radius = need["radius"] * _WIDTH
    name = _name(need, language)
    kind = f"{_feeling(need['sentiment']['value'])}{'' if need['is_confirmed'] else ' unsure'}"
    share = f"{100 * need['share']['value']:.1f} %"
    parts = [
        f'<a href="#need-{need["id"]}"><g class="{kind}"><title>{need["id"]}: {escape(name)}, {share}</title>',
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>',
    ]
    size = min(16.0, max(9.0, radius * 0.5))
    if radius >= 9:
        parts.append(f'<text x="{x:.1f}" y="{y + size * 0.35:.1f}" font-size="{size:.1f}">{need["id"]}</text>')
    lines = _fitted(name, radius)
    for place, line in enumerate(lines):
        down = y + size * 0.35 + 15 * (place + 1)
        parts.append(f'<text class="name" x="{x:.1f}" y="{down:.1f}" font-size="12">{escape(line)}</text>')
    return "".join(parts) + "</g></a>"


def _name(need: Mapping[str, Any], language: str) -> str:
    names = need["names"]
    return str(names.get(language) or next(iter(names.values()), ""))


def _fitted(name: str, radius: float) -> list[str]:
    """The first words of a name, a line each, as many as the circle has room for."""
    room = 2 * radius * 0.86
    words = [word.strip() for word in name.replace("、", ",").split(",") if word.strip()]
    fitting = [word for word in words if _breadth(word) * 12 <= room]
    return fitting[: max(0, int((radius - 14) / 15))] if radius >= 26 else []


def _breadth(word: str) -> float:
    return sum(1.0 if ord(c) > 0x2E80 else _LETTER for c in word)


def _feeling(value: float) -> str:
    return "good" if value > _FEELING else "bad" if value < -_FEELING else "even"
