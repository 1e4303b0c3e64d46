"""Pictures to what vision networks read, in numpy: one size, one number of channels, mean 0 and spread 1.

The file is Hugging Face's own preprocessor_config.json, so that the same class serves a network trained here and one
that came with its weights. Neither torch nor torchvision.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luodi.backends.pillow import BILINEAR, Resample, resized
from luodi.core.store import write_atomically
from luodi.core.types import Array, Item
from luodi.errors import ConfigError
from luodi.messages import tr

FILE = "preprocessor_config.json"
PIXELS = "pixel_values"
MOST_FITTED = 1000
"""Pictures that sizes, means and spreads are taken from."""
SMALLEST_SPREAD = 1 / 255


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelProcessor:
    size: int
    """Of both sides of what the network reads."""
    mean: tuple[float, ...]
    """Of each channel, where black is 0 and white is 1. One channel: pictures are read as grey."""
    std: tuple[float, ...]
    shortest: int | None = None
    """Bring the shorter side to so many pixels and cut the middle out. None: bring both sides to `size`."""
    resample: Resample = BILINEAR

    def encode(self, parts: Sequence[Any]) -> list[Item]:
        """{"pixel_values": size x size x channels} of each picture (anything with `pixels()`)."""
        return [{PIXELS: self._numbers(part.pixels())} for part in parts]

    @property
    def network(self) -> Mapping[str, Any]:
        return {"image_size": self.size, "num_channels": len(self.mean), "patch_size": patch_of(self.size)}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        sides = {"height": self.size, "width": self.size}
        told: dict[str, Any] = {
            "do_resize": True, "size": {"shortest_edge": self.shortest} if self.shortest else sides,
            "resample": self.resample, "do_center_crop": bool(self.shortest), "crop_size": sides, "do_rescale": True,
            "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": self.mean, "image_std": self.std,
        }  # fmt: skip
        write_atomically(folder / FILE, json.dumps(told, indent=1))

    def _numbers(self, pixels: Array) -> Array:
        fitted = self._cut(as_channels(pixels, len(self.mean)))
        mean, std = (np.array(v, np.float32) for v in (self.mean, self.std))
        return np.asarray((fitted.astype(np.float32) / np.float32(255) - mean) / std)

    def _cut(self, pixels: Array) -> Array:
        if self.shortest is None:
            return resized(pixels, self.size, self.size, self.resample)
        height, width = pixels.shape[:2]
        short, long = sorted((height, width))
        longer = int(self.shortest * long / short)
        high, wide = (self.shortest, longer) if height <= width else (longer, self.shortest)
        whole = resized(pixels, wide, high, self.resample)
        top, left = (high - self.size) // 2, (wide - self.size) // 2
        return whole[top : top + self.size, left : left + self.size]


def as_channels(pixels: Array, channels: int) -> Array:
    """Grey as three equal channels, or colours as their light (ITU-R BT.601)."""
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    light = np.rint(pixels @ np.array([0.299, 0.587, 0.114]))
    return np.asarray(light[..., None].astype(pixels.dtype))


def fit_processor(pictures: Iterable[Any], *, most: int) -> PixelProcessor:
    """For a network that starts from random weights. The size is that of the usual picture, at most `most`, in whole
    patches; grey where every picture is."""
    listed = list(pictures)
    listed = listed[:: -(-len(listed) // MOST_FITTED)]  # evenly: files are often sorted by answer
    sides = [max(picture.pixels().shape[:2]) for picture in listed]
    channels = 3 if any(_is_coloured(picture.pixels()) for picture in listed) else 1
    size = _whole_patches(min(int(np.median(sides)), most))
    sums, squares = np.zeros(channels), np.zeros(channels)
    for picture in listed:
        values = resized(as_channels(picture.pixels(), channels), size, size) / 255.0
        sums, squares = sums + values.mean((0, 1)), squares + (values**2).mean((0, 1))
    mean = sums / len(listed)
    std = np.maximum(np.sqrt(np.maximum(squares / len(listed) - mean**2, 0)), SMALLEST_SPREAD)
    return PixelProcessor(size=size, mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def patch_of(size: int) -> int:
    """Side of the squares that become positions: about the root of the picture's, as 16 is of 224 in the paper."""
    return int(2 ** np.floor(np.log2(np.sqrt(1.2 * size))))


def _whole_patches(size: int) -> int:
    """Rounded up, at least 8."""
    multiple = 4 if size <= 12 else 8
    return max(-(-size // multiple) * multiple, 8)


def open_processor(folder: Path) -> PixelProcessor:
    return read_processor(folder / FILE)


def read_processor(path: Path) -> PixelProcessor:
    """From a preprocessor_config.json. ConfigError where it asks for what is not done here."""
    told = json.loads(path.read_text(encoding="utf-8"))
    size = told.get("size", 224)
    sides = size if isinstance(size, Mapping) else {"height": size, "width": size}
    shortest = sides.get("shortest_edge")
    crop = told.get("crop_size", shortest)
    cut = (crop if isinstance(crop, Mapping) else {"height": crop, "width": crop}) if shortest else sides
    is_plain = cut.get("height") and cut["height"] == cut.get("width") and told.get("do_resize", True)
    is_scaled = told.get("do_rescale", True) and abs(told.get("rescale_factor", 1 / 255) * 255 - 1) < 1e-6
    if not is_plain or not is_scaled or (shortest and not told.get("do_center_crop", True)):
        message = tr("{file} asks for a way of reading pictures that is not known here.").format(file=FILE)
        raise ConfigError(message, code="model.processor")
    mean, std = told.get("image_mean", [0.5] * 3), told.get("image_std", [0.5] * 3)
    if not told.get("do_normalize", True):
        mean, std = [0.0] * len(mean), [1.0] * len(std)
    return PixelProcessor(
        size=int(cut["height"]), mean=tuple(map(float, mean)), std=tuple(map(float, std)),
        shortest=int(shortest) if shortest else None, resample=told.get("resample", BILINEAR),
    )  # fmt: skip


def _is_coloured(pixels: Array) -> bool:
    """Not three equal channels, as grey pictures are often saved; a JPEG's may differ by a step."""
    if pixels.shape[-1] == 1:
        return False
    plain = pixels.astype(np.int16)
    return bool((plain.max(-1) - plain.min(-1)).mean() > 2)
