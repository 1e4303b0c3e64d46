"""Encoders with a linear head: one answer for the whole input."""

from __future__ import annotations

from torch import Tensor, nn

POOLED = "pooled"
"""Key of an output: the vector of an input that its answer is read from. Networks show it as long as they learn, for
losses that compare inputs with each other; engines and exports see the logits alone."""


class EncoderHead(nn.Module):
    """Mean of the last layer over real positions, dropout, one linear layer.

    The mean, not the first position: encoders made for sentence vectors (E5, Wang et al. 2022) were trained
    so, and for BERT it is as good.
    """

    def __init__(self, encoder: nn.Module, *, num_labels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        width: int = encoder.config.hidden_size  # type: ignore[union-attr,assignment]
        self.head = nn.Linear(width, num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """input_ids, attention_mask: B x T whole numbers. Gives logits: B x labels."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)  # B x T x 1
        return _answer(self, (hidden * mask).sum(1) / mask.sum(1))


class PictureHead(nn.Module):
    """Mean of the last layer over all positions, dropout, one linear layer.

    The mean, not the class token: as good (Beyer et al. 2022, arXiv:2205.01580, found it better at small sizes), and
    networks without such a token have a mean too.
    """

    def __init__(self, encoder: nn.Module, *, num_labels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        width: int = encoder.config.hidden_size  # type: ignore[union-attr,assignment]
        self.head = nn.Linear(width, num_labels)

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """pixel_values: B x C x H x W, brought to mean 0 and spread 1. Gives logits: B x labels."""
        hidden = self.encoder(pixel_values=pixel_values).last_hidden_state  # B x T x width
        return _answer(self, hidden.mean(1))


def _answer(model: EncoderHead | PictureHead, pooled: Tensor) -> dict[str, Tensor]:
    """pooled: B x width."""
    logits = model.head(model.dropout(pooled))
    return {"logits": logits, POOLED: pooled} if model.training else {"logits": logits}
