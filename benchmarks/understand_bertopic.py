"""BERTopic's own recipe on vectors that are given; run by benchmarks/understand.py in an environment of its own.

    python -m venv peer && peer/bin/pip install bertopic
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from bertopic import BERTopic

folder = Path(sys.argv[1])
vectors = np.load(folder / "vectors.npy")
texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
wall = time.perf_counter()
BERTopic(embedding_model=None).fit_transform(texts, vectors)  # compiles what every process compiles anew
first = time.perf_counter() - wall
wall, cpu = time.perf_counter(), time.process_time()
model = BERTopic(embedding_model=None)
labels, _ = model.fit_transform(texts, vectors)
seconds = time.perf_counter() - wall, time.process_time() - cpu
placed = labels
if -1 in labels and len(set(labels)) > 2:
    placed = model.reduce_outliers(texts, labels, strategy="embeddings", embeddings=vectors)
told = {
    "labels": [int(x) for x in labels], "placed": [int(x) for x in placed],
    "first": first, "wall": seconds[0], "cpu": seconds[1],
}  # fmt: skip
(folder / "told.json").write_text(json.dumps(told), encoding="utf-8")
