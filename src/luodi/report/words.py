"""Names that programs give to things, as people say them, and numbers as people read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from luodi.core.disk import tell_size
from luodi.messages import tr

_UNITS = {"p50_ms": "ms", "p95_ms": "ms", "size_mb": "MB"}


def word(key: str) -> str:
    """A metric, a slice, a reason or a verb; what nobody has named keeps its own name."""
    name = _names().get(key)
    if name is None and "." in key:
        return " · ".join(word(part) for part in key.split("."))
    return name if name is not None else key


def say_limit(limit: str) -> str:
    """`accuracy >= 0.9` as `Accuracy ≥ 0.9`; the part below a family is named too."""
    name, sign, bound = limit.partition(" ") if " " in limit else (limit, "", "")
    sign = {">": "≥", "<": "≤"}.get(bound[:1], sign)
    told = f" {sign} {bound[2:].strip()} {_UNITS.get(name, '')}".rstrip() if bound else ""
    return _say_name(name) + told


def number(value: Any, unit: str = "") -> str:
    """At most four figures; an absent number is a dash and never 0."""
    if value is None or isinstance(value, (bool, str)) or value != value:
        return "–"
    size = abs(value)
    told = f"{value:,.0f}" if size >= 1000 or value == int(value) else f"{value:.1f}" if size >= 10 else f"{value:.3g}"
    if 0.1 <= size < 1 and value != int(value):
        told = f"{value:.3f}"
    return f"{told} {unit}".strip()


def score(value: Any) -> str:
    """Three places, so that a column of scores stands straight."""
    return "–" if value is None else f"{value:.3f}"


def share(value: Any) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def points(value: Any) -> str:
    """A difference of two shares, in points of a hundred, with its sign."""
    if value is None:
        return "–"
    told = round(100 * value, 1)
    return f"{told:+.1f}".replace("-", "−") if told else "0.0"


def gap(value: Any, unit: str = "") -> str:
    """A difference with its sign: of shares in points of a hundred, else in the score's own unit, which stands beside
    it."""
    return points(value) if value is None or not unit else f"{value:+.3f}".replace("-", "−")


def size(count: Any) -> str:
    """Of memory or disk; a machine that does not tell it tells 0."""
    return tell_size(count) if count else "–"


def probability(p: Any) -> str:
    return "–" if p is None else "< 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def millions(count: Any) -> str:
    """`117.7 M`: the sign is read alike in both languages."""
    return "–" if count is None else f"{count / 1e6:,.1f} M" if count >= 1e5 else f"{count:,}"


def duration(seconds: Any) -> str:
    """Rough, as people say it."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return tr("{n:.0f} s").format(n=seconds)
    if seconds < 5400:
        return tr("{n:.0f} min").format(n=seconds / 60)
    return tr("{n:.1f} h").format(n=seconds / 3600)


FORMATS: Mapping[str, Callable[..., str]] = {
    "word": word, "say_limit": say_limit, "number": number, "score": score, "share": share, "gap": gap, "size": size,
    "probability": probability, "duration": duration, "millions": millions,
}  # fmt: skip


def _say_name(name: str) -> str:
    if name == "slices.*":
        return tr("every part of the data")
    if name.startswith("slices.") and name.endswith(".*"):
        return tr("every part by {family}").format(family=word(name.split(".")[1]))
    return word(name.removeprefix("slices."))


def _names() -> Mapping[str, str]:
    return {**_measured_names(), **_data_names(), **_verb_names()}


def _measured_names() -> Mapping[str, str]:
    return {
        "accuracy": tr("Accuracy"), "macro_f1": tr("Macro F1"), "micro_f1": tr("Micro F1"),
        "macro_precision": tr("Macro precision"), "macro_recall": tr("Macro recall"),
        "beats_baseline": tr("better than every simple model"), "robustness": tr("Robustness"),
        "p50_ms": tr("Median latency"), "p95_ms": tr("95th percentile latency"), "size_mb": tr("Size"),
        "cost_per_million": tr("Cost of a million answers"), "speedup": tr("Speed-up"),
        "entity_f1": tr("Entity F1"), "entity_macro_f1": tr("Entity macro F1"),
        "entity_precision": tr("Entity precision"), "entity_recall": tr("Entity recall"),
        "bits_per_character": tr("Bits per character"), "next_line_accuracy": tr("Next line found among ten"),
        "r2": tr("Share of the spread explained (R2)"), "mae": tr("Mean error (MAE)"),
        "rmse": tr("Root of the mean squared error (RMSE)"), "spearman": tr("Agreement of ranks (Spearman)"),
        "mean": tr("always the mean"), "tfidf_ridge": tr("TF-IDF and ridge regression"),
        "chrf": tr("chrF"), "unigram": tr("how often each character comes"),
        "kneser_ney": tr("five characters at a time (Kneser-Ney)"),
        "bits_per_token": tr("Bits per missing word"), "masked_accuracy": tr("Missing words found"),
        "pieces": tr("how often each word comes"), "neighbours": tr("what stood between the same neighbours"),
        "majority": tr("always the commonest answer"), "tfidf": tr("TF-IDF and linear model"),
        "hog": tr("histograms of gradients and colours, and linear model"),
        "dictionary": tr("entities of the training texts, looked up"),
        "windows": tr("linear model of neighbouring characters"),
        "source": tr("File"),
        "above_random": tr("Fall of the answer, above random orders"), "reasons": tr("these reasons"),
        "random": tr("parts in random order"), "reversed": tr("these reasons turned round"),
        "same_reasons": tr("Rank agreement with the compressed model"),
        "kept": tr("kept"), "broken": tr("broken"), "open": tr("open"),
    }  # fmt: skip


def _data_names() -> Mapping[str, str]:
    return {
        "train": tr("training"), "validation": tr("validation"), "test": tr("test"),
        "length": tr("length"), "short": tr("short texts"), "medium": tr("medium texts"), "long": tr("long texts"),
        "language": tr("language"), "zh": tr("Chinese"), "en": tr("English"), "mixed": tr("mixed scripts"),
        "other": tr("other scripts"), "entities": tr("entities"), "one": tr("one"), "several": tr("several"),
        "size": tr("size"), "tiny": tr("tiny pictures"), "small": tr("small pictures"), "large": tr("large pictures"),
        "light": tr("light"), "dark": tr("dark"), "bright": tr("bright"), "even": tr("evenly lit"),
        "colour": tr("colour"), "grey": tr("grey"), "coloured": tr("coloured"),
        "shape": tr("shape"), "wide": tr("wide"), "tall": tr("tall"), "square": tr("square"), "class": tr("class"),
        "duplicate": tr("repeats of another row"), "contradictory": tr("copies that disagree on the answer"),
        "unreadable": tr("missing or unreadable cells"), "leak": tr("copies of held-out rows"),
        "not_drawn": tr("left out of the sample"),
    }  # fmt: skip


def _verb_names() -> Mapping[str, str]:
    return {
        "prepare": tr("Data"), "evaluate": tr("Quality"), "compress": tr("Compression"), "secure": tr("Security"),
        "explain": tr("Explanation"), "serve": tr("Service"), "monitor": tr("Monitoring"), "promote": tr("Uptake"),
        "understand": tr("Needs"),
    }  # fmt: skip
