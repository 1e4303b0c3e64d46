"""The readable Transformer beside `torch.nn` and the library's Marian: the same weights, the same numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import MarianConfig
from transformers.models.marian import modeling_marian as marian

from luodi.errors import ConfigError
from luodi.models.transformer import (
    DecoderLayer,
    EncoderLayer,
    MultiHeadAttention,
    Shape,
    TextEncoder,
    Transformer,
    causal_mask,
    fused_attention,
    padding_mask,
    scaled_dot_product_attention,
    sinusoidal_positions,
)

WIDTH, HEADS, INNER = 24, 4, 40
SHAPE = Shape(
    vocab_size=50, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=HEADS, intermediate_size=INNER,
    max_position_embeddings=32,
)  # fmt: skip
REAL = torch.tensor([[1] * 7, [1, 1, 1, 1, 0, 0, 0], [1] + [0] * 6])
"""Three sources of up to 7 tokens."""
CLOSE = {"atol": 1e-5, "rtol": 0.0}
FUSED = pytest.mark.parametrize("fused", [False, True])
NORMS = pytest.mark.parametrize("norm_first", [False, True])


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def drawn(module: nn.Module) -> Any:
    """Every weight at random: biases of 0 and scales of 1 would hide what is mixed up."""
    with torch.no_grad():
        for weight in module.parameters():
            weight.normal_(std=0.3)
    return module.eval()


def give(ours: nn.Module, theirs: Any, names: dict[str, str]) -> None:
    """Our weights to their module; `names`: our part to theirs."""
    state = {}
    for name, weight in ours.state_dict().items():
        part, _, kind = name.rpartition(".")
        state[f"{names[part]}.{kind}"] = weight
    told = theirs.load_state_dict(state, strict=False)
    assert not told.unexpected_keys
    assert not told.missing_keys, told.missing_keys


def give_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        theirs.out_proj.load_state_dict(ours.output.state_dict())


def states(*sizes: int) -> Tensor:
    return torch.randn(*sizes, WIDTH)


# --- attention --------------------------------------------------------------------------------------------------------


def test_attention_is_the_formula_written_out() -> None:
    """By loops over single numbers."""
    q, k, v = torch.randn(3, 2), torch.randn(4, 2), torch.randn(4, 5)
    for t in range(3):
        weights = [np.exp(sum(float(q[t, i] * k[s, i]) for i in range(2)) / np.sqrt(2)) for s in range(4)]
        expected = sum(w / sum(weights) * v[s].numpy() for s, w in enumerate(weights))
        np.testing.assert_allclose(scaled_dot_product_attention(q, k, v)[t], expected, atol=1e-6)


@pytest.mark.parametrize("mask", [None, padding_mask(REAL), causal_mask(7), padding_mask(REAL) & causal_mask(7)])
def test_fused_is_readable(mask: Tensor | None) -> None:
    parts = [torch.randn(3, HEADS, 7, 6, requires_grad=True) for _ in range(3)]
    readable, fused = (f(*parts, mask) for f in (scaled_dot_product_attention, fused_attention))
    torch.testing.assert_close(fused, readable, **CLOSE)
    weight = torch.randn_like(readable)
    one, other = (torch.autograd.grad((answer * weight).sum(), parts) for answer in (readable, fused))
    torch.testing.assert_close(one, other, **CLOSE)


@FUSED
@pytest.mark.parametrize("is_causal", [False, True])
def test_multi_head_attention_is_torchs(fused: bool, is_causal: bool) -> None:
    ours = drawn(MultiHeadAttention(WIDTH, HEADS, fused=fused))
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval()
    give_attention(ours, theirs)
    queries, memory = states(3, 7), states(3, 7)
    mask = padding_mask(REAL) & causal_mask(7) if is_causal else padding_mask(REAL)
    future = ~causal_mask(7) if is_causal else None
    expected, _ = theirs(queries, memory, memory, key_padding_mask=REAL == 0, attn_mask=future)
    torch.testing.assert_close(ours(queries, memory, memory, mask), expected, **CLOSE)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="5 heads"):
        MultiHeadAttention(24, 5)


# --- layers -----------------------------------------------------------------------------------------------------------


def give_layer(ours: Any, theirs: Any) -> None:
    give_attention(ours.attention, theirs.self_attn)
    norms = [ours.after_attention.norm]
    if hasattr(ours, "cross_attention"):
        give_attention(ours.cross_attention, theirs.multihead_attn)
        norms.append(ours.after_cross_attention.norm)
    for place, norm in enumerate([*norms, ours.after_feed_forward.norm], 1):
        getattr(theirs, f"norm{place}").load_state_dict(norm.state_dict())
    theirs.linear1.load_state_dict(ours.feed_forward.inner.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.outer.state_dict())


@FUSED
@NORMS
@pytest.mark.parametrize(("act", "theirs"), [("relu", "relu"), ("gelu", "gelu"), ("swish", nn.functional.silu)])
def test_encoder_layer_is_torchs(fused: bool, norm_first: bool, act: str, theirs: Any) -> None:
    ours = drawn(EncoderLayer(dataclasses.replace(SHAPE, fused=fused, norm_first=norm_first, hidden_act=act)))
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, INNER, activation=theirs, batch_first=True, norm_first=norm_first
    ).eval()
    give_layer(ours, layer)
    x = states(3, 7)
    expected = layer(x, src_key_padding_mask=REAL == 0)
    real = REAL.bool()  # torch's fast path leaves zeros where padding is
    torch.testing.assert_close(ours(x, padding_mask(REAL))[real], expected[real], **CLOSE)


@FUSED
@NORMS
def test_decoder_layer_is_torchs(fused: bool, norm_first: bool) -> None:
    ours = drawn(DecoderLayer(dataclasses.replace(SHAPE, fused=fused, norm_first=norm_first)))
    layer = nn.TransformerDecoderLayer(WIDTH, HEADS, INNER, batch_first=True, norm_first=norm_first).eval()
    give_layer(ours, layer)
    x, memory = states(3, 5), states(3, 7)
    expected = layer(x, memory, tgt_mask=~causal_mask(5), memory_key_padding_mask=REAL == 0)
    torch.testing.assert_close(ours(x, memory, causal_mask(5), padding_mask(REAL)), expected, **CLOSE)


# --- Marian -----------------------------------------------------------------------------------------------------------

NAMES = {
    "attention.query": "self_attn.q_proj", "attention.key": "self_attn.k_proj", "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.out_proj", "after_attention.norm": "self_attn_layer_norm",
    "cross_attention.query": "encoder_attn.q_proj", "cross_attention.key": "encoder_attn.k_proj",
    "cross_attention.value": "encoder_attn.v_proj", "cross_attention.output": "encoder_attn.out_proj",
    "after_cross_attention.norm": "encoder_attn_layer_norm", "feed_forward.inner": "fc1", "feed_forward.outer": "fc2",
    "after_feed_forward.norm": "final_layer_norm",
}  # fmt: skip


def marian_config(act: str = "relu") -> MarianConfig:
    config = MarianConfig(
        vocab_size=50, d_model=WIDTH, encoder_layers=2, decoder_layers=2, encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS, encoder_ffn_dim=INNER, decoder_ffn_dim=INNER, activation_function=act,
        max_position_embeddings=32, scale_embedding=True, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
        forced_eos_token_id=1,
    )  # fmt: skip
    config._attn_implementation = "eager"
    return config


def added(mask: Tensor) -> Tensor:
    """As the library's eager attention wants it: 0 or far below."""
    return torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)


