"""A picture is its encoded file, as it came; one of more than 512 x 512 pixels is made smaller when it is read.

No network here reads more, and what trains, serves and is sealed as a golden input must be one and the same picture.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from luodi.backends.pillow import MOST_BYTES, SUFFIXES, kept_small, read_pixels, resized, write_jpeg, write_png
from luodi.core.modality import Modality, Predictor
from luodi.core.types import Array, Floats
from luodi.errors import DataError
from luodi.messages import tr

KEPT_PIXELS = 512 * 512
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in JPEG
_KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"BM": "bmp", b"RIFF": "webp"}
_GRID = 4  # tiles a side that can be hidden
_THUMBNAIL = 96
_FOR, _AGAINST = np.array([0.0, 114.0, 178.0]), np.array([217.0, 130.0, 0.0])
_MOST_TINT = 0.75  # of the colour, so that the picture is still seen through it
MOST_MIRRORED, LEAST_MIRRORED = 1000, 100  # pictures that are looked at in the mirror
# Near copies. Of 5,000 photographs, those saved again as JPEG (quality 75: all, 50: 95 %), made a quarter smaller
# (99 %), larger (all) or brighter (99 %) are found; of their 12.5 million pairs of different pictures none is taken for
# copies, and of the 1.6 million pairs of 1,797 written digits 15, all of one digit and hardly to be told apart.
_TILES, _STEP = 16, 0.6
_COLOUR_TILES, _COLOUR_STEP = 6, 24.0


@dataclass(frozen=True, slots=True)
class Picture:
    data: bytes
    """The encoded file: PNG, JPEG, GIF, BMP, WebP or TIFF."""

    def pixels(self) -> Array:
        """H x W x C from 0 to 255; C is 1 for grey, else 3."""
        return read_pixels(self.data)


class Image(Modality[Picture]):
    suffixes = SUFFIXES
    longest_wire: ClassVar[int] = 16_000_000  # characters: a photograph of a telephone, in base64

    def decode(self, wire: Any) -> Picture:
        """From a data URL, base64 alone, or a list of k*k (or 3*k*k) brightnesses. Never from a path or an address."""
        if isinstance(wire, (list, tuple)):
            return Picture(write_png(_square(wire)))
        if not isinstance(wire, str):
            message = tr("A picture must be a data URL, not {kind}.").format(kind=type(wire).__name__)
            raise DataError(message, code="data.picture")
        return _small(_bytes_of(wire))

    def load(self, cell: Any, folder: Path) -> Picture:
        """A cell of the user's own table may also name a file in its folder."""
        names_file = isinstance(cell, str) and cell.lower().strip().endswith(SUFFIXES)
        if not names_file or cell.lstrip().startswith("data:"):
            return self.decode(cell)
        return _small(_file(cell.strip(), folder))

    def encode(self, value: Picture) -> str:
        kind = next((k for mark, k in _KINDS.items() if value.data.startswith(mark)), "tiff")
        return f"data:image/{kind};base64,{base64.b64encode(value.data).decode()}"

    def caption(self, value: Picture) -> str:
        height, width, _ = value.pixels().shape
        return tr("picture {width} x {height}").format(width=width, height=height)

    def thumbnail(self, value: Picture) -> str:
        """A data URL of a few kilobytes. Small pictures are drawn larger, dim ones with full contrast."""
        pixels = value.pixels().astype(np.float64)
        height, width, channels = pixels.shape
        times = _THUMBNAIL / max(height, width)
        whole = max(1, int(times))
        size = (width * whole, height * whole) if times > 1 else (int(width * times) or 1, int(height * times) or 1)
        if pixels.max() < 64:
            pixels *= 255 / max(pixels.max(), 1)
        small = resized(np.rint(pixels).astype(np.uint8), size[0], size[1], 0 if times > 1 else 2)
        is_drawing = channels == 1 or times > 4
        return self.encode(Picture(write_png(small) if is_drawing else write_jpeg(small, 80)))

    def schema(self) -> Mapping[str, Any]:
        """Brightnesses are taken too, as tables of pixels have them; what is sent back is always a string."""
        return {
            "type": ["string", "array"], "minLength": 1, "contentEncoding": "base64", "contentMediaType": "image/*",
            "items": {"type": "integer", "minimum": 0, "maximum": 255},
        }  # fmt: skip

    def fingerprint(self, value: Picture) -> str:
        pixels = value.pixels()
        return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()

    def feature_names(self) -> tuple[str, ...]:
        return ("brightness", "contrast", "colourfulness", "sharpness", "aspect", "megapixels")

    def features(self, value: Picture) -> Floats:
        """The first four over 255. Colourfulness: Hasler and Süsstrunk 2003; sharpness: mean step to a neighbour."""
        pixels = value.pixels().astype(np.float64)
        height, width, channels = pixels.shape
        grey = _grey(pixels)
        steps = [np.abs(np.diff(grey, axis=axis)).mean() if grey.shape[axis] > 1 else 0.0 for axis in (0, 1)]
        colour = _colourfulness(pixels) if channels == 3 else 0.0
        plain = np.array([grey.mean(), grey.std(), colour, sum(steps) / 2]) / 255
        return np.append(plain, [width / height, height * width / 1e6])

    def regions(self, value: Picture) -> Sequence[str]:
        return [tr("row {row}, column {column}").format(row=r + 1, column=c + 1) for r, c, _ in _tiles(value.pixels())]

    def hide(self, value: Picture, regions: Sequence[int]) -> Picture:
        """With these tiles in the picture's mean colour."""
        pixels = value.pixels()
        if not len(regions):
            return value
        neutral, shown, found = _mean(pixels), pixels.copy(), _tiles(pixels)
        for place in regions:
            shown[found[place][2]] = neutral
        return Picture(write_png(shown))

    def heat(self, value: Picture, weights: Sequence[float]) -> str:
        """Grey, with blue over what speaks for an answer and orange over what speaks against it: people who see red and
        green alike can tell these two."""
        pixels = value.pixels()
        told = np.repeat(_grey(pixels)[..., None], 3, axis=2).astype(np.float64)
        told *= 255 / max(told.max(), 1)
        for (_, _, place), weight in zip(_tiles(pixels), weights, strict=True):
            share = _MOST_TINT * min(abs(weight), 1.0)
            told[place] = (1 - share) * told[place] + share * (_FOR if weight > 0 else _AGAINST)
        times = max(1, round(2 * _THUMBNAIL / max(pixels.shape[:2])))
        height, width = (n * times for n in pixels.shape[:2])
        return self.encode(Picture(write_png(resized(np.rint(told).astype(np.uint8), width, height, 0))))

    def perturb(self, value: Picture, rng: np.random.Generator) -> Picture:
        """One pixel to a side, a little more or less light, or the faint noise of a sensor."""
        pixels = value.pixels()
        choice = rng.integers(3)
        if choice == 0:
            axis, by = int(rng.integers(2)), int(rng.choice([-1, 1]))
            places = np.clip(np.arange(pixels.shape[axis]) + by, 0, pixels.shape[axis] - 1)
            return Picture(write_png(np.take(pixels, places, axis=axis)))
        spread = max(float(pixels.max()), 1.0)  # of digits from 0 to 16, light and noise are as faint as they are
        change = rng.choice([-0.05, 0.05]) if choice == 1 else rng.normal(0.0, 0.02, pixels.shape)
        return Picture(write_png(np.clip(np.rint(pixels + change * spread), 0, 255).astype(np.uint8)))

    def pieces(self, value: Picture) -> Array:
        """Light of 16 x 16 tiles against the picture's own mean and spread, and colour of 6 x 6 where there is any."""
        pixels = value.pixels().astype(np.float32)
        grey = _grey(pixels).astype(np.float32)
        light = resized(grey[..., None], _TILES, _TILES)[..., 0]
        light = (light - light.mean()) / max(float(light.std()), 1.0)
        found = [(0, place, step) for place, step in enumerate(np.rint(light / _STEP).ravel().tolist())]
        if pixels.shape[-1] == 3:
            tint = resized(pixels[..., ::2] - grey[..., None], _COLOUR_TILES, _COLOUR_TILES)
            steps = np.rint(tint / _COLOUR_STEP).ravel().tolist()
            found += [(1, place, step) for place, step in enumerate(steps) if step]
        hashes = {(kind << 20) + (place << 10) + int(step) + 512 for kind, place, step in found}
        return np.fromiter(sorted(hashes), np.uint32, len(hashes)) * np.uint32(0x9E3779B1)

    def slices(self, value: Picture) -> Mapping[str, str]:
        pixels = value.pixels()
        height, width, channels = pixels.shape
        light, ratio = _grey(pixels).mean(), width / height
        is_grey = channels == 1 or _colourfulness(pixels.astype(np.float64)) < 4
        return {
            "size": "tiny" if max(height, width) < 64 else "small" if max(height, width) < 256 else "large",
            "light": "dark" if light < 64 else "bright" if light > 192 else "even",
            "colour": "grey" if is_grey else "coloured",
            "shape": "wide" if ratio > 1.2 else "tall" if ratio < 1 / 1.2 else "square",
        }

    def baseline(
        self, inputs: Sequence[Picture], targets: Sequence[str], *, seed: int
    ) -> tuple[str, Predictor[Picture]]:
        """Histograms of gradients and colours, logistic regression."""
        from luodi.backends.sklearn import fit_numbers

        return "hog", fit_numbers(histograms, inputs, targets, seed=seed)


