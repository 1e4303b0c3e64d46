"""Layers as products of lower rank: what no input reaches goes first, what stays is made, sealed and opened."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from luodi.core.bundle import Bundle, open_bundle
from luodi.core.config import Brief
from luodi.core.machine import Cpu
from luodi.errors import ConfigError
from luodi.models.engine import WEIGHTS, TorchEngine, save_network
from luodi.models.layers import stacks
from luodi.models.low_rank import ROUND, Parts, choose_ranks, lower_rank, second_moments, split
from luodi.models.reshaped import fit_shapes
from luodi.models.source import ScratchBase
from luodi.stages.compress.candidates import make_all
from luodi.stages.compress.config import CompressSettings, check
from luodi.stages.compress.plan import Shape
from luodi.stages.compress.workshop import Workshop
from luodi.stages.train.config import TrainSettings
from luodi.stages.train.train import train
from luodi.tasks.text_classification import TextClassification
from tiny import items_of, make_dataset, train_bundle

QUICK = CompressSettings(timed=6, rounds=2, calibration=10, threads=1, distill_minutes=0.02)
CPU = Cpu(name="any", flags=frozenset({"avx2"}))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranked") / "bundle"
    train_bundle(folder, "text_classification", make_dataset(), rounds=4, layers=4, rate=1e-3)
    return folder


def layer_weights(model: nn.Module) -> int:
    (stack,) = stacks(model).values()
    return sum(m.weight.numel() for m in stack.modules() if isinstance(m, nn.Linear))


def test_what_inputs_reach_is_kept_where_the_weights_alone_would_keep_the_rest() -> None:
    """Inputs lie in 4 of 32 directions, which the weight shrinks: rank 4 gives the same outputs; of its own singular
    vectors the first four would give nearly nothing."""
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(32, 32))[0]
    weight = torch.randn(24, 32) @ basis @ torch.diag(torch.tensor([0.1] * 4 + [10.0] * 28)) @ basis.T
    inputs = torch.randn(500, 4) @ basis[:, :4].T
    wanted = inputs @ weight.T
    parts = split(weight, (inputs.T @ inputs).double())
    told = inputs @ parts.right[:4].T @ parts.left[:, :4].T
    assert told == pytest.approx(wanted, abs=0.02 * float(wanted.std()))
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    plain = inputs @ right[:4].T @ (left[:, :4] * values[:4]).T
    assert (plain - wanted).norm() > 0.5 * wanted.norm()
    whole = parts.left @ parts.right
    assert whole == pytest.approx(weight, abs=1e-2)
    assert float(parts.energy.sum()) == pytest.approx(1.0)


def test_no_product_of_that_rank_lies_nearer() -> None:
    """Against one that is learned from the same inputs by gradients."""
    torch.manual_seed(1)
    inputs = torch.randn(400, 16) @ torch.randn(16, 16)
    weight = torch.randn(12, 16)
    parts = split(weight, (inputs.T @ inputs).double())
    wanted = inputs @ weight.T
    ours = float((inputs @ parts.right[:5].T @ parts.left[:, :5].T - wanted).square().mean())
    left, right = (torch.randn(size).mul(0.3).requires_grad_() for size in ((12, 5), (5, 16)))
    optimiser = torch.optim.Adam([left, right], 0.02)
    for _ in range(1500):
        loss = (inputs @ right.T @ left.T - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert ours <= float(loss.detach()) * 1.001
    assert ours == pytest.approx(float(loss.detach()), rel=0.1)


def test_rank_is_taken_where_it_carries_least() -> None:
    def parts(energy: list[float]) -> Parts:
        shares = torch.tensor(energy).double() / sum(energy)
        return Parts(torch.zeros(64, 64), torch.zeros(64, 64), shares)

    steep, flat = parts([2.0**-i for i in range(64)]), parts([1.0] * 64)
    ranks = choose_ranks({"steep": steep, "flat": flat}, 0.6)
    assert ranks["steep"] == ROUND
    assert ranks["flat"] * flat.price >= flat.weights or ranks["flat"] > 2 * ROUND
    assert sum(min(r * 128, 4096) for r in ranks.values()) <= 0.6 * 2 * 4096 + 2 * ROUND * 128
    assert choose_ranks({"steep": steep, "flat": flat}, 1.0)["flat"] * flat.price >= flat.weights


def test_padding_is_no_input(bundle: Path) -> None:
    made: Bundle[Any, Any] = open_bundle(bundle)
    engine: Any = made.engine
    items = items_of(made, make_dataset().train[:12])
    together = second_moments(engine.model, made.task, items)
    alone = [second_moments(engine.model, made.task, [item]) for item in items]
    for name, moment in together.items():
        assert moment == pytest.approx(sum(one[name] for one in alone), rel=1e-3, abs=1e-3)


def test_a_share_of_the_weights_is_left_and_the_answers_stay_near(bundle: Path) -> None:
    made: Bundle[Any, Any] = open_bundle(bundle)
    engine: Any = made.engine
    items = items_of(made, make_dataset().train[:64])
    asked = made.task.collate(items)
    wanted = engine.run(asked)["logits"]
    gaps = {}
    for share in (0.9, 0.6):
        model = deepcopy(engine.model)
        lower_rank(model, made.task, items, share)
        assert layer_weights(model) <= share * layer_weights(engine.model)
        gaps[share] = abs(TorchEngine(model.eval()).run(asked)["logits"] - wanted).mean()
    assert gaps[0.9] < 0.1 * abs(wanted).mean()
    assert gaps[0.9] < gaps[0.6]


@pytest.mark.parametrize("layers", [0, 2])
def test_candidates_of_lower_rank_are_made_sealed_and_opened(layers: int, bundle: Path, tmp_path: Path) -> None:
    """Alone, and on a student of fewer layers."""
    data = make_dataset()
    workshop = Workshop(
        trained=open_bundle(bundle, threads=1), training=data.train, cpu=CPU, folder=tmp_path,
        settings=replace(QUICK, candidates=["low-rank-onnx"]), threads=1, shape=Shape(layers=layers, rank=0.5),
    )  # fmt: skip
    made = make_all(workshop)
    assert not made.failed
    student, source = made.bundles["low-rank"], made.bundles["distilled" if layers else "trained"]
    assert student.size_bytes < source.size_bytes
    assert student.manifest.made_by[-2:] == (source.manifest.made_by[-1], "low-rank")
    assert student.manifest.network["low_rank"]
    asked = [e.input for e in data.test[:5]]
    exported = [p.scores for p in made.bundles["low-rank-onnx"].predict(asked)]
    for ours, theirs in zip(exported, student.predict(asked), strict=True):
        assert ours == pytest.approx(theirs.scores, abs=1e-4)


def test_it_can_be_learned_from_again(bundle: Path, tmp_path: Path) -> None:
    """A network of other sizes than its configuration says, as the base of another one."""
    data, folder = make_dataset(), tmp_path / "candidates"
    folder.mkdir()
    made = make_all(
        Workshop(
            trained=open_bundle(bundle, threads=1), training=data.train, cpu=CPU, folder=folder, threads=1,
            settings=replace(QUICK, candidates=["low-rank"]), shape=Shape(rank=0.5),
        )
    )  # fmt: skip
    small = made.bundles["low-rank"]
    (tmp_path / "run").mkdir()
    brief = Brief(task="text_classification", data="x.csv", input="text", target="label", model=str(small.path))
    again = train(TextClassification(), data.train, data.validation, brief, TrainSettings(epochs=1), tmp_path / "run")
    found: Any = open_bundle(again.bundle).engine
    asked: Any = small.engine
    assert layer_weights(found.model) == layer_weights(asked.model)
    opened: Bundle[Any, Any] = open_bundle(again.bundle)
    lower_rank(found.model, opened.task, items_of(opened, make_dataset().train[:40]), 0.5)
    save_network(found.model, tmp_path / "twice")
    weights = load_file(tmp_path / "twice" / WEIGHTS)
    fresh = opened.task.build(ScratchBase(name="bert:tiny", config=small.manifest.network["config"]))
    fit_shapes(fresh, weights)
    fresh.load_state_dict(weights)
    assert layer_weights(fresh) == layer_weights(found.model)


def test_it_is_made_only_where_it_is_asked_for(bundle: Path, tmp_path: Path) -> None:
    trained, settings = open_bundle(bundle, threads=1), replace(QUICK, candidates=["low-rank"])
    made = make_all(
        Workshop(
            trained=trained, training=make_dataset().train, settings=settings, cpu=CPU, folder=tmp_path, threads=1
        )
    )  # fmt: skip
    assert set(made.bundles) == {"trained"}
    assert "low-rank" in made.not_tried


def test_a_share_is_one() -> None:
    with pytest.raises(ConfigError, match="low_rank"):
        check(CompressSettings(low_rank=1.5), TextClassification())
    check(CompressSettings(low_rank=0.75), TextClassification())