@pytest.mark.parametrize("act", ["relu", "gelu", "swish"])
def test_layers_are_marians(act: str) -> None:
    shape = dataclasses.replace(SHAPE, hidden_act=act)
    encoder, decoder = drawn(EncoderLayer(shape)), drawn(DecoderLayer(shape))
    theirs = marian.MarianEncoderLayer(marian_config(act)).eval()
    theirs_too = marian.MarianDecoderLayer(marian_config(act), layer_idx=0).eval()
    give(encoder, theirs, NAMES)
    give(decoder, theirs_too, NAMES)
    x, y = states(3, 7), states(3, 5)
    seen = padding_mask(REAL).expand(3, 1, 7, 7)
    torch.testing.assert_close(encoder(x, padding_mask(REAL)), theirs(x, added(seen)), **CLOSE)
    expected = theirs_too(
        y, added(causal_mask(5))[None, None], encoder_hidden_states=x, encoder_attention_mask=added(seen[:, :, :5])
    )
    torch.testing.assert_close(decoder(y, x, causal_mask(5), padding_mask(REAL)), expected, **CLOSE)


@pytest.mark.parametrize("width", [1, 2, 7, 24])
def test_positions_in_halves_are_marians(width: int) -> None:
    theirs = marian.MarianSinusoidalPositionalEmbedding(40, width)
    torch.testing.assert_close(sinusoidal_positions(40, width, "halves"), theirs.create_weight(), **CLOSE)


