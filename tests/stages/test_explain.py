"""`explain`: reasons that are right where the truth is known, and checks that see when they are not."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luodi.core.bundle import Bundle, open_bundle
from luodi.core.task import load_task
from luodi.core.types import Batch, Dataset, Example, Floats
from luodi.errors import InputError
from luodi.modalities.image import Picture
from luodi.stages.explain.attention import attention
from luodi.stages.explain.attribution import occlusion, shapley
from luodi.stages.explain.config import ExplainSettings
from luodi.stages.explain.explain import Explained, as_row, explain, reasons_of
from luodi.stages.explain.faithfulness import judge, rank_agreement
from luodi.stages.explain.findings import find
from luodi.stages.explain.nearness import beside, neighbours
from luodi.stages.explain.rows import explain_rows
from tiny import make_dataset, make_entities, make_numbers, train_bundle

QUICK = ExplainSettings(orders=10, samples=8, rows=12)
PLANTED = {"好评": ("蓝莓", "zephyr"), "差评": ("石榴", "quartz"), "没说": ()}
WORDS = {word for words in PLANTED.values() for word in words}
FILLING = ("今天", "昨天", "店里", "我们", "老板", "again", "they", "table", "下午", "朋友", "买了", "order",
           "门口", "手机", "孩子", "周末", "一共", "盒子", "bag", "shop", "came", "price", "yellow", "电话", "五个",
           "新的")  # fmt: skip


def additive(weights: Sequence[float]) -> Callable[[Sequence[Sequence[int]]], Floats]:
    """An answer that is the sum of the parts that are not hidden."""
    told = np.asarray(weights)
    return lambda hidden: np.array([told.sum() - told[list(places)].sum() for places in hidden])


def make_planted() -> Dataset[str, str]:
    """Reviews in which one planted word decides, among eight that say nothing. A third has none: else "the rest" would
    be an answer that no word speaks for."""
    rng = random.Random(1)
    examples = []
    for i in range(300):
        target = rng.choice(sorted(PLANTED))
        words = [*rng.sample(FILLING, 8), *rng.sample(PLANTED[target] or FILLING, 1)]
        rng.shuffle(words)
        examples.append(Example(id=str(i), input="，".join(words), target=target, source="tiny"))
    return replace(
        make_dataset(), train=tuple(examples[:200]), validation=tuple(examples[200:250]), test=tuple(examples[250:])
    )


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Bundle[str, str]:
    folder = tmp_path_factory.mktemp("planted") / "bundle"
    train_bundle(folder, "text_classification", make_planted(), rounds=5)
    return open_bundle(folder)


def telling() -> list[Example[str, str]]:
    """Test rows with a planted word."""
    return [e for e in make_planted().test if PLANTED[e.target]]


def strongest(explained: Explained[Any, Any]) -> str:
    return explained.units[int(np.argmax(explained.weights))].name


def test_parts_that_add_up_get_what_they_add() -> None:
    weights = [0.5, -0.2, 0.0, 0.1]
    assert occlusion(additive(weights), 4) == pytest.approx(weights)
    assert shapley(additive(weights), 4, samples=2) == pytest.approx(weights)


def test_shapley_shares_what_two_parts_say_alike_and_adds_up() -> None:
    """Either of the first two parts is enough; hiding one alone changes nothing."""

    def ask(hidden: Sequence[Sequence[int]]) -> Floats:
        return np.array([float(not {0, 1} <= set(places)) for places in hidden])

    assert occlusion(ask, 4) == pytest.approx(np.zeros(4))
    found = shapley(ask, 4, samples=40)
    assert found.sum() == pytest.approx(1.0)
    assert found == pytest.approx([0.5, 0.5, 0, 0], abs=0.1)


def test_the_right_order_stands_at_one_and_the_wrong_one_at_zero() -> None:
    weights = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.0])
    right = judge(additive(weights), weights, 20, search=True)
    wrong = judge(additive(weights), -weights, 20, search=True)
    assert right is not None
    assert wrong is not None
    assert (right.normalised, wrong.normalised) == (pytest.approx(1.0), pytest.approx(0.0))
    assert right.is_better
    assert not wrong.is_better
    assert right.comprehensiveness == pytest.approx(wrong.reversed)
    # By hand: 1 to 7 of 8 parts hidden, 5 4 3 2 1 0 0 0.
    assert right.comprehensiveness == pytest.approx(np.mean([5, 9, 12, 14, 15, 15, 15]))
    assert right.sufficiency == pytest.approx(np.mean([10, 6, 3, 1, 0, 0, 0]))


def test_of_two_parts_nothing_is_judged() -> None:
    assert judge(additive([1.0, 2.0]), np.array([1.0, 2.0]), 5, search=True) is None


def test_rank_agreement_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 5, 12).astype(float), rng.normal(size=12)
        assert rank_agreement(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)
    assert rank_agreement(np.ones(4), np.arange(4.0)) is None


@pytest.mark.parametrize("method", ["occlusion", "shapley", "gradient", "integrated"])
def test_planted_words_are_found(planted: Bundle[str, str], method: Any) -> None:
    """At least 95 of 100 times; completeness within 1 %; far above random orders."""
    settings = replace(QUICK, method=method, orders=5)
    found, above = 0, []
    examples = telling()
    for example in examples:
        told = explain(planted, example.input, settings, search=False)
        assert told.answer.value == example.target
        found += strongest(told) in WORDS
        assert told.faithful is not None
        above.append(told.faithful.comprehensiveness - told.faithful.random)
        if method == "integrated":
            assert told.missing is not None
            assert told.missing <= 0.01
    # The gradient is the quick one: it sees the slope at the input and nothing around it. Chance would find 1 of 9.
    assert found / len(examples) >= (0.5 if method == "gradient" else 0.95)
    assert np.mean(above) >= (0.0 if method == "gradient" else 0.1)


def test_normalised_faithfulness_is_well_above_random(planted: Bundle[str, str]) -> None:
    told = [explain(planted, e.input, QUICK) for e in telling()[:10]]
    gaps = [t.faithful.normalised - t.faithful.normalised_random for t in told if t.faithful]  # type: ignore[operator]
    assert len(gaps) == 10
    assert np.mean(gaps) >= 0.1
    shuffled = [t.shuffled for t in told if t.shuffled is not None]
    assert abs(np.mean(shuffled)) < 0.3


def test_chinese_words_are_whole_and_every_region_is_in_one_unit(planted: Bundle[str, str]) -> None:
    text = "服务员态度很好，又买了蓝莓 hello"
    units = planted.task.input.units(text)
    assert {"服务员", "态度", "hello"} <= {unit.name for unit in units}
    regions = [region for unit in units for region in unit.regions]
    assert regions == list(range(len(planted.task.input.regions(text))))


@dataclass(frozen=True, slots=True)
class Stubborn:
    """An engine that does not look at its input."""

    def run(self, batch: Batch) -> Mapping[str, np.ndarray[Any, Any]]:
        return {"logits": np.tile(np.array([0.3, 1.0, 0.0]), (len(batch["input_ids"]), 1))}


def test_reasons_of_a_model_that_does_not_look_are_no_better_than_chance(
    planted: Bundle[str, str], both_languages: str
) -> None:
    blind = replace(planted, engine=Stubborn(), manifest=replace(planted.manifest, engine="none"))
    told = explain(blind, make_planted().test[0].input, QUICK)
    assert told.faithful is not None
    assert not told.is_believed
    says = {"en": "No better than chance", "zh": "不比随机好"}[both_languages]
    assert find(as_row(blind, told))[0].startswith(says)


def test_shuffled_weights_that_change_nothing_are_told() -> None:
    row = {"faithful": None, "missing": None, "shuffled": 0.9, "agreement": 0.5, "nearest": [], "is_choice": True}
    assert [line[:28] for line in find(row)] == [
        "The input has too few parts ", "Even with shuffled weights t", "Before compression the reaso",
    ]  # fmt: skip


def test_control_characters_do_not_reach_the_terminal() -> None:
    row = {
        "faithful": None, "missing": None, "shuffled": None, "agreement": None, "is_choice": True, "nearest": [],
        "units": [{"name": "\x1b"}], "attention": {"rollout": [1.0], "is_believed": True},
    }  # fmt: skip
    assert "\x1b" not in "".join(find(row))
    assert "? 100%" in find(row)[1]


def test_gradients_are_refused_where_there_are_none(planted: Bundle[str, str]) -> None:
    blind = replace(planted, engine=Stubborn(), manifest=replace(planted.manifest, engine="none"))
    with pytest.raises(InputError) as caught:
        explain(blind, "今天，店里，蓝莓", replace(QUICK, method="gradient"))
    assert caught.value.code == "explain.method"


def test_nothing_to_hide_is_one_line(planted: Bundle[str, str]) -> None:
    with pytest.raises(InputError) as caught:
        explain(planted, " ", QUICK)
    assert caught.value.code == "explain.nothing"


def test_numbers_are_explained_in_their_unit(tmp_path: Path) -> None:
    """Each word has its price."""
    train_bundle(tmp_path / "bundle", "text_regression", make_numbers(), rounds=8)
    bundle = open_bundle(tmp_path / "bundle")
    told = explain(bundle, make_numbers().test[0].input, replace(QUICK, method="integrated"))
    assert told.missing is not None
    assert told.missing <= 0.01
    hidden = explain(bundle, make_numbers().test[0].input, QUICK)
    assert abs(hidden.weights).max() > 1  # tens, not shares


def test_entities_are_explained_by_their_own_words(tmp_path: Path) -> None:
    train_bundle(tmp_path / "bundle", "token_classification", make_entities(), rounds=5)
    bundle = open_bundle(tmp_path / "bundle")
    example = next(e for e in make_entities().test if bundle.predict([e.input])[0].value == e.target and e.target)
    told = explain(bundle, example.input, QUICK)
    name = told.units[int(np.argmax(told.weights))].name
    assert any(name in span.text or span.text in name for span in example.target)
    told = explain(bundle, example.input, replace(QUICK, method="integrated"))
    assert told.missing is not None
    assert told.missing <= 0.01
    bundle = replace(bundle, task=type(bundle.task)(replace(bundle.task.schema, max_length=8), bundle.processor))
    with pytest.raises(InputError):  # a text of several windows
        explain(bundle, example.input, replace(QUICK, method="gradient"))


def test_tiles_of_a_picture_are_found_and_drawn(tmp_path: Path) -> None:
    """A bright square in one corner decides."""
    from luodi.backends.pillow import write_png

    rng = np.random.default_rng(0)

    def drawn(corner: int) -> Picture:
        pixels = rng.integers(60, 120, (16, 16, 1)).astype(np.uint8)
        row, column = divmod(corner, 2)
        pixels[12 * row : 12 * row + 4, 12 * column : 12 * column + 4] = 255
        return Picture(write_png(pixels))

    examples = [Example(id=str(i), input=drawn(i % 2), target=f"c{i % 2}", source="") for i in range(300)]
    data: Any = replace(make_dataset(), train=tuple(examples[:200]), validation=tuple(examples[200:250]),
                        test=tuple(examples[250:]))  # fmt: skip
    bundle = _picture_bundle(tmp_path / "bundle", data)
    for method in ("occlusion", "gradient"):
        right = 0
        for example in data.test[:4]:
            told = explain(bundle, example.input, replace(QUICK, method=method), search=False)  # type: ignore[arg-type]
            corner = {"c0": "row 1, column 1", "c1": "row 1, column 4"}
            right += {corner["c0"], corner["c1"]} >= {told.units[int(np.argmax(abs(told.weights)))].name}
        assert right == 4, method
    assert as_row(bundle, told)["picture"].startswith("data:image/png;base64,")


def _picture_bundle(folder: Path, data: Any) -> Bundle[Any, Any]:
    import torch

    from luodi.core.bundle import Manifest, golden_pairs, seal_bundle
    from luodi.core.task import Schema
    from luodi.models.engine import TorchEngine, save_network, to_torch
    from luodi.models.source import resolve

    task = load_task("image_classification", load_task("image_classification").learn(data.train, Schema()))
    torch.manual_seed(0)
    scratch: Any = resolve("vit:tiny", "vit:tiny")
    processor = task.make_processor(scratch, data.train)
    base = scratch.fitted(processor)
    model = task.build(base)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    items = task.encode([e.input for e in data.train], processor, [e.target for e in data.train])
    for start in [*range(0, 200, 20)] * 4:
        batch = to_torch(task.collate(items[start : start + 20]))
        task.loss(model(pixel_values=batch["pixel_values"]), batch).backward()
        optimiser.step()
        optimiser.zero_grad()
    save_network(model, folder / "weights")
    processor.save(folder / "processor")
    inputs = [e.input for e in data.validation]
    answers = task.predict(task.encode(inputs, processor), TorchEngine(model.eval()))
    manifest = Manifest(
        task=task.name, schema=task.schema, engine="luodi.models.engine", processor=type(processor).__module__,
        network={"base": "vit:tiny", "config": dict(base.config)}, made_by=("train",),
    )  # fmt: skip
    seal_bundle(folder, manifest, golden_pairs(task, inputs, answers))
    return open_bundle(folder)


def test_attention_is_that_of_the_layers_and_told_by_parts(planted: Bundle[str, str]) -> None:
    """The last layer's states made anew from the weights that are told."""
    import torch

    from luodi.models.attention import attention_maps, rollout
    from luodi.models.engine import read_by, to_torch

    example = telling()[0]
    item = planted.task.encode([example.input], planted.processor)[0]
    engine: Any = planted.engine
    maps = attention_maps(engine, planted.task, item)
    assert maps.shape == (1, 2, len(item["input_ids"]), len(item["input_ids"]))
    assert maps.sum(-1) == pytest.approx(1.0)
    layer = engine.model.encoder.encoder.layer[0].attention
    batch = to_torch(read_by(engine.model, planted.task.collate([item])))
    with torch.no_grad():
        states = engine.model.encoder.embeddings(batch["input_ids"])
        values = layer.self.value(states)[0].view(states.shape[1], 2, -1).transpose(0, 1).double().numpy()
        wanted = layer.self(states)[0][0].double().numpy()
    assert (maps[0] @ values).transpose(1, 0, 2).reshape(wanted.shape) == pytest.approx(wanted, abs=1e-5)
    assert rollout(maps).sum() == pytest.approx(1.0)
    told = explain(planted, example.input, QUICK, search=False)
    seen = attention(planted, told, 5)
    assert sum(seen["rollout"]) == pytest.approx(1.0)
    assert np.array(seen["layers"]).shape == (1, len(told.units), len(told.units))


