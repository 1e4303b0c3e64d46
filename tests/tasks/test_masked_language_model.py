"""Words that are missing: what is hidden and when, what is answered, and what a pre-trained network is good for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luodi import lifecycle, steps
from luodi.backends import onnx
from luodi.core.bundle import open_bundle
from luodi.core.config import Brief
from luodi.core.project import open_project
from luodi.core.task import IGNORED, LABELS, Schema, load_task
from luodi.core.types import Columns, Example
from luodi.errors import ConfigError
from luodi.models.cloze import Neighbours, disturbed, draw_places, filled
from luodi.models.engine import TorchEngine
from luodi.models.source import BundleBase, ScratchBase, resolve
from luodi.models.tracing import output_names, trace
from luodi.stages.compress.gate import check_shapes
from luodi.stages.compress.workshop import _varied
from luodi.stages.train import train as stage
from luodi.stages.train.config import TrainSettings
from luodi.stages.train.setup import set_up
from shop import answer, luodi, write_reviews
from tiny import NETWORK, make_dataset

NAME = "masked_language_model"
TEXTS = [e.input for e in make_dataset().train]
SETTINGS = TrainSettings(
    epochs=6, tokens_per_batch=512, max_length=32, evaluations=1, learning_rate=3e-3, patience=100, wide=False
)
CONFIG = {**NETWORK, "vocab_size": 300}


def rows(texts: list[str] = TEXTS) -> list[Example[str, str]]:
    return [Example(id=str(i), input=text, target=text) for i, text in enumerate(texts)]


def learned(length: int = 32) -> tuple[Any, Any]:
    """The task with its processor, and a network of random weights."""
    base = ScratchBase(name="bert:tiny", config=CONFIG)
    processor = load_task(NAME).make_processor(base, rows())
    task = load_task(NAME, Schema(max_length=length)).with_processor(processor)
    torch.manual_seed(0)
    return task, task.build(base.fitted(processor)).eval()


def encoded(task: Any, texts: list[str]) -> list[Any]:
    return task.encode(texts, task.processor, texts)  # type: ignore[no-any-return]


# --- what is hidden ---------------------------------------------------------------------------------------------------


def test_a_sixth_is_hidden_and_always_the_same() -> None:
    task, _ = learned()
    items = encoded(task, TEXTS)
    known = [item["input_ids"] != task.processor.mask for item in items]
    hidden, real = sum(int((~k).sum()) for k in known), sum(len(k) - 2 for k in known)
    assert 0.1 < hidden / real < 0.2
    for item, text in zip(items, TEXTS, strict=True):
        alone = encoded(task, [text])[0]
        assert all(np.array_equal(item[key], alone[key]) for key in item)
        assert (item["input_ids"][item["holes"]] == task.processor.mask).all()
        assert (item[LABELS] != IGNORED).all()


def test_training_hides_other_pieces_each_time_and_by_the_rule_of_bert() -> None:
    task, _ = learned(length=64)
    text = " ".join(TEXTS[:6])
    item = encoded(task, [text])[0]
    whole = task.processor.encode([text])[0]["input_ids"][:64]
    rng, counts, drawn = np.random.default_rng(0), np.zeros(3), set()
    for _ in range(400):
        other = task.augment(item, rng)
        places = other["holes"]
        assert np.array_equal(other[LABELS], whole[places])
        elsewhere = np.delete(np.arange(len(whole)), places)
        assert np.array_equal(other["input_ids"][elsewhere], whole[elsewhere])
        shown = other["input_ids"][places]
        counts += [(shown == task.processor.mask).sum(), (shown == whole[places]).sum(), len(places)]
        drawn.update(places.tolist())
    hidden, kept = counts[:2] / counts[2]
    assert hidden == pytest.approx(0.8, abs=0.03)
    assert kept == pytest.approx(0.1, abs=0.03)
    known = [i for i, piece in enumerate(whole.tolist()) if task.processor.tokenizer.id_to_token(piece) != "▁"]
    assert drawn == set(known[1:])  # all but the mark of the beginning, and what is nothing to the eye
    again = task.augment(item, np.random.default_rng(5)), task.augment(item, np.random.default_rng(5))
    assert all(np.array_equal(again[0][key], again[1][key]) for key in again[0])


def test_special_pieces_are_left_alone() -> None:
    special = np.array([0, 1, 2])
    assert len(draw_places(np.array([0, 1, 2, 0]), special, np.random.default_rng(0))) == 0
    assert draw_places(np.array([0, 7, 2]), special, np.random.default_rng(0)).tolist() == [1]
    assert disturbed(np.array([5, 6]), np.array([], np.int64), 4, 9, np.random.default_rng(0)).tolist() == [5, 6]


def test_nothing_to_be_found_is_no_loss() -> None:
    task, model = learned()
    batch = {k: torch.from_numpy(v) for k, v in task.collate(encoded(task, ["\U0001f47e"])).items()}
    assert (batch[LABELS] == IGNORED).all()
    loss = task.loss(model(**{k: v for k, v in batch.items() if k != LABELS}), batch)
    assert float(loss.detach()) == 0.0


def test_the_network_is_that_of_the_paper() -> None:
    """With the same weights, the library's BERT for masked words says the same at the holes."""
    import transformers

    task, model = learned()
    library = transformers.BertForMaskedLM(transformers.AutoConfig.for_model(**model.encoder.config.to_diff_dict()))
    torch.nn.init.normal_(model.head.bias)
    library.bert.load_state_dict(model.encoder.state_dict())
    head = library.cls.predictions
    head.transform.dense.load_state_dict(model.head.dense.state_dict())
    head.transform.LayerNorm.load_state_dict(model.head.norm.state_dict())
    with torch.no_grad():
        head.bias.copy_(model.head.bias)
        batch = {k: torch.from_numpy(v) for k, v in task.collate(task.encode(TEXTS[:9], task.processor)).items()}
        ours = model(**batch)["logits"]
        theirs = library.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    found = torch.stack([row[places] for row, places in zip(theirs, batch["holes"], strict=True)])
    torch.testing.assert_close(ours, found, rtol=1e-5, atol=1e-5)