@pytest.mark.parametrize("width", [2, 7, 24])
def test_positions_are_the_formula_written_out(width: int) -> None:
    table = sinusoidal_positions(600, width)
    for pos in (0, 1, 5, 599):
        for column in range(width):
            angle = pos / 10000 ** ((column - column % 2) / width)
            expected = np.cos(angle) if column % 2 else np.sin(angle)
            assert abs(float(table[pos, column]) - expected) < 1e-6


def test_the_whole_is_marian() -> None:
    ours = drawn(Transformer(dataclasses.replace(SHAPE, layout="halves", fused=True)))
    theirs = marian.MarianMTModel(marian_config()).eval()
    for side in ("encoder", "decoder"):
        for mine, other in zip(getattr(ours, side).layer, getattr(theirs.model, side).layers, strict=True):
            give(mine, other, NAMES)
    with torch.no_grad():
        theirs.model.shared.weight.copy_(ours.embeddings.word_embeddings.weight)
    source = torch.randint(1, 50, (3, 7)) * REAL
    target = torch.randint(1, 50, (3, 5))
    told = theirs(input_ids=source, attention_mask=REAL, decoder_input_ids=target, use_cache=False)
    memory = ours.encode(source, REAL)
    real = REAL.bool()
    torch.testing.assert_close(memory[real], told.encoder_last_hidden_state[real], **CLOSE)
    expected = theirs.model(input_ids=source, attention_mask=REAL, decoder_input_ids=target, use_cache=False)
    torch.testing.assert_close(ours.decode(target, memory, REAL), expected.last_hidden_state, **CLOSE)
    torch.testing.assert_close(ours(source, REAL, target), told.logits, atol=1e-5, rtol=1e-5)


# --- what must hold for any weights -----------------------------------------------------------------------------------


@FUSED
def test_padding_changes_nothing(fused: bool) -> None:
    shape = dataclasses.replace(SHAPE, fused=fused)
    encoder, whole = drawn(TextEncoder(shape)), drawn(Transformer(shape))
    ids, target = torch.randint(1, 50, (1, 4)), torch.randint(1, 50, (1, 3))
    padded = torch.cat([ids, torch.randint(1, 50, (1, 3))], dim=1)  # not even the padding's number matters
    ones, mask = torch.ones_like(ids), REAL[1:2]
    alone, among = (encoder(*told).last_hidden_state[:, :4] for told in ((ids, ones), (padded, mask)))
    torch.testing.assert_close(alone, among, **CLOSE)
    alone, among = (whole(*told, target) for told in ((ids, ones), (padded, mask)))
    torch.testing.assert_close(alone, among, **CLOSE)


@FUSED
def test_the_future_is_hidden_and_the_past_is_not(fused: bool) -> None:
    whole = drawn(Transformer(dataclasses.replace(SHAPE, fused=fused)))
    source, target = torch.randint(1, 50, (1, 7)), torch.randint(1, 50, (1, 6))
    other = target.clone()
    other[0, 3] = target[0, 3] % 49 + 1
    one, two = (whole(source, torch.ones_like(source), t)[0] for t in (target, other))
    torch.testing.assert_close(one[:3], two[:3], **CLOSE)
    assert ((one[3:] - two[3:]).abs().amax(-1) > 1e-3).all()


