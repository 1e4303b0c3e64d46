"""An encoder with a linear layer over each position."""

from __future__ import annotations

from torch import Tensor, nn


class TokenHead(nn.Module):
    def __init__(self, encoder: nn.Module, *, num_tags: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        width: int = encoder.config.hidden_size  # type: ignore[union-attr,assignment]
        self.head = nn.Linear(width, num_tags)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """input_ids, attention_mask: B x T whole numbers. Gives logits: B x T x tags."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return {"logits": self.head(self.dropout(hidden))}