def test_attention_of_the_readable_transformer_and_of_pictures(tmp_path: Path) -> None:
    import torch

    from luodi.models.attention import attention_maps
    from luodi.models.engine import TorchEngine
    from luodi.models.source import resolve

    for name, task_name, value in (
        ("transformer:tiny", "text_classification", "今天 店里 very good"),
        ("vit:tiny", "image_classification", Picture(_grey())),
    ):
        task = load_task(task_name, replace(load_task(task_name).schema, labels=("a", "b")))
        scratch: Any = resolve(name, name)
        example: Any = Example(id="0", input=value, target="a")
        processor = task.make_processor(scratch, [example] * 4)
        torch.manual_seed(0)
        model = task.build(scratch.fitted(processor)).eval()
        item = task.encode([value], processor)[0]
        before = TorchEngine(model).run(task.collate([item]))["logits"]
        maps = attention_maps(TorchEngine(model), task, item)
        assert maps.ndim == 4
        assert maps.shape[0] >= 2
        assert maps.sum(-1) == pytest.approx(1.0, abs=1e-5)
        assert TorchEngine(model).run(task.collate([item]))["logits"] == pytest.approx(before, abs=1e-6)


def _grey() -> bytes:
    from luodi.backends.pillow import write_png

    return write_png(np.random.default_rng(0).integers(0, 255, (16, 16, 1)).astype(np.uint8))