def have_mirrors(pictures: Sequence[Picture], targets: Sequence[str]) -> bool:
    """Whether a picture and its mirror image have one answer, as the simple model sees it: fitted to half of them, it
    knows the others as well when they are mirrored. Of photographs of things it does, of letters it does not."""
    order = sorted(range(len(pictures)), key=lambda i: hashlib.sha256(pictures[i].data).digest())[:MOST_MIRRORED]
    if len(order) < LEAST_MIRRORED:
        return False
    from luodi.backends.sklearn import fit_numbers

    seen, held = order[::2], order[1::2]
    told = histograms([pictures[i] for i in order])
    other = histograms([pictures[i] for i in held], mirrored=True)
    predict = fit_numbers(np.stack, list(told[::2]), [targets[i] for i in seen], seed=0)
    truth = [targets[i] for i in held]
    right, turned = (
        sum(p.value == t for p, t in zip(predict(list(rows)), truth, strict=True)) for rows in (told[1::2], other)
    )
    commonest = max(truth.count(t) for t in set(truth))
    return bool(right > 1.2 * commonest and turned >= 0.9 * right)


def histograms(pictures: Sequence[Picture], *, mirrored: bool = False) -> Floats:
    """n x 484: what edges run which way where (HOG, Dalal and Triggs 2005), and which colours there are where. Cells of
    8 x 8 in a picture of 32 x 32: smaller ones scored 4 points less on 5,000 photographs."""
    whole = np.stack([_equal_size(p.pixels()) for p in pictures]) if pictures else np.zeros((0, 32, 32, 3))
    whole = whole[:, :, ::-1] if mirrored else whole
    return np.concatenate([_gradients(whole), _colours(whole)], axis=1)