# --- what is answered -------------------------------------------------------------------------------------------------


class Certain:
    """Finds `word` in every hole."""

    def __init__(self, piece: int, size: int) -> None:
        self.piece, self.size = piece, size

    def run(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        logits = np.zeros((*batch["holes"].shape, self.size), np.float32)
        logits[..., self.piece] = 12
        return {"logits": logits}


def test_marks_in_a_text_are_filled_and_the_rest_stays() -> None:
    task, _ = learned()
    tokenizer = task.processor.tokenizer
    engine = Certain(tokenizer.token_to_id("好"), tokenizer.get_vocab_size())

    def asked(text: str) -> Any:
        return task.predict(task.encode([text], task.processor), engine)[0]

    one = asked("Ｈello 很[MASK]吃 ok")
    assert one.value == "Ｈello 很好吃 ok"
    assert next(iter(one.scores)) == "好"
    assert one.confidence == pytest.approx(one.scores["好"])
    assert one.confidence > 0.9
    assert len(one.scores) == 5
    several = asked("[MASK]吃，很 [MASK]。")
    assert several.value == "好吃，很 好。"
    assert {"1 好", "2 好"} <= set(several.scores)
    plain = asked(TEXTS[0])
    assert len(plain.value) <= len(TEXTS[0]) + 2
    assert not plain.scores


def test_pieces_after_a_mark_are_those_of_the_whole_text() -> None:
    """Else a text with a hole would look like two texts to the network."""
    task, _ = learned()
    for text, word, holed in (("很好吃", "好", "很[MASK]吃"), ("hello 不错 great", "不", "hello [MASK]错 great")):
        whole, other = (task.processor.encode([each])[0]["input_ids"].tolist() for each in (text, holed))
        place = whole.index(task.processor.tokenizer.token_to_id(word))
        assert other[other.index(task.processor.mask) + 1 :] == whole[place + 1 :]


def test_words_are_put_where_they_were() -> None:
    assert filled("abcdef", np.array([[0, 1], [3, 5]]), ["X", "YZZ"]) == "XbcYZZf"


def test_neighbours_give_probabilities_and_know_what_stood_there() -> None:
    special = np.array([0])
    model = Neighbours([np.array([1, 2, 3, 1, 2, 3, 4])], special, 6)
    told = model.probabilities(np.array([1, 0, 3]), np.array([1]))
    assert told.shape == (1, 6)
    assert told.sum() == pytest.approx(1.0)
    assert told.argmax() == 2
    flat = Neighbours([np.array([1, 2, 2])], special, 6, looks=False).probabilities(np.array([1, 0]), np.array([1]))
    assert flat.sum() == pytest.approx(1.0)
    assert flat[0].argsort()[-2:].tolist() == [1, 2]


# --- what cannot be meant ---------------------------------------------------------------------------------------------


def test_a_column_of_answers_is_refused(both_languages: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_task(NAME).read({"text": "x", "label": "y"}, Columns(input=("text",), target="label"))
    assert caught.value.code == "config.target"


def test_a_tokenizer_without_a_mark_is_refused(tmp_path: Path, both_languages: str) -> None:
    base = ScratchBase(name="bert:tiny", config=CONFIG)
    base.encoder().save_pretrained(tmp_path)  # type: ignore[operator]
    base.processor(TEXTS).save(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_task(NAME).make_processor(resolve(str(tmp_path), ""), rows())
    assert caught.value.code == "config.model"


# --- a life, and another that begins with it --------------------------------------------------------------------------


def fit(folder: Path, task: str, examples: list[Example[str, str]], **changes: Any) -> stage.Trained:
    model = changes.pop("model", "bert:tiny")
    folder.mkdir(exist_ok=True)
    brief = Brief(task=task, data="texts.txt", input="text", model=model)
    settings = dataclasses.replace(SETTINGS, **changes)
    return stage.train(load_task(task), examples[:160], examples[160:], brief, settings, folder)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> stage.Trained:
    return fit(tmp_path_factory.mktemp("pre") / "run", NAME, rows())


def test_it_learns_and_its_bundle_proves_itself(pretrained: stage.Trained) -> None:
    bundle = open_bundle(pretrained.bundle)
    assert bundle.replay().worst < 1e-5
    scores = [point["value"] for point in pretrained.details["scores"]]
    assert pretrained.numbers["validation_bits_per_token"].value == min(scores)
    base = ScratchBase(name="bert:tiny", config=bundle.manifest.network["config"])
    torch.manual_seed(0)
    beginning = TorchEngine(bundle.task.build(base))
    held_back = rows()[160:]
    items = encoded(bundle.task, [e.input for e in held_back])
    targets, metrics = [e.target for e in held_back], bundle.task.metrics
    before, after = (
        [m.value(targets, bundle.task.examine(items, engine, metrics)) for m in metrics]
        for engine in (beginning, bundle.engine)
    )
    assert after[0] < 0.75 * before[0]
    assert after[1] > before[1]


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_a_classifier_begins_with_its_weights(pretrained: stage.Trained, tmp_path: Path, adapter: str) -> None:
    if adapter == "lora":
        pytest.importorskip("peft")
    data = make_dataset()
    brief = Brief(task="text_classification", data="x.csv", input="text", target="label", model=str(pretrained.bundle))
    settings = dataclasses.replace(SETTINGS, adapter=adapter, frozen_layers=0)
    setup, base = set_up(load_task("text_classification"), data.train, data.validation, brief, settings, tmp_path)
    if setup.narrowed:
        setup.narrowed.restore()
    if setup.adapters:
        setup.adapters.merge()
    theirs = open_bundle(pretrained.bundle).engine.model.encoder.state_dict()  # type: ignore[attr-defined]
    ours = setup.model.encoder.state_dict()  # type: ignore[union-attr,operator]
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert isinstance(base, BundleBase)
    assert setup.processor.encode(["很好吃"])[0]["input_ids"].tolist() == (
        open_bundle(pretrained.bundle).processor.encode(["很好吃"])[0]["input_ids"].tolist()
    )


def test_pretraining_goes_on_with_adapters_and_not_with_frozen_layers(
    pretrained: stage.Trained, tmp_path: Path, both_languages: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        fit(tmp_path / "frozen", NAME, rows(), model=str(pretrained.bundle), frozen_layers=1)
    assert caught.value.code == "train.frozen_layers"
    pytest.importorskip("peft")
    made = fit(tmp_path / "run", NAME, rows(), model=str(pretrained.bundle), adapter="lora", epochs=1)
    assert open_bundle(made.bundle).replay().worst < 1e-5
    goal = pretrained.numbers["validation_bits_per_token"].value
    assert made.numbers["validation_bits_per_token"].value < 1.2 * goal


def test_a_bundle_without_an_encoder_is_told(pretrained: stage.Trained, both_languages: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(str(pretrained.bundle), "").decoder()
    assert caught.value.code == "config.model"


def test_exported_it_answers_alike_at_all_shapes(pretrained: stage.Trained, tmp_path: Path) -> None:
    bundle: Any = open_bundle(pretrained.bundle)
    items = bundle.task.encode(TEXTS[:3], bundle.processor)
    batch, other = (bundle.task.collate(_varied(bundle.task, items * turns, turns)) for turns in (2, 3))
    onnx.export(trace(bundle.engine, batch, other), output_names(bundle.engine, batch), tmp_path)
    made = onnx.open_engine(tmp_path, bundle.task, {}, 1)
    assert check_shapes(bundle.engine, made, bundle.task, items) < 1e-4
    answers = bundle.task.predict(bundle.task.encode(["很[MASK]吃"], bundle.processor), made)
    assert answers[0].value == bundle.predict(["很[MASK]吃"])[0].value


def test_another_beginning_is_another_training(pretrained: stage.Trained, tmp_path: Path) -> None:
    write_reviews(tmp_path / "reviews.csv", 60)
    page = f"task: text_classification\ndata: reviews.csv\ninput: text\ntarget: label\nmodel: {pretrained.bundle}\n"
    (tmp_path / "luodi.yaml").write_text(page, encoding="utf-8")
    project = open_project(tmp_path)
    report = lifecycle.prepare(project)
    step = steps.Step(result=project.store.results()[0], report=report)
    inputs = steps.learned_from(project, step)
    assert inputs == {"dataset": step.result.key, "model": open_bundle(pretrained.bundle).identity}
    plain = steps.learned_from(open_project(tmp_path, ["model=bert:tiny"]), step)
    assert plain == {"dataset": step.result.key}


@pytest.mark.long
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_a_whole_life_and_another_that_begins_with_it(tmp_path: Path, engine: str) -> None:
    """From a file of plain text to a Bundle that fills holes; then a classifier by the project's name."""
    first, second = tmp_path / "texts", tmp_path / "opinions"
    first.mkdir()
    second.mkdir()
    write_reviews(second / "reviews.csv", 200)
    lines = (second / "reviews.csv").read_text(encoding="utf-8").splitlines()[1:]
    (first / "texts.txt").write_text("\n".join(line.rpartition(",")[0].strip('"') for line in lines), encoding="utf-8")
    page = (
        f"task: {NAME}\ndata: texts.txt\ninput: text\nmodel: bert:tiny\naccept: {{bits_per_token: '<= 30'}}\n"
        "train: {epochs: 1, max_length: 32}\nprepare: {near_duplicates: 1.0}\n"
        f"compress: {{candidates: [{engine}], timed: 4, rounds: 1, max_loss: 1.0}}\n"
    )
    (first / "luodi.yaml").write_text(page, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        resolve(str(first), "")  # nothing is trained yet
    assert "luodi train" in caught.value.hint
    done = luodi("run", str(first), "--json", OMP_NUM_THREADS="1")
    told = answer(done)
    assert done.returncode == 0, done.stderr
    assert told["numbers"]["bits_per_token"]["unit"] == "bits"
    assert told["numbers"]["p95_ms"]["value"] > 0, told["findings"]
    bundle = open_bundle(Path(told["bundle"]))
    assert bundle.manifest.engine.endswith(engine)
    assert "[MASK]" not in bundle.predict(["很[MASK]吃"])[0].value

    begun = resolve(str(first), "")
    assert isinstance(begun, BundleBase)
    page = f"task: text_classification\ndata: reviews.csv\ninput: text\ntarget: label\nmodel: {first}\n"
    (second / "luodi.yaml").write_text(page, encoding="utf-8")
    started = answer(luodi("train", str(second), "train.epochs=1", "--json", OMP_NUM_THREADS="1"))
    assert started["verdict"] == "DONE"
    assert open_bundle(Path(started["bundle"])).manifest.network["base"] == str(first)