def test_a_planted_wrong_label_stands_among_the_nearest_and_speaks_against(planted: Bundle[str, str]) -> None:
    """Copies of asked texts are planted with the other label: recall among the ten nearest at least 0.95."""
    data = make_planted()
    rng = np.random.default_rng(0)
    other = {"好评": "差评", "差评": "好评"}
    asked = telling()[:20]
    wrong = [
        replace(e, id=f"wrong{i}", input=planted.task.input.perturb(e.input, rng), target=other[e.target])
        for i, e in enumerate(asked)
    ]
    known = beside(planted, [*data.train, *wrong])
    found = against = warned = 0
    for place, example in enumerate(asked):
        answer = planted.predict([example.input])[0]
        rows = {row["id"]: row for row in neighbours(known, example.input, answer, 10)}
        row = rows.get(f"wrong{place}")
        found += row is not None
        against += row is not None and row["influence"] < 0
        told = {**as_row(planted, explain(planted, example.input, QUICK, search=False)), "nearest": [*rows.values()]}
        warned += any("check its label" in line for line in find(told))
    assert found / len(asked) >= 0.95
    assert against / len(asked) >= 0.95
    assert warned / len(asked) >= 0.9


def test_influence_is_the_product_of_the_last_layers_gradients(planted: Bundle[str, str]) -> None:
    """Against autograd."""
    import torch

    from luodi.models.engine import read_by, to_torch
    from luodi.models.influence import influences

    task, engine = planted.task, planted.engine
    examples = make_planted().train[:6]
    items = task.encode([e.input for e in examples], planted.processor, [e.target for e in examples])
    model: Any = engine.model  # type: ignore[attr-defined]

    def gradient(item: Any) -> Any:
        batch = task.collate([item])
        loss = torch.nn.functional.cross_entropy(
            model(**to_torch(read_by(model, batch)))["logits"], torch.from_numpy(batch["labels"])
        )
        found = torch.autograd.grad(loss, [model.head.weight, model.head.bias])
        return torch.cat([g.flatten() for g in found]).double().numpy()

    first, *rest = [gradient(item) for item in items]
    wanted = np.array([first @ other for other in rest])
    found = influences(engine, task, items[0], items[1:])  # type: ignore[arg-type]
    assert found == pytest.approx(wanted / abs(wanted).max(), abs=1e-4)


def test_a_sample_of_rows_says_what_counts_and_whether_the_other_bundle_agrees(planted: Bundle[str, str]) -> None:
    made = explain_rows(planted, make_planted().validation, replace(QUICK, rows=40), planted)
    assert made.numbers["above_random"].low > 0
    assert made.numbers["same_reasons"].value == pytest.approx(1.0)
    assert made.findings[0].startswith("Reasons can be believed: on 40 validation rows")
    assert made.findings[1].startswith("The compressed model gives the same reasons: rank agreement 1.00")
    words = {row["answer"]: [w["name"] for w in row["words"]] for row in made.details["words"]}
    for label, mine in words.items():
        assert not PLANTED[label] or mine[0] in PLANTED[label]
    assert set(words) == set(PLANTED)
    assert [row["name"] for row in made.details["areas"]] == ["reasons", "random", "reversed"]


def test_the_same_bundle_has_the_same_reasons(planted: Bundle[str, str]) -> None:
    for method in ("occlusion", "shapley"):
        settings = replace(QUICK, method=method)  # type: ignore[arg-type]
        told = explain(planted, make_planted().test[0].input, settings, search=False)
        assert reasons_of(planted, told, settings) == pytest.approx(told.weights, abs=1e-6)