def _equal_size(pixels: Array) -> Floats:
    """32 x 32 x 3, from 0 to 1 by the picture's own brightest point, so that 0 to 16 is as good as 0 to 255."""
    plain = resized(pixels.astype(np.float32), 32, 32)
    whole = np.broadcast_to(plain, (32, 32, 3)).astype(np.float64)
    return np.asarray(whole / max(float(pixels.max()), 1.0))


def _gradients(whole: Floats, cell: int = 8, bins: int = 9) -> Floats:
    """n x 324. The strongest channel at each point; nine unsigned directions; blocks of 2 x 2 cells, square-rooted."""
    n, size = len(whole), whole.shape[1]
    down, right = np.zeros_like(whole), np.zeros_like(whole)
    down[:, 1:-1] = whole[:, 2:] - whole[:, :-2]
    right[:, :, 1:-1] = whole[:, :, 2:] - whole[:, :, :-2]
    strongest = np.hypot(down, right).argmax(-1)[..., None]
    down, right = (np.take_along_axis(g, strongest, -1)[..., 0] for g in (down, right))
    place = np.arctan2(down, right) / np.pi * bins % bins
    low, share = np.floor(place).astype(int) % bins, place - np.floor(place)
    length = np.hypot(down, right)
    spread = np.zeros((n, size, size, bins))
    np.put_along_axis(spread, low[..., None], (length * (1 - share))[..., None], -1)
    above = np.zeros_like(spread)
    np.put_along_axis(above, ((low + 1) % bins)[..., None], (length * share)[..., None], -1)
    side = size // cell
    cells = (spread + above).reshape(n, side, cell, side, cell, bins).sum((2, 4))
    blocks = np.concatenate([cells[:, :-1, :-1], cells[:, 1:, :-1], cells[:, :-1, 1:], cells[:, 1:, 1:]], axis=-1)
    blocks /= np.sqrt((blocks**2).sum(-1, keepdims=True) + 1e-3)
    return np.asarray(np.sqrt(blocks).reshape(n, -1))