@NORMS
@FUSED
def test_gradients_reach_every_weight(fused: bool, norm_first: bool) -> None:
    whole = Transformer(dataclasses.replace(SHAPE, fused=fused, norm_first=norm_first))
    source, target = torch.randint(1, 50, (2, 7)), torch.randint(1, 50, (2, 6))
    logits = whole(source, torch.ones_like(source), target)
    nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), target[:, 1:].flatten()).backward()
    for name, weight in whole.named_parameters():
        assert weight.grad is not None, name
        # A key's bias adds the same to all scores of a query, and softmax sees only differences.
        assert name.endswith("key.bias") or float(weight.grad.abs().max()) > 1e-8, name


def test_random_weights_give_states_of_variance_1_and_tables_are_no_weights() -> None:
    encoder = TextEncoder(Shape(vocab_size=500)).eval()
    assert len(encoder.encoder.layer) == 6
    ids = torch.randint(1, 500, (2, 30))
    rows = encoder.embeddings.word_embeddings(ids).detach() * 512**0.5
    assert 0.9 < float(rows.std()) < 1.1
    assert not [name for name in encoder.state_dict() if "position" in name]


def test_a_text_that_is_too_long_is_told(both_languages: str) -> None:
    with pytest.raises(ConfigError, match="33.*32"):
        TextEncoder(SHAPE)(torch.ones(1, 33, dtype=torch.int64))


# --- the family -------------------------------------------------------------------------------------------------------


def test_every_size_is_built_and_set_up_again_by_its_configuration() -> None:
    from luodi.models.families.transformer import SIZES
    from luodi.models.source import ScratchBase, resolve

    assert list(SIZES) == ["tiny", "mini", "small", "base"]
    for size, told in SIZES.items():
        base = resolve(f"transformer:{size}", "")
        encoder: Any = ScratchBase(name="anything", config=base.config).encoder()
        assert isinstance(encoder, TextEncoder)
        assert len(encoder.encoder.layer) == told["num_hidden_layers"]
        assert encoder.get_input_embeddings().weight.shape == (told["vocab_size"], told["hidden_size"])
        assert encoder.config.fused
    assert encoder.config == Shape(vocab_size=told["vocab_size"], fused=True)  # base: the paper's


def test_it_does_not_go_on_with_texts(both_languages: str) -> None:
    from luodi.models.source import resolve

    with pytest.raises(ConfigError, match="transformer") as raised:
        resolve("transformer:tiny", "").decoder()
    assert "llama:tiny" in str(raised.value.hint)


@NORMS
def test_frozen_layers_and_a_narrow_table_are_the_same_network(norm_first: bool, tmp_path: Path) -> None:
    from luodi.models.frozen import keep_activations, num_layers, split_encoder
    from luodi.models.narrow import narrow_table

    encoder = drawn(TextEncoder(dataclasses.replace(SHAPE, norm_first=norm_first)))
    items = [{"input_ids": np.arange(2, 2 + size)} for size in (7, 4)]
    mask = REAL[:2]
    ids = torch.from_numpy(np.stack([np.resize(item["input_ids"], 7) for item in items]))
    expected = encoder(ids, mask).last_hidden_state
    narrowed = narrow_table(encoder, items)
    assert narrowed is not None
    assert encoder.get_input_embeddings().num_embeddings < 20
    fewer = torch.from_numpy(np.stack([np.resize(item["input_ids"], 7) for item in narrowed.items(items)]))
    torch.testing.assert_close(encoder(fewer, mask).last_hidden_state, expected, **CLOSE)
    narrowed.restore()
    assert num_layers(encoder) == 2
    split = split_encoder(encoder, 1)
    assert split is not None

    def collate(some: Any) -> dict[str, Any]:
        longest = max(len(item["input_ids"]) for item in some)
        ids = np.stack([np.resize(item["input_ids"], longest) for item in some])
        return {"input_ids": ids, "attention_mask": REAL[: len(some), :longest].numpy()}

    kept = keep_activations(split, items[:1], collate, tmp_path / "a.f16", "cpu")
    hidden = torch.from_numpy(np.array(kept[0]["input_ids"]))[None]
    again = split.upper(hidden, torch.ones(1, 7)).last_hidden_state
    torch.testing.assert_close(again, expected[:1], atol=0.02, rtol=0.0)
