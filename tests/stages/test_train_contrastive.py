"""Rows of one label drawn together while the network learns."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from broken import assert_resumes
from luodi.core.bundle import open_bundle
from luodi.core.config import Brief
from luodi.core.task import load_task
from luodi.models.encoder_head import POOLED
from luodi.models.engine import TorchEngine, to_torch
from luodi.stages.train import train as stage
from luodi.stages.train.config import TrainSettings
from luodi.stages.train.together import members_of
from tiny import make_dataset

TASK = load_task("text_classification")
BRIEF = Brief(task="text_classification", data="reviews.csv", input="text", target="label", model="bert:tiny")
SETTINGS = TrainSettings(epochs=4, tokens_per_batch=256, max_length=24, wide=False, loss="contrastive")
DATA = make_dataset()


def fit(folder: Path, **changes: Any) -> stage.Trained:
    folder.mkdir(exist_ok=True)
    settings = dataclasses.replace(SETTINGS, **changes)
    return stage.train(TASK, DATA.train, DATA.validation, BRIEF, settings, folder)


def nearness(run: stage.Trained) -> float:
    """Mean cosine of held-back rows of one label, less that of rows of two."""
    bundle: Any = open_bundle(run.bundle)
    items = bundle.task.encode([e.input for e in DATA.validation], bundle.processor)
    model = bundle.engine.model.train()
    batch = to_torch(bundle.task.collate(items))
    with torch.no_grad():
        vectors = torch.nn.functional.normalize(model(**batch)[POOLED], dim=-1)
    likeness = (vectors @ vectors.T).numpy()
    labels = np.array([e.target for e in DATA.validation])
    same = labels[:, None] == labels[None, :]
    return float(likeness[same].mean() - likeness[~same].mean())


def test_it_learns_and_brings_rows_of_one_label_together(tmp_path: Path) -> None:
    """Both losses answer right; the one that compares rows leaves the two labels further apart."""
    ours, plain = fit(tmp_path / "ours"), fit(tmp_path / "plain", loss="cross_entropy")
    assert ours.numbers["validation_accuracy"].value > 0.9
    assert open_bundle(ours.bundle).replay().worst < 1e-5
    assert nearness(ours) > nearness(plain) + 0.1


def test_how_rows_are_compared_can_be_said(tmp_path: Path) -> None:
    """A share of 0 is cross-entropy, number for number; other temperatures make other losses."""
    told = {}
    for name, changes in {
        "cross_entropy": {"loss": "cross_entropy"}, "none": {"contrastive_share": 0.0}, "usual": {},
        "said": {"contrastive_share": 0.9, "contrastive_temperature": 0.3}, "sharp": {"contrastive_temperature": 0.05},
    }.items():  # fmt: skip
        run = fit(tmp_path / name, epochs=1, **changes)
        told[name] = [point["loss"] for point in run.details["curve"]]
        assert open_bundle(run.bundle).manifest.schema.objective.name == changes.get("loss", "contrastive")
    assert told["none"] == told["cross_entropy"]
    assert told["said"] == told["usual"]
    assert len({tuple(told[name]) for name in ("none", "usual", "sharp")}) == 3


def test_an_interrupted_run_equals_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_resumes(lambda folder: fit(folder, epochs=2, accumulate=2, dropout=0.1), tmp_path, monkeypatch)


def test_engines_see_answers_alone(tmp_path: Path) -> None:
    bundle: Any = open_bundle(fit(tmp_path / "run", epochs=1).bundle)
    batch = bundle.task.collate(bundle.task.encode(["很好"], bundle.processor))
    assert list(TorchEngine(bundle.engine.model).run(batch)) == ["logits"]


def test_one_process_sees_all_rows_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many graphics processors there are, where nobody has said how many workers."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    settings = dataclasses.replace(SETTINGS, device="cuda")
    assert members_of(settings).count == 1
    assert members_of(dataclasses.replace(settings, loss="focal")).count == 4
