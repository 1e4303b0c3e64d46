"""An encoder that says what stands in the holes of a text."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class MaskedLM(nn.Module):
    """BERT's head (Devlin et al. 2019, in the form of its published code): one more layer, then a score for each piece
    of the vocabulary by the very table that pieces are read with (Press and Wolf 2017, arXiv:1608.05859).

    Scores are computed at the holes alone: at every place they would cost more than all layers of a small network.
    """

    answers_in_tokens = True
    """The table of tokens is read whole for every answer, so no part of it may be left out or taken away."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        count, width = self._table().shape
        self.head = _Head(width, count)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, holes: Tensor) -> dict[str, Tensor]:
        """input_ids, attention_mask: B x T; holes: B x K places in them. Gives logits: B x K x vocabulary."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        places = holes.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
        return {"logits": self.head(hidden.gather(1, places), self._table())}

    def _table(self) -> Tensor:
        encoder: Any = self.encoder
        table: Tensor = encoder.get_input_embeddings().weight
        return table


class _Head(nn.Module):
    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.bias = nn.Parameter(self.dense.bias.new_zeros(count))

    def forward(self, hidden: Tensor, table: Tensor) -> Tensor:
        """... x width and vocabulary x width to ... x vocabulary."""
        return functional.linear(self.norm(functional.gelu(self.dense(hidden))), table, self.bias)
