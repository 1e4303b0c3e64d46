"""Convolutions in the place of a vision Transformer's patch cutter (ViT_C: Xiao et al. 2021, arXiv:2106.14881)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from luodi.backends.transformers import build_encoder

STEM = "stem"
"""Key of a network's configuration: begin with convolutions."""


class Stem(nn.Sequential):
    """3 x 3 convolutions, each halving the sides but the first, then one of 1 x 1: B x C x H x W to B x width x h x w.

    Widths double up to the Transformer's own, as in the paper. What an edge is lies in their very form; patches would
    have to learn it, for which some thousands of pictures do not suffice.
    """

    def __init__(self, channels: int, width: int, shrink: int) -> None:
        count = shrink.bit_length()
        widths = [max(8, width >> (count - 1 - i)) for i in range(count)]
        layers: list[nn.Module] = []
        for place, (before, after) in enumerate(zip([channels, *widths], widths, strict=False)):
            convolution = nn.Conv2d(before, after, 3, stride=2 if place else 1, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(widths[-1], width, 1))

    @property
    def weight(self) -> Tensor:
        """What the library asks for its type."""
        last: Any = self[-1]
        weight: Tensor = last.weight
        return weight


def build_with_stem(config: Mapping[str, Any]) -> nn.Module:
    """The encoder that `config` describes, with a stem. Positions lie 8 pixels apart where the picture has room: fewer
    than without, since convolutions have looked around already."""
    patch = 8 if config["image_size"] >= 24 else config["patch_size"]
    told = {key: value for key, value in config.items() if key != STEM}
    encoder = build_encoder({**told, "patch_size": patch})
    cutter: Any = encoder.embeddings.patch_embeddings  # type: ignore[union-attr]
    cutter.projection = Stem(config["num_channels"], config["hidden_size"], patch)
    return encoder
