"""An encoder whose answer is one vector for the whole input."""

from __future__ import annotations

from torch import Tensor, nn


class Pooled(nn.Module):
    """Mean of the last layer over real positions, as E5 was trained (Wang et al. 2022, arXiv:2212.03533)."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """input_ids, attention_mask: B x T whole numbers. Gives vectors: B x width."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)  # B x T x 1
        return {"vectors": (hidden * mask).sum(1) / mask.sum(1)}
