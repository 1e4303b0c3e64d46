"""The Transformer in plain PyTorch: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762.

To be read from top to bottom: each part uses only what stands above it. Numbers of sections are the paper's.

In shapes B is the batch, T the positions of a sequence (S those of a second one that is looked at), d the width, h the
heads, V the vocabulary. In masks True means: may be looked at. Tests hold every part to `torch.nn` and to the Marian
layers of `transformers` within 1e-5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from luodi.errors import ConfigError
from luodi.messages import tr

Layout = Literal["interleaved", "halves"]
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,  # max(0, x), the paper's
    "gelu": functional.gelu,  # x * P(X <= x), X normal: Hendrycks & Gimpel 2016, arXiv:1606.08415
    "swish": functional.silu,  # x / (1 + exp(-x)): Ramachandran et al. 2017, arXiv:1710.05941
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Sizes of a Transformer; as they stand, those of the paper's base model. Names are the library's."""

    vocab_size: int
    hidden_size: int = 512
    """d, in the paper d_model."""
    num_hidden_layers: int = 6
    """N; an encoder-decoder has as many on each side."""
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    """Width between the two layers of a feed-forward network, in the paper d_ff."""
    hidden_act: str = "relu"
    max_position_embeddings: int = 512
    """The formula gives positions for any length; a table of so many is made once."""
    dropout: float = 0.1
    layout: Layout = "interleaved"
    norm_first: bool = False
    """Normalise what goes into a sub-layer, not what comes out: see Residual."""
    fused: bool = False
    """Attention by torch's one kernel: the same formula, faster."""


# --- attention: section 3.2 -------------------------------------------------------------------------------------------


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Section 3.2.1, formula 1:

        Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V

    Each query takes a mean of the values, weighted by how well their keys fit it. Products of d_k numbers of mean 0 and
    variance 1 have variance d_k: the root brings them back to 1, where softmax still has a slope.

    q: ... x T x d_k, k: ... x S x d_k, v: ... x S x d_v; mask: what can be stretched to ... x T x S. Gives
    ... x T x d_v. Every query must have a key that it may look at: a softmax over nothing is no number.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # ... x T x S
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)  # exp(-inf) = 0: no weight at all
    return scores.softmax(dim=-1) @ v


def fused_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """`scaled_dot_product_attention` without ever holding all T x S scores (Dao et al. 2022, arXiv:2205.14135)."""
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def padding_mask(attention_mask: Tensor) -> Tensor:
    """B x S, not 0 where a real position is, to B x 1 x 1 x S: no head looks at padding from anywhere."""
    return attention_mask.bool()[:, None, None, :]


