"""Every file of modalities/ keeps the contract of `core/modality.py`, on anything that hypothesis can think of."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rows import MODALITIES

from luodi.core.modality import Codec, Modality
from luodi.errors import DataError

FILES = sorted(m.name for m in pkgutil.iter_modules(importlib.import_module("luodi.modalities").__path__))
KINDS = {"string": str, "number": (int, float), "integer": int, "array": list, "object": dict, "boolean": bool}


def codec_of(name: str) -> Codec[Any]:
    """The one that the file defines."""
    module = importlib.import_module(f"luodi.modalities.{name}")
    mine = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    found = [c for c in mine if issubclass(c, Codec) and not inspect.isabstract(c)]
    assert len(found) == 1, f"{name} defines {len(found)} codecs"
    made: Codec[Any] = found[0]()
    return made


CODECS = {name: codec_of(name) for name in FILES if name in MODALITIES}
INPUTS = [name for name, codec in CODECS.items() if isinstance(codec, Modality)]
quick = settings(max_examples=40, deadline=None)


def drawn(data: st.DataObject, name: str) -> Any:
    return CODECS[name].decode(data.draw(MODALITIES[name].values))


def modality(name: str) -> Modality[Any]:
    codec = CODECS[name]
    assert isinstance(codec, Modality)
    return codec


def same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else bool(a == b)


def fits(wire: Any, schema: Mapping[str, Any]) -> bool:
    """As much of JSON schema as codecs use."""
    kinds = kinds_of(schema)
    if not any(isinstance(wire, KINDS[kind]) for kind in kinds) or (isinstance(wire, bool) and "boolean" not in kinds):
        return False
    if "enum" in schema and wire not in schema["enum"]:
        return False
    if isinstance(wire, dict) and "properties" in schema:
        told = schema["properties"]
        required = set(schema.get("required", told))
        return required <= set(wire) <= set(told) and all(fits(wire[name], told[name]) for name in wire)
    return not isinstance(wire, list) or "items" not in schema or all(fits(part, schema["items"]) for part in wire)


def kinds_of(schema: Mapping[str, Any]) -> list[str]:
    return [schema["type"]] if isinstance(schema["type"], str) else schema["type"]


def test_every_file_is_tried() -> None:
    assert set(FILES) == set(MODALITIES)


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
@quick
def test_what_is_sent_comes_back(name: str, data: st.DataObject) -> None:
    codec, value = CODECS[name], drawn(data, name)
    over_the_wire = json.loads(json.dumps(codec.encode(value)))
    assert same(codec.decode(over_the_wire), value)


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
@quick
def test_what_is_sent_fits_its_schema(name: str, data: st.DataObject) -> None:
    wire = CODECS[name].encode(drawn(data, name))
    assert fits(wire, CODECS[name].schema())


@pytest.mark.parametrize("name", CODECS)
def test_the_schema_is_plain_json(name: str) -> None:
    told = CODECS[name].schema()
    assert json.loads(json.dumps(told)) == told
    assert set(kinds_of(told)) <= set(KINDS)


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
@quick
def test_the_same_by_another_hand_has_the_same_fingerprint(name: str, data: st.DataObject) -> None:
    codec, value = CODECS[name], drawn(data, name)
    other = codec.decode(MODALITIES[name].same(value))
    assert codec.fingerprint(other) == codec.fingerprint(value)
    assert codec.fingerprint(value) == codec.fingerprint(codec.decode(codec.encode(value)))


@pytest.mark.parametrize("name", CODECS)
def test_different_values_have_different_fingerprints(name: str) -> None:
    one, other = MODALITIES[name].other
    assert CODECS[name].fingerprint(one) != CODECS[name].fingerprint(other)


@pytest.mark.parametrize("name", CODECS)
def test_bad_input_is_refused_in_words(name: str, both_languages: str) -> None:
    for wire in MODALITIES[name].bad:
        with pytest.raises(DataError) as caught:
            CODECS[name].decode(wire)
        assert caught.value.message
        assert caught.value.code.startswith("data.")


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
@quick
def test_features_have_names_and_are_finite(name: str, data: st.DataObject) -> None:
    codec = CODECS[name]
    numbers = codec.features(drawn(data, name))
    assert numbers.shape == (len(codec.feature_names()),)
    assert np.isfinite(numbers).all()


@pytest.mark.parametrize("name", INPUTS)
@given(data=st.data())
@quick
def test_hidden_regions_are_gone(name: str, data: st.DataObject) -> None:
    kind, value = modality(name), drawn(data, name)
    regions = kind.regions(value)
    assert all(isinstance(region, str) for region in regions)
    assert same(kind.hide(value, []), value)
    assume(regions)
    chosen = data.draw(st.sets(st.integers(0, len(regions) - 1), min_size=1))
    hidden = kind.hide(value, sorted(chosen))
    assert type(hidden) is type(value)
    assert not same(hidden, value)
    assert same(kind.hide(value, sorted(chosen, reverse=True)), hidden)


@pytest.mark.parametrize("name", INPUTS)
@given(data=st.data(), seed=st.integers(0, 2**32))
@quick
def test_a_nudge_keeps_the_kind_and_follows_its_seed(name: str, data: st.DataObject, seed: int) -> None:
    kind, value = modality(name), drawn(data, name)
    nudged = kind.perturb(value, np.random.default_rng(seed))
    assert same(nudged, kind.perturb(value, np.random.default_rng(seed)))
    kind.encode(nudged)
    kind.features(nudged)


@pytest.mark.parametrize("name", INPUTS)
@given(data=st.data())
@quick
def test_pieces_are_hashes_that_equal_values_share(name: str, data: st.DataObject) -> None:
    kind, value = modality(name), drawn(data, name)
    pieces = kind.pieces(value)
    assert pieces.dtype == np.uint32
    assert len(pieces) == len(set(pieces.tolist())) > 0
    twin = kind.pieces(kind.decode(MODALITIES[name].same(value)))
    assert set(twin.tolist()) == set(pieces.tolist())


@pytest.mark.parametrize("name", INPUTS)
@given(data=st.data())
@quick
def test_slices_are_words_and_always_the_same_families(name: str, data: st.DataObject) -> None:
    kind = modality(name)
    one, other = kind.slices(drawn(data, name)), kind.slices(drawn(data, name))
    assert set(one) == set(other) != set()
    assert all(isinstance(word, str) and word and "." not in word for word in (*one, *one.values()))


@pytest.mark.parametrize("name", INPUTS)
def test_the_baseline_learns_what_is_plain_to_see(name: str) -> None:
    one, other = MODALITIES[name].other
    called, predict = modality(name).baseline([one, other] * 10, ["a", "b"] * 10, seed=0)
    assert called
    assert [p.value for p in predict([other, one, other])] == ["b", "a", "b"]
    assert all(p.confidence is None or 0 <= p.confidence <= 1 for p in predict([one, other]))
