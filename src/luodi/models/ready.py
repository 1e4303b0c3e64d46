"""A packaged model that answers as it is, made into a Bundle once: in the cache, beside its weights.

From then on it is opened, replayed, asked and served like any Bundle; its chat template travels in the schema.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from luodi.core.bundle import FILE, TORCH, Manifest, golden_pairs, open_bundle, seal_bundle
from luodi.core.progress import say
from luodi.core.sampling import Sampling
from luodi.core.task import Schema, Task, load_task
from luodi.messages import tr
from luodi.models.packaged import PACKAGED, fetch, provenance

QUESTIONS = ("What is the capital of France?", "What is the capital of Germany?", "What is 2 + 2?", "Say only: hello")
"""Its greedy answers to these are the golden ones: short, since they are given again at every start."""
LONGEST, MOST = 2048, 128
"""Tokens of a conversation, and of an answer."""
VERSION = 1
"""Raised when what is written here changes."""


def is_ready(name: str) -> bool:
    """Whether a name may stand where a Bundle's folder does."""
    return name in PACKAGED and PACKAGED[name].writes


def ready_bundle(name: str) -> Path:
    """The folder of the Bundle of a packaged model, made where there is none yet."""
    source = fetch(name)
    folder = source.with_name(f"{source.name}-bundle-{VERSION}")
    if (folder / FILE).is_file():
        return folder
    say(tr("{name} is made into a Bundle, once ...").format(name=name))
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=source.parent) as aside:
        draft = Path(aside) / "bundle"
        _write(name, source, draft)
        try:
            os.replace(draft, folder)
        except OSError:  # another process was first, and its Bundle is as good as ours
            if not (folder / FILE).is_file():
                raise
    return folder


def _write(name: str, source: Path, folder: Path) -> None:
    """Weights as they lie in the source: the engine reads them in float32."""
    from luodi.backends.safetensors import rename
    from luodi.models.engine import WEIGHTS

    told: dict[str, Any] = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    schema = Schema(template=told["chat_template"], max_length=LONGEST, sampling=Sampling(max_new_tokens=MOST))
    task: Task[Any, Any] = load_task("text_generation", schema)
    (folder / "weights").mkdir(parents=True)
    (folder / "processor").mkdir()
    shutil.copyfile(source / "tokenizer.json", folder / "processor" / "tokenizer.json")
    rename(source / WEIGHTS, folder / "weights" / WEIGHTS, "decoder.")
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    manifest = Manifest(
        task=task.name, schema=schema, engine=TORCH, processor="luodi.backends.tokenizers", name=name,
        network={"base": name, "config": {k: v for k, v in config.items() if k not in ("architectures", "dtype")}},
        recipe=provenance(PACKAGED[name]), made_by=("fetch",), tolerance=1e-2,
    )  # fmt: skip
    seal_bundle(folder, manifest, ())
    bundle = open_bundle(folder, replay=False)
    answers = bundle.predict(list(QUESTIONS))
    (folder / FILE).unlink()
    seal_bundle(folder, manifest, golden_pairs(bundle.task, list(QUESTIONS), answers))