def _colours(whole: Floats) -> Floats:
    """n x 160: mean and spread of each channel in 4 x 4 tiles, and shares of 64 colours."""
    n = len(whole)
    tiles = whole.reshape(n, 4, 8, 4, 8, 3)
    steps = (whole * 3.999).astype(int)
    kinds = (steps[..., 0] * 16 + steps[..., 1] * 4 + steps[..., 2]).reshape(n, -1)
    shares = np.stack([np.bincount(k, minlength=64) for k in kinds]) / 1024 if n else np.zeros((0, 64))
    flat = [tiles.mean((2, 4)).reshape(n, -1), tiles.std((2, 4)).reshape(n, -1), np.sqrt(shares)]
    return np.concatenate(flat, axis=1)


def _small(data: bytes) -> Picture:
    return Picture(kept_small(data, KEPT_PIXELS))


def _bytes_of(wire: str) -> bytes:
    head, comma, rest = wire.strip().partition(",")
    if head.startswith("data:"):
        if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
            message = tr("It is no data URL of a picture.")
            raise DataError(message, code="data.picture", hint=tr("It begins so: data:image/png;base64,"))
    else:
        rest = wire
    try:
        return base64.b64decode("".join(rest.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        message = tr("It is no picture in base64.")
        raise DataError(message, code="data.picture", hint=tr("It begins so: data:image/png;base64,")) from error


def _square(values: Sequence[Any]) -> Array:
    """Brightnesses in rows, as tables of pixels have them; three planes, red first, where there are 3*k*k (CIFAR)."""
    for planes in (1, 3):
        side = math.isqrt(len(values) // planes)
        if side > 1 and planes * side * side == len(values):
            plain = np.array([_brightness(v) for v in values], np.uint8)
            return np.moveaxis(plain.reshape(planes, side, side), 0, -1)
    message = tr("{count} numbers are no square picture: it would have 64, 784 or 3 × 1,024 of them.")
    raise DataError(message.format(count=len(values)), code="data.picture")


def _brightness(value: Any) -> int:
    try:
        number = float("x" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        number = -1.0
    if not (0 <= number <= 255 and number.is_integer()):
        message = tr("{value!r} is no brightness: a whole number from 0 to 255.").format(value=str(value)[:40])
        raise DataError(message, code="data.picture")
    return int(number)


def _file(cell: str, folder: Path) -> bytes:
    """Inside the folder, links followed; the same words for all that is not, so that nothing is told of the disk."""
    root = folder.resolve()
    path = (root / cell.replace("\\", "/")).resolve()
    if not path.is_relative_to(root):
        message = tr("{file} lies outside of the folder of its table.").format(file=cell)
        raise DataError(message, code="data.picture_place", hint=tr("Put the pictures beside the table, or below it."))
    try:
        if path.stat().st_size > MOST_BYTES:
            message = tr("The picture has {size:.0f} MB; at most {most:.0f} are read.")
            message = message.format(size=path.stat().st_size / 1e6, most=MOST_BYTES / 1e6)
            raise DataError(message, code="data.picture_size")
        return path.read_bytes()
    except OSError as error:
        message = tr("{file} cannot be read: {reason}.").format(file=cell, reason=error.strerror)
        raise DataError(message, code="data.picture_missing") from error


def _grey(pixels: Array) -> Floats:
    """H x W."""
    return np.asarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels @ _LUMA)


def _colourfulness(pixels: Floats) -> float:
    red, green, blue = np.moveaxis(pixels, -1, 0)
    pairs = red - green, (red + green) / 2 - blue
    spread, mean = (math.hypot(*(float(f(pair)) for pair in pairs)) for f in (np.std, np.mean))
    return spread + 0.3 * mean


def _mean(pixels: Array) -> Array:
    return np.asarray(np.rint(pixels.mean((0, 1))).astype(np.uint8))


def _tiles(pixels: Array) -> list[tuple[int, int, tuple[slice, slice]]]:
    """Row, column and place of each tile that is not of the mean colour already: to hide such a one changes nothing."""
    rows, columns = (np.linspace(0, n, min(_GRID, n) + 1).round().astype(int) for n in pixels.shape[:2])
    neutral = _mean(pixels)
    places = [
        (r, c, (slice(rows[r], rows[r + 1]), slice(columns[c], columns[c + 1])))
        for r in range(len(rows) - 1) for c in range(len(columns) - 1)
    ]  # fmt: skip
    return [(r, c, place) for r, c, place in places if (pixels[place] != neutral).any()]
