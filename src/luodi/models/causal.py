"""A causal language model whose memory of what it has read (the KV cache) goes in and out as one plain array.

So engines stay functions of arrays: `run(batch) -> arrays`, without state, and an exported graph has the cache as an
input like any other. One position of the cache is layers x (keys, values) x heads x width of a head, laid flat.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from luodi.backends.transformers import cache_of, cache_shape


class CausalLM(nn.Module):
    """What `transformers` calls a model for causal language modelling, at any size."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder
        self.remembers = True
        """False: training reads no cache, and none is made."""

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, past: Tensor | None = None, past_mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """input_ids, attention_mask: B x T; past: B x P x width, past_mask: B x P; masks are 1 where a real token is.

        Gives logits, B x T x vocabulary, and present, B x T x width: the cache of these T positions alone. Positions
        are counted by the masks, so that padding may stand anywhere.
        """
        mask = attention_mask if past_mask is None else torch.cat([past_mask, attention_mask], dim=1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, mask.shape[1] - input_ids.shape[1] :]
        if self.training and not self.remembers:
            told = self.decoder(input_ids=input_ids, attention_mask=mask, position_ids=positions, use_cache=False)
            return {"logits": told.logits}
        layers = cache_shape(self.decoder.config)
        told = self.decoder(
            input_ids=input_ids, attention_mask=mask, position_ids=positions, use_cache=True,
            past_key_values=cache_of(_layers(past, layers), self.decoder.config),
        )  # fmt: skip
        return {"logits": told.logits, "present": _flat(told.past_key_values, input_ids.shape[1])}


def _layers(past: Tensor | None, shape: tuple[int, int, int]) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of each layer, B x heads x P x width of a head: views of the one array."""
    if past is None:
        return []
    count, heads, width = shape
    apart = past.view(past.shape[0], past.shape[1], count, 2, heads, width)
    return [(apart[:, :, i, 0].transpose(1, 2), apart[:, :, i, 1].transpose(1, 2)) for i in range(count)]


def _flat(cache: Any, last: int) -> Tensor:
    """The last positions of all layers, B x last x width."""
    parts = [
        part[:, :, part.shape[2] - last :].transpose(1, 2).flatten(2)
        for layer in cache.layers
        for part in (layer.keys, layer.values)
    ]
    return torch.cat(parts, dim=-1)