def causal_mask(length: int, device: torch.device | None = None) -> Tensor:
    """T x T: position t looks at positions 0 to t, so that a decoder cannot read what it has to write."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


class MultiHeadAttention(nn.Module):
    """Section 3.2.2:

        MultiHead(Q, K, V) = Concat(head_1, ..., head_h) W^O
        head_i = Attention(Q W_i^Q, K W_i^K, V W_i^V)

    A single mean would blur what one position wants of several others; h smaller ones cost the same. The h matrices
    W_i^Q (d x d/h) stand side by side in one (d x d), those for K and V too. Biases, which the formula does
    not have, are there as in `torch.nn` and Marian.
    """

    def __init__(self, width: int, heads: int, *, fused: bool = False) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.heads = heads
        self.query, self.key, self.value, self.output = (_linear(width, width) for _ in range(4))
        self.attend = fused_attention if fused else scaled_dot_product_attention

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """queries: B x T x d; keys, values: B x S x d; mask: what can be stretched to B x h x T x S. Gives B x T x d.

        Self attention: all three are one sequence. Cross attention: queries of the target, the rest of the source.
        """
        q, k, v = self._apart(self.query(queries)), self._apart(self.key(keys)), self._apart(self.value(values))
        heads = self.attend(q, k, v, mask)  # B x h x T x d/h
        joined: Tensor = self.output(heads.transpose(1, 2).flatten(2))
        return joined

    def _apart(self, states: Tensor) -> Tensor:
        """B x T x d to B x h x T x d/h."""
        return states.view(states.shape[0], states.shape[1], self.heads, -1).transpose(1, 2)


# --- the other parts: sections 3.1, 3.3 to 3.5 ------------------------------------------------------------------------


class FeedForward(nn.Module):
    """Section 3.3, formula 2, the same network at every position (max(0, x) may be another activation):

        FFN(x) = max(0, x W_1 + b_1) W_2 + b_2
    """

    def __init__(self, width: int, inner: int, activation: str = "relu") -> None:
        super().__init__()
        self.inner, self.outer = _linear(width, inner), _linear(inner, width)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """... x d to ... x d."""
        answer: Tensor = self.outer(self.activation(self.inner(x)))
        return answer


class Residual(nn.Module):
    """Sections 3.1 and 5.4, around every sub-layer:

        post-norm (the paper's):  LayerNorm(x + Dropout(Sublayer(x)))
        pre-norm (norm_first):    x + Dropout(Sublayer(LayerNorm(x)))

    Deep stacks of the second kind learn without a long warmup (Xiong et al. 2020, arXiv:2002.04745).
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(shape.hidden_size), nn.Dropout(shape.dropout)
        self.norm_first = shape.norm_first

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """... x d to ... x d."""
        if self.norm_first:
            added: Tensor = self.dropout(sublayer(self.norm(x)))
            return x + added
        normal: Tensor = self.norm(x + self.dropout(sublayer(x)))
        return normal


def sinusoidal_positions(length: int, width: int, layout: Layout = "interleaved") -> Tensor:
    """Section 3.5, length x width; pos counts positions, i pairs of columns:

        PE(pos, 2i)   = sin(pos / 10000^(2i / d))
        PE(pos, 2i+1) = cos(pos / 10000^(2i / d))

    Attention by itself does not know of any order. Each pair is the hand of a clock, the first turns once in 6
    positions, the last in 60,000; a step of k positions turns every hand by an angle that depends on k alone.
    `halves` has all sines first, then all cosines, as Marian has them: the same columns in another order.
    """
    pairs = torch.arange(0, width, 2, dtype=torch.float64)  # 2i
    angles = torch.arange(length, dtype=torch.float64)[:, None] / 10000 ** (pairs / width)
    sines, cosines = angles.sin(), angles.cos()[:, : width // 2]  # an odd width ends with a sine
    table = torch.cat([sines, cosines], dim=1)
    if layout == "interleaved":
        table[:, 0::2], table[:, 1::2] = sines, cosines
    return table.float()


class Embeddings(nn.Module):
    """Sections 3.4 and 3.5: Dropout(sqrt(d) * E[token] + PE[position])."""

    positions: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(shape.vocab_size, shape.hidden_size, padding_idx=0)
        nn.init.normal_(self.word_embeddings.weight, std=shape.hidden_size**-0.5)  # so that sqrt(d) * E has variance 1
        table = sinusoidal_positions(shape.max_position_embeddings, shape.hidden_size, shape.layout)
        self.register_buffer("positions", table, persistent=False)  # a formula, not a weight
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, input_ids: Tensor | None = None, inputs_embeds: Tensor | None = None) -> Tensor:
        """input_ids: B x T; or inputs_embeds in place of their rows of E, B x T x d. Gives B x T x d. Raises
        ConfigError where T is longer than the table of positions."""
        rows = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        length, most = rows.shape[1], len(self.positions)
        if length > most:
            message = tr("A text of {length} tokens is longer than the {most} that this network reads.")
            hint = tr("Set train.max_length to {most} or less.").format(most=most)
            raise ConfigError(message.format(length=length, most=most), code="config.max_length", hint=hint)
        x: Tensor = self.dropout(rows * math.sqrt(rows.shape[-1]) + self.positions[:length])
        return x


# --- encoder and decoder: section 3.1, figure 1 -----------------------------------------------------------------------


class EncoderLayer(nn.Module):
    """Figure 1, left:

        x = Residual(x, MultiHead(x, x, x))
        x = Residual(x, FFN(x))
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(shape.hidden_size, shape.num_attention_heads, fused=shape.fused)
        self.feed_forward = FeedForward(shape.hidden_size, shape.intermediate_size, shape.hidden_act)
        self.after_attention, self.after_feed_forward = Residual(shape), Residual(shape)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x: B x T x d; mask: what can be stretched to B x h x T x T. Gives B x T x d."""
        x = self.after_attention(x, lambda x: self.attention(x, x, x, mask))
        last: Tensor = self.after_feed_forward(x, self.feed_forward)
        return last


class DecoderLayer(nn.Module):
    """Figure 1, right; the mask of the first line hides the future:

        x = Residual(x, MultiHead(x, x, x))
        x = Residual(x, MultiHead(x, memory, memory))
        x = Residual(x, FFN(x))
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, heads = shape.hidden_size, shape.num_attention_heads
        self.attention = MultiHeadAttention(width, heads, fused=shape.fused)
        self.cross_attention = MultiHeadAttention(width, heads, fused=shape.fused)
        self.feed_forward = FeedForward(width, shape.intermediate_size, shape.hidden_act)
        self.after_attention, self.after_cross_attention = Residual(shape), Residual(shape)
        self.after_feed_forward = Residual(shape)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor, memory_mask: Tensor | None = None) -> Tensor:
        """x: B x T x d; memory, what the encoder gave: B x S x d; masks: what can be stretched to B x h x T x T and to
        B x h x T x S. Gives B x T x d."""
        x = self.after_attention(x, lambda x: self.attention(x, x, x, mask))
        x = self.after_cross_attention(x, lambda x: self.cross_attention(x, memory, memory, memory_mask))
        last: Tensor = self.after_feed_forward(x, self.feed_forward)
        return last


class Encoder(nn.Module):
    """N layers, one after the other."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.layer = nn.ModuleList(EncoderLayer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = _last_norm(shape)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x: B x T x d; mask: what can be stretched to B x h x T x T. Gives B x T x d."""
        for layer in self.layer:
            x = layer(x, mask)
        last: Tensor = self.norm(x)
        return last


class Decoder(nn.Module):
    """N layers, one after the other, each of which looks at the same memory."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.layer = nn.ModuleList(DecoderLayer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = _last_norm(shape)

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor | None = None) -> Tensor:
        """x: B x T x d; memory: B x S x d; memory_mask: what can be stretched to B x h x T x S. Gives B x T x d."""
        mask = causal_mask(x.shape[1], x.device)
        for layer in self.layer:
            x = layer(x, memory, mask, memory_mask)
        last: Tensor = self.norm(x)
        return last


class Transformer(nn.Module):
    """The whole of figure 1. One table serves source, target and, turned round, the logits (section 3.4)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embeddings, self.encoder, self.decoder = Embeddings(shape), Encoder(shape), Decoder(shape)

    def encode(self, source: Tensor, source_mask: Tensor) -> Tensor:
        """source, source_mask: B x S whole numbers, the mask 1 where a real token is. Gives memory: B x S x d."""
        memory: Tensor = self.encoder(self.embeddings(source), padding_mask(source_mask))
        return memory

    def decode(self, target: Tensor, memory: Tensor, source_mask: Tensor) -> Tensor:
        """target: B x T whole numbers, padded on the right. Gives states: B x T x d."""
        states: Tensor = self.decoder(self.embeddings(target), memory, padding_mask(source_mask))
        return states

    def forward(self, source: Tensor, source_mask: Tensor, target: Tensor) -> Tensor:
        """Logits of the token that follows each of the target's: B x T x V."""
        states = self.decode(target, self.encode(source, source_mask), source_mask)
        return states @ self.embeddings.word_embeddings.weight.T


# --- the encoder alone, as the heads of the tasks call it -------------------------------------------------------------


class States(NamedTuple):
    last_hidden_state: Tensor
    """B x T x d."""


class TextEncoder(nn.Module):
    """Tokens to the states of the last layer. Parts and arguments are called what the library calls those of BERT, so
    that what works with BERT (frozen layers, narrow tables) works with it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.config = shape
        self.embeddings, self.encoder = Embeddings(shape), Encoder(shape)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, table: nn.Embedding) -> None:
        self.embeddings.word_embeddings = table

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, inputs_embeds: Tensor | None = None
    ) -> States:
        """input_ids, or rows in their place (B x T x d); attention_mask: B x T, 1 where a real token is."""
        mask = None if attention_mask is None else padding_mask(attention_mask)
        return States(self.encoder(self.embeddings(input_ids=input_ids, inputs_embeds=inputs_embeds), mask))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """Weights that leave the variance of what goes through about as it is (Glorot & Bengio 2010), biases 0."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _last_norm(shape: Shape) -> nn.Module:
    """Post-norm layers end normalised; what pre-norm layers add up to is normalised once, at the end."""
    return nn.LayerNorm(shape.hidden_size) if shape.norm_first else nn.Identity()
