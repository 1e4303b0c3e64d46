"""Needs found by Luodi beside those of BERTopic, on the same vectors, and by k-means that is told how many there are.

    python -m venv peer && peer/bin/pip install bertopic
    python benchmarks/understand.py groups --peer peer/bin/python    # scores, time; stable and unstable needs
    python benchmarks/understand.py sizes                            # do corrected sizes hold the truth?
    python benchmarks/understand.py speed                            # 20,000 and 100,000 texts; the encoder

Labels are used for scoring alone. Settings were chosen on CLINC150 and online_shopping; the others are new to them.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from luodi.core.batching import pad
from luodi.core.machine import num_threads
from luodi.core.types import Array
from luodi.models.embedding import PREFIX, open_encoder
from luodi.models.source import resolve
from luodi.stages.prepare.near_duplicates import group_places
from luodi.stages.understand.agreement import contingency
from luodi.stages.understand.columns import find_columns
from luodi.stages.understand.config import UnderstandSettings
from luodi.stages.understand.grouping import group
from luodi.stages.understand.reading import Read, read_feedback
from luodi.stages.understand.sizes import corrected, shares
from luodi.stages.understand.understand import understand
from luodi.stages.understand.vectors import encode_texts, read_texts
from luodi.stages.understand.words import words_of

DATA = Path(os.environ.get("LUODI_TEST_DATA", "../shared/data"))
Labelled = tuple[list[str], list[str]]
SHOPPING_ROWS, STACKOVERFLOW_ROWS = 6000, 6000


def clinc150() -> Labelled:
    rows = json.loads((DATA / "intent/clinc150_full.json").read_text(encoding="utf-8"))["test"]
    return [text for text, _ in rows], [label for _, label in rows]


def stackoverflow(count: int = STACKOVERFLOW_ROWS) -> Labelled:
    texts = (DATA / "intent/stackoverflow_title.txt").read_text(encoding="utf-8").splitlines()
    labels = (DATA / "intent/stackoverflow_label.txt").read_text(encoding="utf-8").split()
    return _drawn(texts, labels, count)


def csl() -> Labelled:
    rows = [
        line.rstrip("\n").split("\t")
        for part in ("dev", "test")
        for line in (DATA / f"intent/csl_ctg_{part}.tsv").open(encoding="utf-8")
    ]
    return [row[1] for row in rows], [row[2] for row in rows]


def shopping(count: int = SHOPPING_ROWS) -> Labelled:
    with (DATA / "sentiment/online_shopping_10_cats.csv").open(encoding="utf-8-sig", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["review"].strip()]
    return _drawn([row["review"] for row in rows], [row["cat"] for row in rows], count)


SETS: Mapping[str, Callable[[], Labelled]] = {
    "clinc150": clinc150, "shopping": shopping, "stackoverflow": stackoverflow, "csl": csl,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["groups", "sizes", "speed"])
    parser.add_argument("sets", nargs="*", default=list(SETS))
    parser.add_argument("--peer", type=Path, help="a Python that has BERTopic")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "luodi-benchmark-vectors")
    told = parser.parse_args()
    if told.what == "groups":
        print("| data | by | needs | NMI | ARI | accuracy | seconds | of the processor |")
        print("|---|---|---|---|---|---|---|---|")
        for name in told.sets:
            for line in groups(name, told.cache, told.peer):
                print(line, flush=True)
    elif told.what == "sizes":
        for name in told.sets:
            print(sizes(name, told.cache), flush=True)
    else:
        speed()


def groups(name: str, cache: Path, peer: Path | None) -> Iterator[str]:
    texts, labels = SETS[name]()
    truth = np.unique(labels, return_inverse=True)[1]
    vectors = encode_texts(texts, "e5-small", cache / f"{name}.npz")
    read = as_read(texts)
    wall, cpu = time.perf_counter(), time.process_time()
    understand(read, UnderstandSettings(), cache / f"{name}.npz")
    ours = time.perf_counter() - wall, time.process_time() - cpu
    found = group(read_texts(texts, [words_of(text) for text in texts], "e5-small", cache / f"{name}.npz").points)
    yield row(name, "Luodi, all of `understand`", truth, found.labels, ours)
    sure = found.is_confirmed[found.labels]
    pure = purity(truth, found.labels, sure), purity(truth, found.labels, ~sure)
    yield (
        f"| {name} | of these, confirmed | {int(found.is_confirmed.sum())} with {sure.mean():.0%} of the texts | "
        f"purity {pure[0]:.3f}, of the others {pure[1]:.3f} | | | | |"
    )
    count = int(truth.max()) + 1
    wall, cpu = time.perf_counter(), time.process_time()
    made = KMeans(count, n_init=4, random_state=0).fit_predict(vectors)
    yield row(name, "k-means, told how many", truth, made, (time.perf_counter() - wall, time.process_time() - cpu))
    if peer:
        yield from bertopic(name, texts, vectors, truth, peer)


def bertopic(name: str, texts: Sequence[str], vectors: Array, truth: Array, peer: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "vectors.npy", vectors)
        (Path(folder) / "texts.json").write_text(json.dumps(list(texts)), encoding="utf-8")
        script = Path(__file__).with_name("understand_bertopic.py")
        subprocess.run([peer, script, folder], check=True, capture_output=True)
        told = json.loads((Path(folder) / "told.json").read_text(encoding="utf-8"))
    times = told["wall"], told["cpu"]
    left = np.mean(np.array(told["labels"]) == -1)
    about = f"BERTopic ({left:.0%} in no topic; the first time in a process {told['first']:.0f} s)"
    yield row(name, about, truth, renumbered(told["labels"]), times)
    yield row(name, "BERTopic, outliers put to topics", truth, renumbered(told["placed"]), None)


def sizes(name: str, cache: Path) -> str:
    """True sizes of needs: of the classes that match them one to one. 150 rows are checked, 200 times."""
    texts, labels = SETS[name]()
    truth = np.unique(labels, return_inverse=True)[1]
    found = group(read_texts(texts, [words_of(text) for text in texts], "e5-small", cache / f"{name}.npz").points)
    table = contingency(truth, found.labels)
    kinds, needs = linear_sum_assignment(-table)
    need_of = np.full(len(table), -1)
    need_of[kinds] = needs
    real = need_of[truth]
    count, weights = found.count, np.ones(len(truth))
    true_sizes = np.array([(real == need).mean() for need in range(count)])
    plain = shares(found.labels, count, weights, np.arange(len(truth)))
    naive = np.mean([m.low <= t <= m.high for m, t in zip(plain, true_sizes, strict=True)])
    rng = np.random.default_rng(0)
    held: list[list[bool]] = []
    for _ in range(200):
        checked = {int(i): int(real[i]) for i in rng.choice(len(truth), 150, replace=False)}
        told = corrected(found.labels, count, weights, checked)
        held.append([m.low <= t <= m.high for m, t in zip(told, true_sizes, strict=True)])
    large = true_sizes >= 0.01
    covered = np.array(held)
    told_large = "none"
    if large.any():
        told_large = f"{covered[:, large].mean():.3f} of {int(large.sum())} needs of 1 % and more"
    return (
        f"{name}: intervals hold the true size: {naive:.3f} as divided, {covered.mean():.3f} put right by 150 rows "
        f"({told_large})"
    )


def speed() -> None:
    """20,000 texts word by word; 100,000 with their memory; the encoder on short texts."""
    mixed = [*shopping(62_000)[0], *stackoverflow(20_000)[0], *clinc150()[0]]
    intents = json.loads((DATA / "intent/clinc150_full.json").read_text(encoding="utf-8"))
    mixed += [text for part in ("train", "val") for text, _ in intents[part]]
    order = np.random.default_rng(0).permutation(len(mixed))
    lexical = UnderstandSettings(engine="lexical")
    for count in (20_000, 100_000):
        texts = [mixed[i] for i in order[:count]]
        before = peak_mb()
        wall, cpu = time.perf_counter(), time.process_time()
        read = as_read(texts)
        middle = time.perf_counter()
        understand(read, lexical, Path("unused"))
        print(
            f"{len(texts):,} texts, words alone: {time.perf_counter() - wall:.0f} s ({middle - wall:.0f} s of it "
            f"reading and near copies; processor {time.process_time() - cpu:.0f} s), {peak_mb():.0f} MB at the peak "
            f"({before:.0f} MB before)", flush=True,
        )  # fmt: skip
    encoders()


def encoders(rounds: int = 3) -> None:
    """Short texts a second: ours beside the same weights in torch fp32, 32 sorted texts at once, as
    sentence-transformers does it; in turns, both open. Beside it what this machine can do."""
    import torch

    short = sorted(clinc150()[0][:1000], key=len)
    base: Any = resolve("e5-small", "e5-small")
    ours, model, processor = open_encoder("e5-small", num_threads(None)), base.encoder().eval(), base.processor(())

    def by_torch(texts: Sequence[str]) -> None:
        for start in range(0, len(texts), 32):
            rows = [r["input_ids"] for r in processor.encode([PREFIX + text for text in texts[start : start + 32]])]
            mask = torch.from_numpy(pad([np.ones(len(row), dtype=np.int64) for row in rows]))
            with torch.inference_mode():
                model(input_ids=torch.from_numpy(pad(rows).astype(np.int64)), attention_mask=mask)

    seconds: dict[str, list[float]] = {"ours": [], "torch": []}
    for _ in range(rounds + 1):  # the first warms up
        for name, run in (("ours", lambda: ours.encode(short, lambda done: None)), ("torch", lambda: by_torch(short))):
            wall = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - wall)
    rates = {name: len(short) / float(np.median(took[1:])) for name, took in seconds.items()}
    print(
        f"{ours.name}: {rates['ours']:.0f} short texts/s, torch fp32 in 32s {rates['torch']:.0f}: "
        f"{rates['ours'] / rates['torch']:.2f} times"
    )
    tokens = np.mean([len(r["input_ids"]) for r in processor.encode([PREFIX + text for text in short])])
    weights = sum(p.numel() for p in model.encoder.parameters())
    square = np.ones((2048, 2048), np.float32)
    wall = time.perf_counter()
    for _ in range(10):
        square @ square
    peak = 10 * 2 * 2048**3 / (time.perf_counter() - wall) / 1e9
    print(
        f"{tokens:.1f} tokens a text, {weights / 1e6:.1f} million weights a token: "
        f"{2 * weights * tokens * rates['ours'] / 1e9:.0f} GFLOP/s; a product at 2,048 in fp32: {peak:.0f}"
    )


def as_read(texts: Sequence[str]) -> Read:
    table = {"text": list(texts)}
    settings = UnderstandSettings(text="text")
    return read_feedback(table, find_columns(table, settings, "texts"), group_places, settings, "texts")


def row(name: str, by: str, truth: Array, labels: Array, seconds: tuple[float, float] | None) -> str:
    nmi, ari = normalized_mutual_info_score(truth, labels), adjusted_rand_score(truth, labels)
    times = f"{seconds[0]:.1f} | {seconds[1]:.1f}" if seconds else " | "
    true = int(truth.max()) + 1
    count, right = int(labels.max()) + 1, accuracy(truth, labels)
    return f"| {name} | {by} | {count} (true: {true}) | {nmi:.3f} | {ari:.3f} | {right:.3f} | {times} |"


def accuracy(truth: Array, labels: Array) -> float:
    """Of the best one-to-one match of needs and classes."""
    table = contingency(truth, labels)
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / len(truth))


def purity(truth: Array, labels: Array, mask: Array) -> float:
    return float(contingency(truth[mask], labels[mask]).max(0).sum() / mask.sum()) if mask.any() else float("nan")


def renumbered(labels: Sequence[int]) -> Array:
    return np.unique(labels, return_inverse=True)[1]


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _drawn(texts: Sequence[str], labels: Sequence[str], count: int) -> Labelled:
    places = sorted(np.random.default_rng(0).choice(len(texts), min(count, len(texts)), replace=False))
    return [texts[i] for i in places], [labels[i] for i in places]


if __name__ == "__main__":
    main()
